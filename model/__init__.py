"""What the white-box network is: semantic features, the network, its trace, its package on disk.

Importing this package imports nothing heavy, and `model.package` needs no torch, so that a server
can read a model package without it.
"""

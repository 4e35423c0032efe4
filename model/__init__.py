"""The white-box network: layers of semantic features, attacks on it, its verification, its package on disk.

Importing this package imports nothing else; `model.package` and `model.attacks.settings` need no torch, so
that a server can use them without it.
"""

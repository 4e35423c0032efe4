"""Adversarial attacks, most of them run by foolbox and pyautoattack.

`registry.run` attacks a batch of images; `single.attack_image` attacks one image within a budget of queries
and time, and its result always lies inside the ball and the box [0, 1].
"""

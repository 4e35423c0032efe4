"""One registry of attacks, each run by a well-kept library over one model.

`registry.run` attacks a batch as the literature does; `single.attack_image` attacks one image under a
query budget and a deadline, and always answers inside the ball and the box.
"""

"""Certificates: for which images provably no attack in an L-inf ball can succeed.

certifier.py bounds the margin by intervals, at once for many images; dual.py by planes, tighter; exact.py
asks HiGHS. stages.py goes from one to the next for one image.
"""

from model.verification.certifier import CERTAIN_MARGIN, Certifier

__all__ = ["CERTAIN_MARGIN", "Certifier"]

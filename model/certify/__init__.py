"""Certificates: for which images provably no attack in an L-inf ball can succeed."""

from model.certify.certifier import CERTAIN_MARGIN, Certifier

__all__ = ["CERTAIN_MARGIN", "Certifier"]

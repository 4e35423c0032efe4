"""Verification: proofs that no image of an L-inf ball is classified otherwise, or a counterexample.

`verify.Verifier` decides. interval_bounds.py bounds the margin of many images at once; linear_bounds.py and
lagrangian.py bound it more tightly, one image at a time; milp.py asks HiGHS.
"""

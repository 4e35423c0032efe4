"""Evaluation: the harness (attacks, certificates, checks), certified accuracy, introspection, the report."""

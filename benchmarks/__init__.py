"""Runnable comparisons with peers and limits; each prints a table and writes JSON to results/."""

"""Hostile clients, each a program of its own that is told its task (benchmarks/torture/task.py)."""

"""The base of everything that `whitebox train`, `evaluate` and `export` can report."""


class TrainingError(Exception):
    """Something that the user can set right; the message names the place and the remedy."""

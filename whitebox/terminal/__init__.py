"""Answers of a model as pictures in a terminal: in colour, or in characters where there is none."""

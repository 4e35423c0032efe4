"""A white-box neural network that explains, attacks and certifies its answers.

    import whitebox

    model = whitebox.load("mnist-10")
    model.predict("photo.jpg").label
    model.explain("photo.jpg").plot()
    model.certify("photo.jpg", epsilon=0.1).verdict

docs/library.md shows all of it. Attacks and certificates need the extra `attack`, training `train`.
"""

from whitebox.loaded_model import Model, load
from whitebox.making import export, train
from whitebox.results import AttackOutcome, Certificate, Explanation, Prediction, Typicality

__all__ = [
    "AttackOutcome",
    "Certificate",
    "Explanation",
    "Model",
    "Prediction",
    "Typicality",
    "export",
    "load",
    "train",
]

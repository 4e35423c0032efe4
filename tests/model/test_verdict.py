"""Verdicts: attacks agree with them, and what falsifies convinces the exported model too."""

import time

import numpy as np
import onnxruntime as ort
import pytest
import torch

from model.attacks.budget import Budget
from model.attacks.settings import AttackSettings
from model.attacks.single import attack_image
from model.package import PREDICT_GRAPH
from model.verification import Certifier
from model.verification.verdict import assess

EPSILON = 0.3


@pytest.fixture(scope="module")
def certifier(frozen) -> Certifier:
    return Certifier.of(frozen)


@pytest.fixture(scope="module")
def classes(digits) -> torch.Tensor:
    return torch.from_numpy((digits[1] == 5).astype(np.int64))


@pytest.fixture(scope="module")
def assessed(frozen, certifier, images, classes):
    """The digits with the lowest, middling and highest bounds, their classes, what is known of each."""
    bounds = certifier.margin_lower_bound(images[::2], classes[::2], EPSILON)
    order = 2 * bounds.argsort()
    chosen = torch.cat([order[:8], order[248:251], order[-12:]])
    some, true = images[chosen], classes[chosen]
    return some, true.tolist(), assess(frozen, certifier, some, true, EPSILON)


def test_every_verdict_is_seen(assessed):
    assert {found.verdict for found in assessed[2]} == {"certified", "falsified", "unknown"}


def test_no_attack_turns_what_is_certified(frozen, assessed):
    certified = [
        (image, true) for image, true, found in zip(*assessed, strict=True) if found.verdict == "certified"
    ]
    assert len(certified) >= 10
    for attack, steps in (("pgd", 20), ("apgd", 20), ("square", 100)):
        settings = AttackSettings(attack, "linf", EPSILON, steps)
        for image, true in certified:
            assert not attack_image(frozen, image[None], true, settings, Budget()).success


def test_the_exported_model_is_taken_in_by_every_counterexample(package, assessed):
    session = ort.InferenceSession(package.read(PREDICT_GRAPH), providers=["CPUExecutionProvider"])
    falsified = [row for row in zip(*assessed, strict=True) if row[2].verdict == "falsified"]
    assert len(falsified) >= 3
    for image, true, found in falsified:
        shown = found.counterexample.numpy()
        assert 0 <= shown.min() <= shown.max() <= 1
        assert np.abs(shown.astype(np.float64) - image.numpy().astype(np.float64)).max() <= EPSILON
        (logits,) = session.run(["logits"], {"image": shown})
        assert logits.argmax() != true
        assert found.certified_radius < EPSILON


def test_radius_and_verdict_never_contradict_each_other(frozen, certifier, images, classes):
    # Digit 230 is certified at 0.2; bisection by halves of 0.5 ends at 0.1992.
    some, true = images[[0, 230, 500]], classes[[0, 230, 500]]
    for epsilon in (0.1, 0.2, 0.3):
        for found in assess(frozen, certifier, some, true, epsilon, search=False):
            assert (found.verdict == "certified") == (found.certified_radius >= epsilon)


def test_a_misclassified_image_falsifies_itself(frozen, certifier, images):
    image = images[:1]
    wrong = frozen(image).argmin(dim=1)
    (found,) = assess(frozen, certifier, image, wrong, EPSILON, search=False)
    assert (found.verdict, found.certified_radius) == ("falsified", 0)
    assert found.counterexample.equal(image)


def test_without_a_search_an_open_image_is_unknown(frozen, certifier, assessed):
    some, true, known = assessed
    found = assess(frozen, certifier, some, torch.tensor(true), EPSILON, radius=False, search=False)
    right = frozen(some).argmax(dim=1).tolist()
    for before, now, label, said in zip(known, found, true, right, strict=True):
        assert now.certified_radius is None
        assert now.margin_lower_bound == before.margin_lower_bound
        if before.verdict == "falsified" and said == label:
            assert now.verdict == "unknown"
        else:
            assert now.verdict == before.verdict


def test_when_time_is_up_the_bound_is_all_there_is(frozen, certifier, assessed):
    some, true, known = assessed
    late = Budget(deadline=time.monotonic() - 1)
    started = time.monotonic()
    found = assess(frozen, certifier, some, torch.tensor(true), EPSILON, budget=late)
    assert time.monotonic() - started < 2
    assert [one.margin_lower_bound for one in found] == [one.margin_lower_bound for one in known]
    assert {one.certified_radius for one in found} == {None}
    assert {one.verdict for one in found} == {"certified", "unknown"}

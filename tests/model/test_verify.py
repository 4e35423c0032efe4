"""Verdicts: attacks agree with them, counterexamples fool the exported model too, radii never contradict."""

import time
from itertools import pairwise

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from running import ROOT

from model.attacks.budget import Budget
from model.attacks.settings import AttackSettings
from model.attacks.single import attack_image
from model.network import WhiteBoxNetwork
from model.package import PREDICT_GRAPH
from model.package_directory import newest_package
from model.verification.result import VerificationResult, monotone
from model.verification.verify import SearchPolicy, Verifier
from training.data import load_mnist

EPSILON = 0.3
WITH_RADIUS = SearchPolicy(radius=True)
# Intervals leave this digit open at 0.2; linear bounds prove it at 0.25, in 0.1 s.
OPEN_AT_02 = 24
BOUND_AND_RADIUS = SearchPolicy(attack=False, radius=True)


@pytest.fixture(scope="module")
def verifier(frozen) -> Verifier:
    return Verifier(frozen)


@pytest.fixture(scope="module")
def classes(digits) -> torch.Tensor:
    return torch.from_numpy((digits[1] == 5).astype(np.int64))


@pytest.fixture(scope="module")
def assessed(verifier, images, classes):
    """The digits with the lowest, middling and highest bounds, their classes, what is known of each."""
    bounds = verifier.margin_lower_bound(images[::2], classes[::2], EPSILON)
    order = 2 * bounds.argsort()
    chosen = torch.cat([order[:8], order[248:251], order[-12:]])
    some, true = images[chosen], classes[chosen]
    return some, true.tolist(), verifier.verify(some, true, EPSILON, WITH_RADIUS)


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


def test_radius_and_verdict_never_contradict_each_other(frozen, verifier, images, classes):
    # Digit 230 is certified at 0.2; bisection by halves of 0.5 ends at 0.1992.
    some, true = images[[0, 230, 500]], classes[[0, 230, 500]]
    for epsilon in (0.1, 0.2, 0.3):
        for found in verifier.verify(some, true, epsilon, BOUND_AND_RADIUS):
            assert (found.verdict == "certified") == (found.certified_radius >= epsilon)


def test_a_misclassified_image_falsifies_itself(frozen, verifier, images):
    image = images[:1]
    wrong = frozen(image).argmin(dim=1)
    (found,) = verifier.verify(image, wrong, EPSILON, BOUND_AND_RADIUS)
    assert (found.verdict, found.certified_radius) == ("falsified", 0)
    assert found.counterexample.equal(image)


def test_without_a_search_an_open_image_is_unknown(frozen, verifier, assessed):
    some, true, known = assessed
    found = verifier.verify(some, torch.tensor(true), EPSILON, SearchPolicy(attack=False))
    right = frozen(some).argmax(dim=1).tolist()
    for before, now, label, said in zip(known, found, true, right, strict=True):
        assert now.certified_radius is None
        assert now.margin_lower_bound == before.margin_lower_bound
        if before.verdict == "falsified" and said == label:
            assert now.verdict == "unknown"
        else:
            assert now.verdict == before.verdict


def test_when_time_is_up_the_bound_is_all_there_is(frozen, verifier, assessed):
    some, true, known = assessed
    late = Budget(deadline=time.monotonic() - 1)
    started = time.monotonic()
    found = verifier.verify(some, torch.tensor(true), EPSILON, WITH_RADIUS, late)
    assert time.monotonic() - started < 2
    assert [one.margin_lower_bound for one in found] == [one.margin_lower_bound for one in known]
    assert {one.certified_radius for one in found} == {None}
    assert {one.verdict for one in found} == {"certified", "unknown"}


radii = st.lists(st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4]), min_size=2, max_size=4, unique=True)


def assert_monotone(by_epsilon: dict[float, list[VerificationResult]]) -> None:
    rising = [by_epsilon[epsilon] for epsilon in sorted(by_epsilon)]
    for smaller, larger in pairwise(rising):
        for below, above in zip(smaller, larger, strict=True):
            assert below.epsilon < above.epsilon
            assert below.verdict == "certified" or above.verdict != "certified"
            assert above.verdict == "falsified" or below.verdict != "falsified"
            assert below.margin_lower_bound >= above.margin_lower_bound


@settings(max_examples=10, deadline=None)
@given(
    rows=st.lists(st.integers(0, 999), min_size=1, max_size=3, unique=True),
    epsilons=radii,
    bound=st.sampled_from(["interval", "linear"]),
    attack=st.booleans(),
)
def test_a_proof_holds_at_smaller_radii_and_a_counterexample_at_larger_ones(
    verifier, images, classes, rows, epsilons, bound, attack
):
    policy = SearchPolicy(bound, attack, seconds=0.2)
    found = verifier.verify_at_each(images[rows], classes[rows], epsilons, policy)
    assert set(found) == set(epsilons)
    assert_monotone(found)
    for epsilon, results in found.items():
        for result, row in zip(results, rows, strict=True):
            assert result.epsilon == epsilon
            if result.counterexample is not None:
                assert (result.counterexample.double() - images[row].double()).abs().max() <= epsilon


ORDER = {"certified": 0, "unknown": 1, "falsified": 2}
METHOD = {"certified": "linear", "unknown": "interval", "falsified": "attack"}


@given(st.lists(st.sampled_from(sorted(ORDER)), min_size=1, max_size=6))
def test_whatever_single_verdicts_say_together_they_are_monotone(verdicts):
    single = {
        0.1 * (i + 1): [VerificationResult(verdict, 0.1 * (i + 1), METHOD[verdict], -i)]
        for i, verdict in enumerate(verdicts)
    }
    proofs = [i for i, verdict in enumerate(verdicts) if verdict == "certified"]
    if "falsified" in verdicts and proofs and verdicts.index("falsified") < proofs[-1]:
        with pytest.raises(RuntimeError, match="contradicts the proof"):
            monotone(single)
        return
    together = [results[0].verdict for results in monotone(single).values()]
    assert_monotone(monotone(single))
    for alone, now in zip(verdicts, together, strict=True):
        assert alone in (now, "unknown")


def test_a_proof_at_a_larger_radius_is_not_searched_for_again(verifier, images, classes):
    image, true = images[[OPEN_AT_02]], classes[[OPEN_AT_02]]
    policy = SearchPolicy("linear", attack=False, seconds=20)
    assert not verifier.certified(image, true, 0.2)
    found = verifier.verify_at_each(image, true, [0.2, 0.25], policy)
    assert [found[epsilon][0].verdict for epsilon in (0.2, 0.25)] == ["certified", "certified"]
    assert (found[0.2][0].method, found[0.2][0].seconds) == ("linear", 0.0)


def test_the_time_limit_of_an_image_ends_its_search(verifier, images, classes):
    started = time.monotonic()
    policy = SearchPolicy("milp", attack=False, seconds=0.0)
    (result,) = verifier.verify(images[[OPEN_AT_02]], classes[[OPEN_AT_02]], 0.2, policy)
    assert result.verdict == "unknown"
    assert time.monotonic() - started < 5


@pytest.mark.full_data
@pytest.mark.parametrize("digit", [426, 1141])
def test_the_longer_attack_turns_digits_that_the_program_left_unknown(digit):
    package = newest_package(ROOT / "artifacts", "mnist-3v5-certified")
    verifier, digits = Verifier(WhiteBoxNetwork.from_package(package).freeze()), load_mnist("test", (3, 5))
    one = slice(digit, digit + 1)
    policy = SearchPolicy("milp", seconds=60.0)
    (result,) = verifier.verify(digits.images[one], digits.classes[one], 0.3, policy)
    assert (result.verdict, result.method) == ("falsified", "attack")

"""The multi-step layer: its plateaus, its order, its intervals, and two steps as its special case."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.layers.multi_step import MultiStepLayer
from model.layers.two_step import TwoStepLayer, two_step, two_step_slope
from model.verification.interval_bounds import two_step_interval

pixel = st.floats(0, 1)


@st.composite
def layers(draw) -> MultiStepLayer:
    """A layer of one to nine steps with whatever training may leave in it."""
    steps = draw(st.integers(1, 9))
    layer = MultiStepLayer(steps).double()
    anything = st.floats(-2, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            drawn = draw(st.lists(anything, min_size=parameter.numel(), max_size=parameter.numel()))
            parameter.copy_(torch.tensor(drawn, dtype=torch.float64))
    layer.project_()
    return layer


def row(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def apply(layer, values: list[float]) -> list[float]:
    return layer(row(values)).flatten().tolist()


@given(layers())
def test_the_staircase_goes_through_its_plateaus_and_thresholds(layer):
    steps, plateaus = len(layer.levels), [-1.0, *layer.plateaus.tolist(), 1.0]
    assert apply(layer, [k / steps for k in range(steps + 1)]) == pytest.approx(plateaus, abs=1e-9)
    crossings = [
        low + level * (high - low)
        for low, level, high in zip(plateaus, layer.levels.tolist(), plateaus[1:], strict=False)
    ]
    assert apply(layer, layer.thresholds.tolist()) == pytest.approx(crossings, abs=1e-9)


@given(layers(), st.lists(pixel, min_size=2, max_size=20))
def test_the_staircase_never_falls_and_stays_between_its_ends(layer, values):
    got = apply(layer, sorted(values))
    assert all(low <= high + 1e-9 for low, high in itertools.pairwise(got))
    assert got[0] >= -1 - 1e-9
    assert got[-1] <= 1 + 1e-9


@given(layers(), pixel, st.floats(0, 0.5), st.lists(st.floats(-1, 1), min_size=1, max_size=10))
def test_the_interval_holds_every_pixel_of_the_ball_and_is_reached(layer, x, epsilon, moves):
    terms = layer.terms()
    bounds = two_step_interval(row([x]), epsilon, terms)
    moved = [min(1.0, max(0.0, x + epsilon * move)) for move in [-1, 1, *moves]]
    got = apply(layer, moved)
    assert min(got) == pytest.approx(bounds.lower.item(), abs=1e-9)
    assert max(got) == pytest.approx(bounds.upper.item(), abs=1e-9)


@given(layers(), st.floats(0.02, 0.98))
def test_the_slope_is_the_derivative(layer, x):
    image = row([x]).requires_grad_()
    (expected,) = torch.autograd.grad(two_step(image, layer.terms()).sum(), image)
    got = two_step_slope(image, layer.terms()).item()
    assert got == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)


@given(
    st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
    st.tuples(st.floats(0.01, 0.49), st.floats(0.51, 0.99)),
    st.lists(st.floats(0.001, 2.0), min_size=4, max_size=4),
    st.lists(pixel, min_size=1, max_size=20),
)
def test_two_steps_with_the_middle_at_zero_are_the_two_step_layer(levels, thresholds, scales, values):
    paper, general = TwoStepLayer().double(), MultiStepLayer(2).double()
    with torch.no_grad():
        paper.levels.copy_(torch.tensor(levels))
        general.levels.copy_(torch.tensor([1 - paper.levels[0], paper.levels[1]]))
        general.plateaus.zero_()
        for layer in (paper, general):
            layer.thresholds.copy_(torch.tensor(thresholds))
            layer.scales.copy_(torch.tensor(scales))
    assert apply(general, values) == pytest.approx(apply(paper, values), abs=1e-12)


def test_a_new_layer_follows_the_grey_value():
    layer = MultiStepLayer(4)
    assert apply(layer.double(), [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=1e-6)

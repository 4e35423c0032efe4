"""The two-step layer: its plateaus, and the closed form against the pieces of the definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.layers.two_step import TwoStepLayer, two_step_slope


def by_pieces(x: float, levels, thresholds, scales) -> float:
    """The staircase as the paper glues it: one softsign piece an interval of u = 2x - 1."""
    u = 2 * x - 1
    (a0, a1), (t0, t1) = levels, (2 * t - 1 for t in thresholds)

    def softsign(v, scale):
        return v / (scale + abs(v))

    if u < t0:
        return -a0 + (1 - a0) * softsign(u - t0, scales[0]) / softsign(1 + t0, scales[0])
    if u < 0:
        return -a0 + a0 * softsign(u - t0, scales[1]) / softsign(-t0, scales[1])
    if u < t1:
        return a1 + a1 * softsign(u - t1, scales[2]) / softsign(t1, scales[2])
    return a1 + (1 - a1) * softsign(u - t1, scales[3]) / softsign(1 - t1, scales[3])


def layer_with(levels, thresholds, scales) -> TwoStepLayer:
    layer = TwoStepLayer().double()
    with torch.no_grad():
        layer.levels.copy_(torch.tensor(levels, dtype=torch.float64))
        layer.thresholds.copy_(torch.tensor(thresholds, dtype=torch.float64))
        layer.scales.copy_(torch.tensor(scales, dtype=torch.float64))
    return layer


def apply(layer: TwoStepLayer, values: list[float]) -> list[float]:
    return layer(torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)).flatten().tolist()


unit = st.floats(0.01, 0.99)
parameters = st.tuples(
    st.tuples(unit, unit),
    st.tuples(st.floats(0.01, 0.49), st.floats(0.51, 0.99)),
    st.tuples(*[st.floats(0.001, 2.0)] * 4),
)


@given(parameters, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_closed_form_equals_the_four_pieces(parameters, values):
    got = apply(layer_with(*parameters), values)
    assert got == pytest.approx([by_pieces(x, *parameters) for x in values], abs=1e-9)


@given(parameters)
def test_staircase_goes_through_its_five_points(parameters):
    (a0, a1), (t0, t1), _ = parameters
    got = apply(layer_with(*parameters), [0, t0, 0.5, t1, 1])
    assert got == pytest.approx([-1, -a0, 0, a1, 1], abs=1e-9)


@given(parameters, st.floats(0, 1), st.floats(0, 1))
def test_staircase_never_falls(parameters, x, y):
    low, high = apply(layer_with(*parameters), sorted([x, y]))
    assert low <= high + 1e-9


@given(parameters, st.floats(0.02, 0.98))
def test_slope_is_the_derivative(parameters, x):
    layer = layer_with(*parameters)
    image = torch.full((1, 1, 1, 1), x, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(image).sum(), image)
    assert two_step_slope(image, layer.terms()).item() == pytest.approx(expected.item(), rel=1e-6)


def test_constrain_clamps_to_the_papers_ranges():
    layer = layer_with((-1.0, 2.0), (0.6, 0.4), (0.0, 3.0, 1.0, 1.0))
    layer.project_()
    assert layer.levels.tolist() == pytest.approx([0.01, 0.99])
    assert layer.thresholds.tolist() == pytest.approx([0.49, 0.51])
    assert layer.scales.tolist() == pytest.approx([0.001, 2.0, 1.0, 1.0])

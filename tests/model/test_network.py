"""The network as a whole: size, batch independence, the trace's completeness."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.frozen import Trace
from model.network import NetworkConfig, WhiteBoxNetwork
from model.verification.verify import SearchPolicy, Verifier

PAPER = NetworkConfig(labels=(3, 5), height=28, width=28)

any_images = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 3), st.just(1), st.just(28), st.just(28)),
    elements=st.floats(0, 1, width=32),
)  # fmt: skip


def test_network_has_the_papers_4810_parameters(network):
    assert network.num_parameters() == 8 + 50 + 3200 + 1536 + 16 == 4810
    assert WhiteBoxNetwork(PAPER).num_parameters() == 4810


def test_ten_classes_need_no_special_case():
    torch.manual_seed(0)
    network = WhiteBoxNetwork(replace(PAPER, labels=tuple(range(10)), poses=4)).freeze()
    images = torch.rand(3, 1, 28, 28)
    trace = network.trace(images)
    assert trace.logits.shape == (3, 10)
    assert torch.allclose(trace.contributions.sum(2), trace.logits, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (15, 22), (64, 40)])
def test_any_small_image_size_has_traces_and_verdicts(height, width):
    torch.manual_seed(0)
    config = replace(
        PAPER, labels=("cat", "dog", 7), height=height, width=width, shape_size=7, poses=3, rotations=4
    )
    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    network = WhiteBoxNetwork(config).freeze()
    images = torch.rand(2, 1, height, width)
    trace = network.trace(images)
    assert trace.two_step.shape == (2, height, width)
    assert trace.attribution_two_step.shape == (2, 3, height, width)
    assert_complete(trace)
    classes = trace.logits.argmax(1)
    verifier = Verifier(network)
    without_ball = verifier.verify(images, classes, 0.0)
    assert [result.verdict for result in without_ball] == ["certified", "certified"]
    everything = verifier.verify(images, classes, 1.0, SearchPolicy("linear", attack=True, seconds=1))
    assert "certified" not in [result.verdict for result in everything]


def test_frozen_network_gives_the_same_logits(network, frozen, images):
    assert torch.equal(network(images[:50]), frozen(images[:50]))


def test_answer_does_not_depend_on_batch_mates(frozen, images):
    subject = images[7:8]
    alone = frozen(subject)
    extremes = torch.stack([torch.zeros(1, 28, 28), torch.ones(1, 28, 28), torch.rand(1, 28, 28)])
    crowd = torch.cat([images[100:163], subject])
    assert torch.allclose(frozen(crowd)[-1:], alone, atol=1e-5)
    assert torch.allclose(frozen(torch.cat([extremes, subject]))[-1:], alone, atol=1e-5)


def assert_complete(trace: Trace, tolerance: float = 1e-4) -> None:
    for part, dims in (
        (trace.contributions, 2),
        (trace.attribution_bright, (2, 3)),
        (trace.attribution_two_step, (2, 3)),
    ):
        assert (part.sum(dims) - trace.logits).abs().max() <= tolerance


def test_trace_is_complete_at_every_level_on_real_digits(frozen, images):
    assert_complete(frozen.trace(images))


@given(any_images)
def test_trace_is_complete_at_every_level_on_any_image(frozen, pixels):
    assert_complete(frozen.trace(torch.from_numpy(pixels)))


@pytest.mark.full_data
def test_trace_is_complete_on_all_test_digits(frozen, all_test_digits):
    for images in all_test_digits.images.split(200):
        assert_complete(frozen.trace(images))


def test_traces_logits_are_the_answer(frozen, images):
    assert torch.equal(frozen.trace(images[:64]).logits, frozen(images[:64]))


def test_traces_gradient_is_autograds(frozen, images):
    some = images[:32].clone().requires_grad_()
    logits = frozen(some)
    gradient = frozen.trace(images[:32]).gradient
    for index in range(2):
        (expected,) = torch.autograd.grad(logits[:, index].sum(), some, retain_graph=True)
        assert torch.allclose(gradient[:, index], expected[:, 0], atol=1e-4)


def test_traces_winners_give_the_traces_values(frozen, images):
    trace = frozen.trace(images[:4])
    for image in range(4):
        for shape in range(8):
            template = frozen.templates[shape, trace.pose[image, shape]]
            assert torch.equal(trace.templates[image, shape], template)
            activation = (template * trace.bright[image]).sum().relu()
            assert activation.item() == pytest.approx(trace.shapes[image, shape].item(), abs=1e-4)
    padded = torch.nn.functional.pad(trace.two_step, [2, 2, 2, 2])
    for y, x in ((14, 14), (10, 17), (20, 9)):
        kernel = frozen.kernels[trace.kernel[0, y, x], trace.rotation[0, y, x]]
        best = (kernel * padded[0, y : y + 5, x : x + 5]).sum() / 5
        assert best.relu().item() == pytest.approx(trace.bright[0, y, x].item(), abs=1e-5)


def test_claim_names_the_strongest_own_shape(frozen, images):
    trace = frozen.trace(images[:50])
    own = trace.shapes.view(50, 2, 4)
    value = own.gather(2, trace.claim_pose[..., None])[..., 0]
    assert torch.allclose(value, own.amax(2))

"""The work of one worker: one attack, or one certificate, on one shard of images.

A job carries all that it needs and its result is plain numbers, so that it runs alike in this process, in
another one, and on another machine. The same job gives the same result anywhere.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.harness.onnx_network import OnnxNetwork
from evaluation.harness.suite import BLACK_BOX, EXPENSIVE, Attack, Certificate, SuiteEntry
from model.attacks import registry
from model.attacks.ball import Ball
from model.attacks.budget import margins
from model.attacks.catalogue import ATTACKS
from model.attacks.unsaturated import Unsaturated
from model.frozen import FrozenNetwork
from model.plugins import load_plugin, loaded_plugins
from model.verification.verify import Verifier


@dataclass(frozen=True)
class ModelBackends:
    """The network under attack.

    Attributes:
        network: Maps images to logits; attacked, and asked for the verdict.
        white_box: The same, if attacks and certificates can look inside.
        graph: The same as ONNX: several times faster without gradients, and a second opinion.
    """

    network: nn.Module
    white_box: FrozenNetwork | None
    graph: bytes | None


@dataclass(frozen=True)
class Job:
    """One shard of one measurement.

    Attributes:
        entry: What is measured.
        backends: The network.
        first: Index of the shard's first image among those that are measured; names the shard.
        images: (N, 1, H, W) in [0, 1].
        classes: (N,) the true class indices.
        starts: Where decision-based attacks start, like `images`.
        trust_certificates: Whether a certified image need not be attacked by an expensive attack.
        plugins: What the process that does the job has to load.
    """

    entry: SuiteEntry
    backends: ModelBackends
    first: int
    images: Tensor
    classes: Tensor
    starts: Tensor | None = None
    trust_certificates: bool = False
    plugins: list[str] = field(default_factory=loaded_plugins)

    @property
    def name(self) -> str:
        """Names the shard in messages."""
        return f"{self.entry.name} on images {self.first} to {self.first + len(self.images) - 1}"


@dataclass(frozen=True)
class ShardResult:
    """What came out, a number an image, in order.

    Attributes:
        withstood: 1 if the image was classified right before and after, or certified.
        seconds: Processor time of the job, so that a busy machine tells the same.
        skipped: How many images a certificate stood in for.
        details: Further numbers of some attacks, a list an image.
    """

    withstood: list[int]
    seconds: float
    skipped: int = 0
    details: dict[str, list[float]] = field(default_factory=dict)


def run_shard(job: Job) -> ShardResult:
    """Does one job, on one thread."""
    for plugin in job.plugins:
        load_plugin(plugin)
    started = time.process_time()
    with one_thread():
        if isinstance(job.entry, Certificate):
            certified = _certified(job, job.entry.epsilon)
            return ShardResult(certified.int().tolist(), time.process_time() - started)
        return _attack(job, job.entry, started)


def _attack(job: Job, attack: Attack, started: float) -> ShardResult:
    runtimes = _runtimes(job.backends)
    right = _right(runtimes, job.images, job.classes)
    spared = torch.zeros_like(right)
    if job.trust_certificates and attack.kind in EXPENSIVE:
        spared = _certified(job, attack.settings.epsilon)
    # A reliability curve asks how sure the network is of every attacked image, the wrong ones too.
    attacked = right & ~spared if attack.kind != "pgd-40" else torch.ones_like(right)
    found = job.images.clone()
    if attacked.any():
        found[attacked] = registry.run(_target(job, attack, runtimes[-1], attacked), attack.settings)
    inside = _inside(job.images, found, attack.settings.epsilon)
    right_after = _right(runtimes, inside, job.classes)
    details = _details(job, attack, found, inside, right_after)
    seconds = time.process_time() - started
    withstood = (right & right_after).int().tolist()
    return ShardResult(withstood, seconds, int((right & spared).sum()), details)


def _target(job: Job, attack: Attack, fastest: nn.Module, chosen: Tensor) -> registry.Target:
    images, classes = job.images[chosen], job.classes[chosen]
    network = fastest if attack.kind in BLACK_BOX else job.backends.network
    if ATTACKS[attack.settings.attack].scaled_logits:
        network = Unsaturated(network, images, classes)
    starts = None if job.starts is None else job.starts[chosen]
    return registry.Target(network, images, classes, lambda _images, _classes: starts, job.backends.white_box)


def _runtimes(backends: ModelBackends) -> list[nn.Module]:
    """The network and, if there is a graph, onnxruntime: an image withstands if both take it right."""
    return [backends.network, *([OnnxNetwork(backends.graph)] if backends.graph is not None else [])]


@torch.no_grad()
def _right(runtimes: list[nn.Module], images: Tensor, classes: Tensor) -> Tensor:
    """Tells which images every runtime classifies correctly, the true class strictly ahead: (N,)."""
    return torch.stack([margins(runtime(images), classes) > 0 for runtime in runtimes]).all(dim=0)


def _inside(images: Tensor, found: Tensor, epsilon: float) -> Tensor:
    """Brings what an attack returned into each image's ball."""
    pairs = zip(images, found.detach(), strict=True)
    return torch.cat([Ball(image[None], epsilon, "linf").project(other[None]) for image, other in pairs])


def _certified(job: Job, epsilon: float) -> Tensor:
    """Tells which images are certified at epsilon: (N,)."""
    if job.backends.white_box is None:
        return torch.zeros(len(job.images), dtype=torch.bool)
    return Verifier(job.backends.white_box).certified(job.images, job.classes, epsilon)


@torch.no_grad()
def _details(
    job: Job, attack: Attack, found: Tensor, inside: Tensor, right_after: Tensor
) -> dict[str, list[float]]:
    if attack.kind == "pgd-40":
        confidence = job.backends.network(inside).softmax(dim=1).amax(dim=1)
        return {"confidence": _rounded(confidence), "right_after": _rounded(right_after.float())}
    if attack.kind == "boundary":
        change = (found - job.images).flatten(1)
        return {"l2": _rounded(change.norm(dim=1)), "linf": _rounded(change.abs().amax(dim=1))}
    return {}


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


@contextmanager
def one_thread() -> Iterator[Any]:
    """Runs torch on one thread: cores are shared by shard, and no result depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

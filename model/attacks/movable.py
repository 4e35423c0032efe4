"""A white-box attack on the two-step map instead of the pixels, where the network has no plateaus.

The two-step layer acts on each pixel alone and is monotone, so the two-step maps of an L-inf ball are exactly
a box. For most pixels its interval is nearly a point; the others are the movable pixels. On the box the
network is piecewise linear, and every point is the two-step map of an image in the ball, found by bisection.
Three searches follow one another, each on the images that are still classified correctly:

- greedy: from the image and from the two corners of the box, the pixels with the largest predicted decrease
  of the margin move to the end of their interval; repeated, since the winning poses change;
- descent: APGD on cross-entropy from random starts; unlike the others it may stop inside the intervals,
  where the minimum of a maximum may lie;
- polish: where the margin is small already, single pixels move to an end of their interval while that helps.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from model.attacks.budget import margins
from model.attacks.unsaturated import Unsaturated
from model.frozen import FrozenNetwork
from model.layers.two_step import TwoStepTerms, two_step

_SHARES = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.0)  # of the pixels that would help; at least one moves
_GREEDY_STEPS = 40
_POLISH_STEPS = 20
_POLISHED_PIXELS = 128
_CLOSE = 0.25  # of the margin before the attack
_PROGRESS = 1e-6
_BISECTIONS = 32


def move(
    network: FrozenNetwork, images: Tensor, classes: Tensor, epsilon: float, steps: int, restarts: int
) -> Tensor:
    """Attacks images (N, 1, H, W) of classes (N,) in an L-inf ball; random starts from torch's generator.

    Returns:
        (N, 1, H, W): for each image the one with the smallest margin that was found.
    """
    ends = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    original = two_step(images, network.terms)
    lower, upper = (two_step(end, network.terms) for end in ends)
    box = _Box(network, classes, lower, upper)
    best = _Best(original, box.margins(original))
    close = _CLOSE * best.margins
    for start in (original, lower, upper):
        best.improve(_greedy, box, start, best.margins > 0)
    for _ in range(restarts):
        best.improve(lambda part, _: _descent(part, steps), box, original, best.margins > 0)
    best.improve(_polish, box, best.pixels, (best.margins > 0) & (best.margins < close))
    found = images_of(best.pixels, network.terms, *ends)
    return torch.where(best.pixels == original, images, found)


@dataclass(frozen=True)
class _Box:
    """The boxes of two-step maps of N balls, with (N, 1, H, W) lower and upper ends."""

    network: FrozenNetwork
    classes: Tensor
    lower: Tensor
    upper: Tensor

    def select(self, chosen: Tensor) -> "_Box":
        return replace(self, classes=self.classes[chosen], lower=self.lower[chosen], upper=self.upper[chosen])

    @torch.no_grad()
    def margins(self, pixels: Tensor) -> Tensor:
        return margins(self.network.behind_two_step(pixels), self.classes)

    def weights(self, pixels: Tensor) -> Tensor:
        """Returns the gradient of the margin with respect to the two-step map, (N, 1, H, W)."""
        pixels = pixels.clone().requires_grad_()
        with torch.enable_grad():
            total = margins(self.network.behind_two_step(pixels), self.classes).sum()
        return torch.autograd.grad(total, pixels)[0]


_Searcher = Callable[[_Box, Tensor], Tensor]


@dataclass
class _Best:
    """The two-step maps with the smallest margins so far."""

    pixels: Tensor
    margins: Tensor

    def improve(self, search: _Searcher, box: _Box, start: Tensor, chosen: Tensor) -> None:
        """Searches from `start` for the chosen images and keeps what decreases their margins."""
        if not chosen.any():
            return
        part = box.select(chosen)
        self.keep(chosen.nonzero()[:, 0], *_with_margins(part, search(part, start[chosen])))

    def keep(self, rows: Tensor, pixels: Tensor, values: Tensor) -> None:
        lower = values < self.margins[rows]
        self.pixels = self.pixels.index_copy(0, rows[lower], pixels[lower])
        self.margins = self.margins.index_copy(0, rows[lower], values[lower])


def _with_margins(box: _Box, pixels: Tensor) -> tuple[Tensor, Tensor]:
    return pixels, box.margins(pixels)


def _greedy(box: _Box, start: Tensor) -> Tensor:
    best = _Best(start, box.margins(start))
    for _ in range(_GREEDY_STEPS):
        before = best.margins
        weights, pixels = box.weights(best.pixels), best.pixels
        ends = torch.where(weights > 0, box.lower, box.upper)
        decrease = (weights * (pixels - ends)).flatten(1)  # (N, H * W), never negative
        rank = decrease.argsort(dim=1, descending=True).argsort(dim=1).view_as(pixels)
        helpful = (decrease > _PROGRESS).sum(dim=1).view(-1, 1, 1, 1)
        for share in _SHARES:
            moved = torch.where(rank < (share * helpful).clamp(min=1), ends, pixels)
            best.keep(torch.arange(len(pixels)), *_with_margins(box, moved))
        if not (best.margins < before - _PROGRESS).any():
            break
    return best.pixels


class _BehindTwoStep(nn.Module):
    """Maps positions in N boxes, 0 at the lower ends and 1 at the upper ones, to logits."""

    def __init__(self, box: _Box) -> None:
        super().__init__()
        self.box = box

    def pixels(self, positions: Tensor) -> Tensor:
        return self.box.lower + positions * (self.box.upper - self.box.lower)

    def forward(self, positions: Tensor) -> Tensor:
        return self.box.network.behind_two_step(self.pixels(positions))


def _descent(box: _Box, steps: int) -> Tensor:
    inside, centre = _BehindTwoStep(box), torch.full_like(box.lower, 0.5)
    network = Unsaturated(inside, centre, box.classes)
    attack = APGDAttack(network, n_iter=steps, norm="Linf", eps=0.5, device="cpu")
    attack.init_hyperparam(centre)
    # Not `perturb`, which drops the rows that are misclassified: each row belongs to its box.
    worst: Tensor = attack.attack_single_run(centre, box.classes)[0]
    return inside.pixels(worst.detach())


def _polish(box: _Box, start: Tensor) -> Tensor:
    single = torch.eye(len(start), dtype=torch.bool)
    return torch.cat([_polish_one(box.select(row), start[row]) for row in single])


def _polish_one(box: _Box, pixels: Tensor) -> Tensor:
    """Repeatedly moves the one pixel to an end of its interval that decreases the margin most."""
    movable = (box.upper - box.lower).flatten().topk(_POLISHED_PIXELS).indices
    masks = torch.zeros(len(movable), box.lower.numel(), dtype=torch.bool)
    masks = masks.scatter(1, movable[:, None], value=True).view(-1, *box.lower.shape[1:])
    margin = box.margins(pixels)
    candidates_box = replace(box, classes=box.classes.expand(2 * len(masks)))
    for _ in range(_POLISH_STEPS):
        candidates = torch.cat([torch.where(masks, end, pixels) for end in (box.lower, box.upper)])
        values = candidates_box.margins(candidates)
        if margin <= 0 or values.min() >= margin - _PROGRESS:
            break
        best = values.argmin()
        pixels, margin = candidates[best][None], values[best][None]
    return pixels


def images_of(pixels: Tensor, terms: TwoStepTerms, low: Tensor, high: Tensor) -> Tensor:
    """Returns images between `low` and `high` whose two-step maps are `pixels`, up to rounding."""
    at_low, at_high = pixels <= two_step(low, terms), pixels >= two_step(high, terms)
    first, last = low, high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = two_step(middle, terms) < pixels
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(at_low, first, torch.where(at_high, last, high))

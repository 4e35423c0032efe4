"""Interval bounds in the form that trains fastest, their gradients written by hand.

Values and gradients are those of model/verification/interval_bounds.py, as the tests show. A maximum's
gradient touches its winners only (envelope theorem), so training/native computes the responses without a
graph, a few in the cache at a time, and keeps only which of them won for the backward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.layers.affine import AffineLayer
from model.layers.convolutional import ConvolutionalLayer
from model.layers.logical import LogicalLayer
from model.layers.multi_step import MultiStepLayer
from model.layers.two_step import TwoStepLayer
from model.verification.interval_bounds import Interval, both_ends, bright_interval, two_step_interval
from training import native


def bright_box(
    images: Tensor, epsilon: float, steps: TwoStepLayer | MultiStepLayer, kernels: ConvolutionalLayer
) -> Interval:
    """Bounds the bright maps of images (N, 1, H, W) over their balls: (N, H * W) each.

    The images are taken for what they are in a file, multiples of 1/255: 256 two-step values serve all.
    """
    filters = kernels.expand().flatten(0, 1)  # (K, k, k)
    size = (images.shape[2], images.shape[3])
    if not native.serves(images.device, size, kernel=filters.shape[-1]):
        pixels = two_step_interval(images, epsilon, steps.terms())
        return Interval(*(bound.flatten(1) for bound in bright_interval(pixels, both_ends(filters))))
    greys = (torch.arange(256) / 255)[None, None, None]  # (1, 1, 1, 256)
    tables = torch.cat(two_step_interval(greys, epsilon, steps.terms())).flatten(1)  # (2, 256)
    bounds: Tensor = native.BrightBox.apply(  # type: ignore[no-untyped-call]
        tables, filters, (images * 255).round().byte()
    )
    return Interval(*bounds)


def templates(layer: AffineLayer) -> Tensor:
    """Returns `layer.expand()` as (F, P, H * W)."""
    size, (left, right, above, below) = layer.base.shape[-1], layer.padding
    canvas = (above + size + below, left + size + right)
    if not native.serves(layer.base.device, canvas, shape=size):
        return layer.expand().flatten(2)
    posed: Tensor = native.Templates.apply(layer.base, layer.poses)  # type: ignore[no-untyped-call]
    return posed


def shape_box(bright: Interval, templates: Tensor) -> Interval:
    """Bounds the activations, (N, F) each, from the bright map's (N, H * W) and templates (F, P, H * W)."""
    if native.matches(templates):
        best: Tensor = native.BestMatch.apply(torch.stack(bright), templates)  # type: ignore[no-untyped-call]
    else:
        best = _BestMatch.apply(*bright, templates)  # type: ignore[no-untyped-call]
    return Interval(*best.relu())


class _BestMatch(torch.autograd.Function):
    """Maps bounds (N, D) and templates (F, P, D) to the bounds (2, N, F) of the best pose's match."""

    @staticmethod
    def forward(ctx: Any, lower: Tensor, upper: Tensor, templates: Tensor) -> Tensor:
        flat = templates.flatten(0, 1)  # (F * P, D)
        centre = flat @ ((lower + upper) / 2).T  # (F * P, N)
        reach = flat.abs() @ ((upper - lower) / 2).T
        least, most = (
            (centre + move).unflatten(0, templates.shape[:2]).max(dim=1) for move in (-reach, reach)
        )
        ctx.save_for_backward(lower, upper, templates, least.indices, most.indices)
        return torch.stack([least.values.T, most.values.T])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lower, upper, templates, least, most = ctx.saved_tensors
        flat = templates.flatten(0, 1)
        of_least, of_most = gradient.transpose(1, 2).unsqueeze(2)  # (F, 1, N)
        none = flat.new_zeros(*templates.shape[:2], len(lower))  # (F, P, N)
        low, high = none.scatter(1, least[:, None], of_least), none.scatter_(1, most[:, None], of_most)
        centre, reach = (low + high).flatten(0, 1) / 2, (high - low).flatten(0, 1) / 2  # (F * P, N)
        of_flat = centre @ (lower + upper) + flat.sign() * (reach @ (upper - lower))
        of_centre, of_reach = centre.T @ flat, reach.T @ flat.abs()  # (N, D)
        return of_centre - of_reach, of_centre + of_reach, of_flat.view_as(templates)


def margin_bounds(shapes: Interval, layer: LogicalLayer, classes: Tensor) -> Tensor:
    """Bounds the margins over every class, (N, classes), 0 over the true one, from (N, F) each.

    The rows of a class are alike but for where in its own block the one hot value h stands. So in the
    max over poses q of t, and min over poses r of c, of (row_tq - row_cr) . shapes, q and r add a term each
    to what the dense parts d of both rows give: h_t at q, with d_c there; and -h_c at r, with d_t there.
    """
    count = len(layer.base)
    rows = (layer.base * layer.live).unflatten(1, (count, -1))  # (C, C, S): row, block, place
    itself = torch.eye(count, device=rows.device)[:, :, None]
    hot, dense = (rows * itself).sum(dim=(1, 2)), rows * (1 - itself)
    centre, reach = (
        half.unflatten(1, (count, -1))  # (N, C, S)
        for half in ((shapes.lower + shapes.upper) / 2, (shapes.upper - shapes.lower) / 2)
    )
    between = (dense[:, None] - dense).flatten(2).index_select(0, classes)  # (N, C, F), d_t - d_c
    rest = (between * centre.flatten(1)[:, None] - between.abs() * reach.flatten(1)[:, None]).sum(dim=2)
    mine = torch.arange(len(classes), device=classes.device), classes
    there, value = dense.transpose(0, 1).index_select(0, classes), hot[classes, None, None]  # d_c, h_t
    gain = value * centre[mine][:, None] - ((value - there).abs() - there.abs()) * reach[mine][:, None]
    there, value = dense.index_select(0, classes), hot[:, None]  # d_t, h_c
    loss = -value * centre - ((there - value).abs() - there.abs()) * reach
    margins = rest + gain.amax(dim=2) + loss.amin(dim=2)
    bounds: Tensor = margins.masked_fill(F.one_hot(classes, count) == 1, 0.0)
    return bounds

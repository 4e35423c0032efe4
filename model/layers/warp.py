"""Warping of small images by affine maps, many in one call."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Warps each image by its map, bilinear with zeros outside.

    The result at pixel y holds the image's value at A y + t, where a map is [A | t] and both points
    are in pixels from the image's centre.

    Args:
        images: (B, H, W).
        maps: (B, 2, 3), the augmented matrices [A | t], columns in the order x, y, translation.

    Returns:
        (B, H, W).
    """
    height, width = images.shape[-2:]
    # grid_sample counts in half image sizes: pixels are scaled by half, translations divided by it
    half = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=maps.dtype, device=maps.device)
    linear = maps[:, :, :2] * half / half[:, None]
    translation = maps[:, :, 2] / half
    theta = torch.cat([linear, translation[:, :, None]], dim=2)  # (B, 2, 3)
    # F.affine_grid, bit for bit; exported, it would become sums that take onnxruntime 40 times as long
    grid = (_points(height, width, maps) @ theta.mT).unflatten(1, (height, width))  # (B, H, W, 2)
    warped = F.grid_sample(images[:, None], grid, padding_mode="zeros", align_corners=True)
    return warped[:, 0]


def _points(height: int, width: int, like: Tensor) -> Tensor:
    """Returns x, y and 1 of every pixel, from -1 to 1 across the image: (H * W, 3)."""
    y, x = (torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device) for side in (height, width))
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)], dim=2).flatten(0, 1)

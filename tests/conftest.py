"""Real digits, the shipped model, and a real server on a socket."""

import os
import subprocess
from collections.abc import Iterator

import httpx
import hypothesis
import numpy as np
import pytest
import torch
from running import NO_WORKERS, PACKAGE, running_server, sample_digits

from model.frozen import FrozenNetwork
from model.network import WhiteBoxNetwork
from model.package import ModelPackage, read_package
from training.data import DATA_DIR_VARIABLE, Dataset, load_mnist

# A deadline would tell how busy the machine is. `make test-all` asks for the thorough profile.
hypothesis.settings.register_profile("quick", max_examples=20, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=300, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than there are cores: some tests wait for what a clock ends."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    if os.environ.get(DATA_DIR_VARIABLE):
        return
    missing = pytest.mark.skip(reason=f"{DATA_DIR_VARIABLE} names no directory with all of MNIST")
    for item in items:
        if "full_data" in item.keywords:
            item.add_marker(missing)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def package() -> ModelPackage:
    return read_package(PACKAGE)


@pytest.fixture(scope="session")
def network(package) -> WhiteBoxNetwork:
    return WhiteBoxNetwork.from_package(package)


@pytest.fixture(scope="session")
def frozen(network) -> FrozenNetwork:
    return network.freeze()


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,000 real 3s and 5s: images (N, 28, 28) float32 in [0, 1] and their labels."""
    images, labels = sample_digits()
    chosen = (labels == 3) | (labels == 5)
    return (images[chosen] / 255).astype(np.float32), labels[chosen]


@pytest.fixture(scope="session")
def images(digits) -> torch.Tensor:
    """The same digits as (N, 1, 28, 28)."""
    return torch.from_numpy(digits[0])[:, None]


@pytest.fixture(scope="session")
def all_test_digits() -> Dataset:
    return load_mnist("test", (3, 5))


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    # On a busy machine a certificate may wait for a worker to load torch longer than the 30 s of the service.
    times = {"WHITEBOX_CERTIFY_TIMEOUT_SECONDS": "110", "WHITEBOX_ATTACK_TIMEOUT_SECONDS": "110"}
    with running_server(WHITEBOX_MODEL_CONTROL="true", **times) as running:
        yield running


@pytest.fixture(scope="session")
def client(server) -> httpx.Client:
    return server[0]


@pytest.fixture(scope="session")
def without_workers() -> Iterator[httpx.Client]:
    """A service that neither attacks nor certifies, lets nobody control models and finds no image typical."""
    with running_server(only="mnist-3v5", WHITEBOX_TYPICALITY_LEVEL="1", **NO_WORKERS) as (client, _):
        yield client


@pytest.fixture
def three(digits) -> list[list[float]]:
    """A 3 that the shipped model gets right, as a nested list."""
    return digits[0][0].tolist()

"""Finished shards on disk, so that a killed evaluation goes on where it stopped.

Each is a small JSON file. Its key is a digest of all that its numbers depend on: the network, the shard's
images, the settings, the libraries, and the source of the attacks. One with another key is never read.
"""

import hashlib
import inspect
import json
import sys
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import model
from evaluation.harness import shard
from evaluation.harness.shard import Job, ShardResult
from evaluation.harness.suite import Attack
from model.attacks.catalogue import ATTACKS
from model.package import write_atomically

_LIBRARIES = ("torch", "numpy", "onnxruntime", "foolbox", "pyautoattack")


@dataclass(frozen=True)
class ShardCache:
    """The finished shards of the evaluations of one card."""

    directory: Path
    network_digest: str

    @classmethod
    def next_to(cls, card: Path, network: nn.Module) -> "ShardCache":
        """Opens the directory NAME.shards next to NAME.json."""
        directory = card.with_suffix(".shards")
        directory.mkdir(parents=True, exist_ok=True)
        return cls(directory, digest_of_network(network))

    def load(self, job: Job) -> ShardResult | None:
        """Returns the job's result if it was saved."""
        try:
            entry = json.loads(self._path(job).read_bytes())
        except (OSError, ValueError):
            return None
        return ShardResult(**entry["result"]) if entry["key"] == self._key(job) else None

    def save(self, job: Job, result: ShardResult) -> None:
        """Writes a finished job's result, whole or not at all."""
        entry = {"shard": job.name, "key": self._key(job), "result": asdict(result)}
        write_atomically(self._path(job), json.dumps(entry).encode())

    def seconds_before(self) -> float:
        """Returns the wall time that earlier, interrupted runs spent on this card."""
        path = self._clock()
        return float(json.loads(path.read_bytes())) if path.exists() else 0.0

    def spend(self, seconds: float) -> None:
        """Records the wall time so far."""
        write_atomically(self._clock(), json.dumps(round(seconds, 1)).encode())

    def _clock(self) -> Path:
        return self.directory / "wall-seconds.json"

    def _path(self, job: Job) -> Path:
        return self.directory / f"{job.entry.name}-{job.first:05d}-{self._key(job)[:12]}.json"

    def _key(self, job: Job) -> str:
        tensors = [job.images, job.classes, *([job.starts] if job.starts is not None else [])]
        settings = json.dumps([asdict(job.entry), job.trust_certificates], sort_keys=True)
        graph = hashlib.sha256(job.backends.graph or b"").hexdigest()
        code = _code_digest() + _source_of_plugin(job)
        pieces = [self.network_digest, graph, settings, code, *map(_digest_of_tensor, tensors)]
        return hashlib.sha256("\n".join(pieces).encode()).hexdigest()


def digest_of_network(network: nn.Module) -> str:
    """SHA-256 over the network's structure, its own source where there is one, and all its numbers."""
    digest = hashlib.sha256(repr(network).encode())
    for kind in sorted({type(module) for module in network.modules()}, key=lambda kind: kind.__qualname__):
        if not kind.__module__.startswith("torch."):
            digest.update(_source(kind).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{_digest_of_tensor(value)}\n".encode())
    return digest.hexdigest()


def _source(kind: type[Any]) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return kind.__qualname__


def _digest_of_tensor(value: Tensor) -> str:
    content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(repr(tuple(value.shape)).encode() + content).hexdigest()


def _source_of_plugin(job: Job) -> str:
    """Returns the source of an attack that is not the project's own: what is in model/ counts already."""
    added = ATTACKS.added().get(job.entry.settings.attack) if isinstance(job.entry, Attack) else None
    return "" if added is None else inspect.getsource(sys.modules[added.run.__module__])


@cache
def _code_digest() -> str:
    """Over the libraries' versions, the network and the attacks, and what a worker does."""
    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    package = Path(str(model.__file__)).parent
    for path in [*sorted(package.rglob("*.py")), Path(shard.__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()

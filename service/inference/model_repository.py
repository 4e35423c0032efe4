"""The models that are served: several versions of each, loaded and unloaded while the service runs.

A package is swapped in whole, once its files match their digests and its graphs have run; whoever asked
before keeps the model that he got. A package that is damaged is refused, and what served before goes on.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.package import FILES, MANIFEST, ModelPackage, PackageError, read_package, write_atomically
from model.package_directory import check_packages, package_directories
from service.errors import ModelNotFound, ModelNotLoadable
from service.inference.batcher import Batcher, QueueLimit
from service.inference.engine import Engine
from service.telemetry import metrics

_LOGGER = logging.getLogger("service")
_UNLOADED = "unloaded.json"

# What tells whether any file of a package was changed: time and size of each.
Signature = tuple[tuple[int, int] | None, ...]
Key = tuple[str, str]


@dataclass(frozen=True)
class ServedModel:
    """A loaded version of a model.

    Attributes:
        engine: Its graphs.
        batcher: Predictions, together with those that others ask for at the same time.
        signature: Of the files it was loaded from.
    """

    engine: Engine
    batcher: Batcher
    signature: Signature

    @property
    def package(self) -> ModelPackage:
        """The package it was loaded from."""
        return self.engine.package


class ModelRepository:
    """All models of a directory of NAME/VERSION/.

    Args:
        directory: Where the packages are.
        default: Name of the model that answers when none is named.
        limit: Of the images that wait for inference.
        state_dir: Directory in which serving processes tell each other what was unloaded; None for one
            process alone.
    """

    def __init__(
        self, directory: Path, default: str, limit: QueueLimit, state_dir: Path | None = None
    ) -> None:
        self.directory, self.default = directory, default
        self._limit = limit
        self._state = None if state_dir is None else state_dir / _UNLOADED
        self._models: dict[str, dict[str, ServedModel]] = {}
        self._unloaded: set[str] = set()
        self._refused: dict[Key, tuple[Signature, str]] = {}
        self._changing = asyncio.Lock()

    def load_all(self) -> None:
        """Loads every package of the directory; what is unloaded for all processes stays so.

        Raises:
            PackageError: One is damaged, or there is none, or not the default model.
        """
        check_packages(self.directory, self.default)
        self._read_unloaded()
        for name, version, path in package_directories(self.directory):
            if name not in self._unloaded:
                self._put(name, version, self._open(name, version, path))

    def get(self, name: str | None = None, version: str | None = None) -> ServedModel:
        """Returns a model; without a name the default one, without a version its newest.

        Raises:
            ModelNotFound: It is not loaded.
        """
        wanted = self.default if name is None else name
        versions = self._models.get(wanted)
        if not versions:
            loaded = ", ".join(sorted(self._models)) or "none"
            raise ModelNotFound(f"There is no model {wanted!r}. Loaded: {loaded}.")
        if version is None:
            return versions[_newest(versions)]
        if version not in versions:
            has = ", ".join(sorted(versions, key=int))
            raise ModelNotFound(f"The model {wanted!r} has no version {version!r}. Loaded: {has}.")
        return versions[version]

    def versions(self, name: str) -> list[str]:
        """Returns the loaded versions of a model, oldest first."""
        return sorted(self._models.get(name, ()), key=int)

    def __iter__(self) -> Iterator[ServedModel]:
        """Yields the loaded models by name and version."""
        for name in sorted(self._models):
            for version in self.versions(name):
                yield self._models[name][version]

    def package_paths(self) -> list[Path]:
        """Returns the directories of all loaded packages."""
        return [model.package.directory for model in self]

    def index(self) -> list[dict[str, str]]:
        """Returns every package of the directory with its state, as the V2 repository API has it."""
        on_disk = {(name, version) for name, version, _ in package_directories(self.directory)}
        loaded = {(model.package.name, model.package.version) for model in self}
        return [self._state_of(*key, key in loaded) for key in sorted(on_disk | loaded)]

    async def load(self, name: str) -> None:
        """Loads all versions of a model from the directory, anew where they are loaded.

        Raises:
            ModelNotFound: The directory has no such model.
            ModelNotLoadable: A version is damaged; what was loaded goes on.
        """
        async with self._changing:
            found = [each for each in package_directories(self.directory) if each[0] == name]
            if not found:
                raise ModelNotFound(f"The repository has no model {name!r}.")
            try:
                opened = [(each, await asyncio.to_thread(self._open, *each)) for each in found]
            except PackageError as error:
                metrics.MODEL_LOADS.labels(name, "refused").inc()
                raise ModelNotLoadable(str(error)) from error
            self._set_unloaded(self._unloaded - {name})
            for (_, version, _), model in opened:
                self._put(name, version, model)

    async def unload(self, name: str) -> None:
        """Stops serving a model until it is loaded again; requests in progress end on it.

        Raises:
            ModelNotFound: It is not loaded.
        """
        async with self._changing:
            self.get(name)
            self._set_unloaded(self._unloaded | {name})
            self._drop(name)

    async def refresh(self) -> None:
        """Brings what is loaded in line with the directory."""
        async with self._changing:
            self._read_unloaded()
            for name in self._unloaded & set(self._models):
                self._drop(name)
            found = {each[:2]: each for each in package_directories(self.directory)}
            for key, each in found.items():
                if key[0] not in self._unloaded and self._is_new(*each):
                    await self._load_changed(*each)
            for model in list(self):
                if (model.package.name, model.package.version) not in found:
                    self._drop(model.package.name, model.package.version)

    async def watch(self, seconds: float) -> None:
        """Refreshes for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception:  # a directory that cannot be read now may be readable later
                _LOGGER.exception("the model directory could not be looked at")

    def _is_new(self, name: str, version: str, path: Path) -> bool:
        signature = _signature(path)
        refused = self._refused.get((name, version))
        if refused is not None:
            return refused[0] != signature
        model = self._models.get(name, {}).get(version)
        return model is None or model.signature != signature

    async def _load_changed(self, name: str, version: str, path: Path) -> None:
        signature = _signature(path)
        try:
            model = await asyncio.to_thread(self._open, name, version, path)
        except PackageError as error:
            self._refused[name, version] = signature, str(error)
            metrics.MODEL_LOADS.labels(name, "refused").inc()
            _LOGGER.error("%s version %s is not loaded: %s", name, version, error)
        else:
            self._put(name, version, model)
            _LOGGER.info("loaded %s version %s", name, version)

    def _open(self, name: str, version: str, path: Path) -> ServedModel:
        """Reads, verifies and warms up a package."""
        signature = _signature(path)
        package = read_package(path)
        if (package.name, package.version) != (name, version):
            raise PackageError(f"{path} holds {package.name} version {package.version}.")
        for file in FILES:
            package.read(file)
        try:
            engine = Engine(package)
            engine.warm_up()
        except PackageError:
            raise
        except Exception as error:  # onnxruntime raises many kinds for a graph it cannot run
            raise PackageError(f"{path} cannot be run: {error}") from error
        return ServedModel(engine, Batcher(engine.predict, self._limit), signature)

    def _put(self, name: str, version: str, model: ServedModel) -> None:
        self._drop(name, version)
        self._refused.pop((name, version), None)
        self._models.setdefault(name, {})[version] = model
        metrics.MODEL_INFO.labels(name, version, model.package.digest).set(1)
        metrics.MODEL_LOADS.labels(name, "loaded").inc()

    def _drop(self, name: str, version: str | None = None) -> None:
        """Forgets a version of a model, or all."""
        loaded = self._models.get(name, {})
        for gone in [version] if version is not None else list(loaded):
            model = loaded.pop(gone, None)
            if model is not None:
                metrics.MODEL_INFO.labels(name, gone, model.package.digest).set(0)
        if not loaded:
            self._models.pop(name, None)

    def _state_of(self, name: str, version: str, loaded: bool) -> dict[str, str]:
        reason = self._refused.get((name, version), (None, ""))[1]
        if not loaded and not reason:
            reason = "unloaded" if name in self._unloaded else "not loaded yet"
        return {
            "name": name,
            "version": version,
            "state": "READY" if loaded else "UNAVAILABLE",
            "reason": reason,
        }

    def _read_unloaded(self) -> None:
        if self._state is not None and self._state.exists():
            self._unloaded = set(json.loads(self._state.read_bytes()))

    def _set_unloaded(self, names: set[str]) -> None:
        self._unloaded = names
        if self._state is not None:
            write_atomically(self._state, json.dumps(sorted(names)).encode())


def _newest(versions: dict[str, Any]) -> str:
    return max(versions, key=int)


def _signature(path: Path) -> Signature:
    return tuple(_stamp(path / file) for file in (MANIFEST, *FILES))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size

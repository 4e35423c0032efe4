"""The models that are served: several versions of each, loaded and unloaded while the service runs.

A package is swapped in whole, once its files match their digests and its graphs have run, first in a process
of their own; whoever asked before keeps the model that he got. A package that is damaged or hostile is
refused, and everything else goes on.
"""

import asyncio
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model.package import (
    FILES,
    MANIFEST,
    PROGRAM,
    WEIGHTS,
    ModelPackage,
    PackageError,
    read_package,
    write_atomically,
)
from model.package_directory import package_directories, signature_file
from service.errors import ModelNotFound, ModelNotLoadable
from service.inference.batcher import Batcher, QueueLimit
from service.inference.engine import Engine
from service.inference.package_trial import PackageTrial
from service.telemetry import metrics

_LOGGER = logging.getLogger("service")
_UNLOADED = "unloaded.json"

# What tells whether any file of a package was changed: time and size of each.
Stamps = tuple[tuple[int, int] | None, ...]
Key = tuple[str, str]


@dataclass(frozen=True)
class ServedModel:
    """A loaded version of a model.

    Attributes:
        engine: Its graphs.
        batcher: Predictions, together with those that others ask for at the same time.
        stamps: Of the files it was loaded from.
    """

    engine: Engine
    batcher: Batcher
    stamps: Stamps

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
        new_trial: Returns where packages are tried.
        state_dir: Directory in which serving processes tell each other what was unloaded; None for one
            process alone.
    """

    def __init__(
        self,
        directory: Path,
        default: str,
        limit: QueueLimit,
        new_trial: Callable[[], PackageTrial],
        state_dir: Path | None = None,
    ) -> None:
        self.directory, self.default = directory, default
        self._limit, self._new_trial = limit, new_trial
        self._state = None if state_dir is None else state_dir / _UNLOADED
        self._models: dict[str, dict[str, ServedModel]] = {}  # versions from the oldest to the newest
        self._unloaded: set[str] = set()
        self._refused: dict[Key, tuple[Stamps, str]] = {}
        # A model is loaded once at a time; one that takes long holds up no other, and no unloading.
        self._loading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unloads: Counter[str] = Counter()
        self._turn = asyncio.Lock()  # of a refresh: loads at the same time take and keep more memory

    async def load_all(self) -> None:
        """Loads every package of the directory that can be; what is unloaded for all processes stays so.

        Raises:
            PackageError: No version of the default model can be loaded.
        """
        await self.refresh()
        if self.default not in self._models and self.default not in self._unloaded:
            reasons = [reason for (name, _), reason in self.refused().items() if name == self.default]
            raise PackageError(" ".join([f"The default model {self.default!r} is not loaded.", *reasons]))

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
            return versions[next(reversed(versions))]
        if version not in versions:
            has = ", ".join(versions)
            raise ModelNotFound(f"The model {wanted!r} has no version {version!r}. Loaded: {has}.")
        return versions[version]

    def versions(self, name: str) -> list[str]:
        """Returns the loaded versions of a model, oldest first."""
        return list(self._models.get(name, ()))

    def __iter__(self) -> Iterator[ServedModel]:
        """Yields the loaded models by name and version."""
        for name in sorted(self._models):
            for version in self.versions(name):
                yield self._models[name][version]

    def index(self) -> list[dict[str, str]]:
        """Returns every package of the directory with its state, as the V2 repository API has it."""
        on_disk = {(name, version) for name, version, _ in package_directories(self.directory)}
        loaded = {(model.package.name, model.package.version) for model in self}
        return [self._state_of(*key, key in loaded) for key in sorted(on_disk | loaded)]

    def refused(self) -> dict[Key, str]:
        """Returns the packages that are not loaded because something is wrong with them, and what."""
        return {key: reason for key, (_, reason) in self._refused.items()}

    async def load(self, name: str) -> None:
        """Loads all versions of a model from the directory, anew where they are loaded.

        Raises:
            ModelNotFound: The directory has no such model.
            ModelNotLoadable: A version is damaged, or it was unloaded meanwhile; what was loaded goes on.
        """
        found = [each for each in package_directories(self.directory) if each[0] == name]
        if not found:
            raise ModelNotFound(f"The repository has no model {name!r}.")
        async with self._loading[name], self._new_trial() as trial:
            unloads = self._unloads[name]
            try:
                opened = [await self._open(await trial.digest_of(each[2]), *each) for each in found]
            except PackageError as error:
                metrics.MODEL_LOADS.labels(name, "refused").inc()
                raise ModelNotLoadable(str(error)) from error
            if self._unloads[name] != unloads:
                raise ModelNotLoadable(f"The model {name!r} was unloaded while it was loaded.")
            self._set_unloaded(self._unloaded - {name})
            for model in opened:
                self._put(name, model.package.version, model)

    async def unload(self, name: str) -> None:
        """Stops serving a model until it is loaded again; requests in progress end on it.

        Raises:
            ModelNotFound: It is not loaded.
        """
        self.get(name)
        self._unloads[name] += 1
        self._set_unloaded(self._unloaded | {name})
        self._drop(name)

    async def refresh(self) -> None:
        """Brings what is loaded in line with the directory."""
        self._read_unloaded()
        for name in self._unloaded & set(self._models):
            self._drop(name)
        found = package_directories(self.directory)
        present = {each[:2] for each in found}
        for model in list(self):
            if (model.package.name, model.package.version) not in present:
                self._drop(model.package.name, model.package.version)
        for gone in set(self._refused) - present:
            del self._refused[gone]
        try:
            # The next package is tried while one is loaded.
            async with self._new_trial() as trial, asyncio.TaskGroup() as loads:
                for each in found:
                    if self._is_new(*each):
                        loads.create_task(self._load_changed(trial, *each))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def watch(self, seconds: float) -> None:
        """Refreshes for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception:  # a directory that cannot be read now may be readable later
                _LOGGER.exception("the model directory could not be looked at")

    def _is_new(self, name: str, version: str, path: Path) -> bool:
        if name in self._unloaded:
            return False
        stamps = _stamps(path)
        refused = self._refused.get((name, version))
        if refused is not None:
            return refused[0] != stamps
        model = self._models.get(name, {}).get(version)
        return model is None or model.stamps != stamps

    async def _load_changed(self, trial: PackageTrial, name: str, version: str, path: Path) -> None:
        stamps = _stamps(path)
        try:
            digest = await trial.digest_of(path)
            async with self._loading[name], self._turn:
                if not self._is_new(name, version, path):  # somebody asked for it meanwhile
                    return
                model = await self._open(digest, name, version, path)
        except PackageError as error:
            self._refused[name, version] = stamps, str(error)
            metrics.MODEL_LOADS.labels(name, "refused").inc()
            _LOGGER.error("%s version %s is not loaded: %s", name, version, error)
            return
        if name not in self._unloaded:
            self._put(name, version, model)
            _LOGGER.info("loaded %s version %s", name, version)

    async def _open(self, digest: str, name: str, version: str, path: Path) -> ServedModel:
        """Reads and verifies the package of a digest that was tried, and warms it up."""
        stamps = _stamps(path)
        package = read_package(path)
        if (package.name, package.version) != (name, version):
            raise PackageError(f"{path} holds {package.name} version {package.version}.")
        if package.digest != digest:
            raise PackageError(f"{path} was changed while it was loaded.")
        engine = await asyncio.to_thread(_load, package)
        return ServedModel(engine, Batcher(engine.predict, self._limit), stamps)

    def _put(self, name: str, version: str, model: ServedModel) -> None:
        self._drop(name, version)
        self._refused.pop((name, version), None)
        versions = self._models.get(name, {}) | {version: model}
        self._models[name] = dict(sorted(versions.items(), key=lambda item: int(item[0])))
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


def _load(package: ModelPackage) -> Engine:
    for file in (WEIGHTS, PROGRAM):  # the engine reads the others
        package.read(file)
    engine = Engine(package)
    engine.try_out()
    return engine


def _stamps(path: Path) -> Stamps:
    files = [path / file for file in (MANIFEST, *FILES)]
    return tuple(_stamp(file) for file in (*files, signature_file(path)))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size

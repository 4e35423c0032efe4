"""What a running service holds: settings, one engine a model, the worker pools."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starlette.requests import Request

from model.artifact import FILES, ModelPackage, PackageError, read_package
from service.engine import Engine
from service.problems import ModelNotFound
from service.settings import Settings
from service.worker_pool import WorkerPool


@dataclass
class Service:
    """The state behind the routes.

    Attributes:
        settings: As the service was started.
        engines: The loaded models by name.
        attacks: The worker processes that attack.
        certificates: Those that certify, apart, so that no attack is ahead of a certificate.
        ready: True from the end of the warm-up to the beginning of the shutdown.
    """

    settings: Settings
    engines: dict[str, Engine]
    attacks: WorkerPool
    certificates: WorkerPool
    ready: bool = False

    def engine(self, name: str | None) -> Engine:
        """Returns the engine of a model, or of the default one.

        Raises:
            ModelNotFound: No model of this name is loaded.
        """
        wanted = self.settings.default_model if name is None else name
        try:
            return self.engines[wanted]
        except KeyError:
            loaded = ", ".join(sorted(self.engines))
            raise ModelNotFound(f"There is no model {wanted!r}. Loaded: {loaded}.") from None


def service_of(request: Request) -> Service:
    """Returns the state of the application that a request came to."""
    return cast(Service, request.app.state.service)


def newest_packages(models_dir: Path) -> list[ModelPackage]:
    """Opens the newest version of every model in a directory of NAME/VERSION/.

    Raises:
        PackageError: There is none, or a manifest is broken.
    """
    packages = []
    for model in sorted(path for path in models_dir.glob("*") if path.is_dir()):
        versions = [path for path in model.iterdir() if path.name.isdecimal()]
        if versions:
            packages.append(read_package(max(versions, key=lambda path: int(path.name))))
    if not packages:
        raise PackageError(f"{models_dir} holds no model package NAME/VERSION/.")
    return packages


def check_packages(settings: Settings) -> list[ModelPackage]:
    """Opens the packages that are to be served and verifies every file of them.

    Raises:
        PackageError: One is missing or damaged, or the default model is not there.
    """
    packages = newest_packages(settings.models_dir)
    names = [package.name for package in packages]
    if settings.default_model not in names:
        raise PackageError(
            f"The default model {settings.default_model!r} is not in {settings.models_dir}. It holds "
            f"{', '.join(names)}; set WHITEBOX_DEFAULT_MODEL to one of them."
        )
    for package in packages:
        for file in FILES:
            package.read(file)
    return packages

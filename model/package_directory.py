"""Directories of model packages, NAME/VERSION/."""

from pathlib import Path

from model.package import FILES, MANIFEST, ModelPackage, PackageError, is_package_path, read_package


def package_directories(directory: Path) -> list[tuple[str, str, Path]]:
    """Returns name, version and path of everything that looks like a package NAME/VERSION/."""
    paths = sorted(manifest.parent for manifest in directory.glob(f"*/*/{MANIFEST}"))
    return [(path.parent.name, path.name, path) for path in paths if is_package_path(path)]


def signature_file(directory: Path) -> Path:
    """Returns where the signature of a package NAME/VERSION/ is, whether it is there or not."""
    return directory.with_name(f"{directory.name}.sig")


def newest_package(directory: Path, name: str) -> ModelPackage:
    """Opens the newest version of a model in a directory of NAME/VERSION/.

    Raises:
        PackageError: There is none, or its manifest is broken.
    """
    return read_package(_versions(directory, name)[0])


def check_default_model(directory: Path, name: str) -> None:
    """Checks that a version of a model is there whose files are whole.

    Raises:
        PackageError: There is none; the message is that of the newest.
    """
    newest: PackageError | None = None
    for path in _versions(directory, name):
        try:
            package = read_package(path)
            for file in FILES:
                package.read(file)
        except PackageError as error:
            newest = newest or error
        else:
            return
    if newest is not None:
        raise newest


def _versions(directory: Path, name: str) -> list[Path]:
    """Returns the directories of a model's versions, the newest first; there is at least one."""
    found = package_directories(directory)
    paths = [path for model, _, path in found if model == name]
    if not paths:
        names = ", ".join(sorted({model for model, _, _ in found})) or "no model package NAME/VERSION/"
        raise PackageError(
            f"There is no model {name!r}: {directory} holds {names}. WHITEBOX_DEFAULT_MODEL names the one "
            f"that answers by default."
        )
    return sorted(paths, key=lambda path: int(path.name), reverse=True)

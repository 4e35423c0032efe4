"""Directories of model packages, NAME/VERSION/."""

from pathlib import Path

from model.package import FILES, MANIFEST, ModelPackage, PackageError, is_package_path, read_package


def package_directories(directory: Path) -> list[tuple[str, str, Path]]:
    """Returns name, version and path of everything that looks like a package NAME/VERSION/."""
    paths = sorted(manifest.parent for manifest in directory.glob(f"*/*/{MANIFEST}"))
    return [(path.parent.name, path.name, path) for path in paths if is_package_path(path)]


def newest_packages(directory: Path) -> list[ModelPackage]:
    """Opens the newest version of every model in a directory of NAME/VERSION/.

    Raises:
        PackageError: There is none, or a manifest is broken.
    """
    newest: dict[str, tuple[str, Path]] = {}
    for name, version, path in package_directories(directory):
        if name not in newest or int(version) > int(newest[name][0]):
            newest[name] = version, path
    if not newest:
        raise PackageError(f"{directory} holds no model package NAME/VERSION/.")
    return [read_package(path) for _, path in newest.values()]


def check_packages(directory: Path, default: str) -> list[ModelPackage]:
    """Opens all packages of a directory and verifies every file of them.

    Raises:
        PackageError: One is missing or damaged, or the default model is not there.
    """
    names = [package.name for package in newest_packages(directory)]
    if default not in names:
        raise PackageError(
            f"The default model {default!r} is not in {directory}. It holds {', '.join(names)}; set "
            f"WHITEBOX_DEFAULT_MODEL to one of them."
        )
    packages = [read_package(path) for _, _, path in package_directories(directory)]
    for package in packages:
        for file in FILES:
            package.read(file)
    return packages

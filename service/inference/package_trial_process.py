"""The process that tries packages, `python -P -m service.inference.package_trial_process [PUBLIC_KEY]`.

Lines {"package", "seconds"} come on standard input; {"ready": true}, then {"digest"} or {"problem"} for each
go to standard output. It imports no torch, has little memory, and is the first that the kernel ends where
memory is short. With a key, a package has to be signed by it.
"""

import contextlib
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import orjson

from model.package import PackageError, read_package
from service.inference.engine import Engine

# Address space that packages may take beyond what the imports did; a shipped one takes some 40 MB.
_MOST_BYTES = 2**30
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST_TO_BE_ENDED = "1000"
_NICENESS = 10
_LONGEST_PROBLEM = 500
_GRACE_SECONDS = 5


def main() -> None:
    """Tries packages until standard input ends."""
    verify = _verification(sys.argv[1:])
    _limit_resources()
    _send({"ready": True})
    for line in sys.stdin.buffer:
        message = orjson.loads(line)
        # The service ends a package that takes longer; this is for when the service itself is gone.
        signal.alarm(math.ceil(message["seconds"]) + _GRACE_SECONDS)
        _send(_tried(Path(message["package"]), verify))
        signal.alarm(0)


def _verification(public_keys: Sequence[str]) -> Callable[[Path], None]:
    if not public_keys:
        return lambda _directory: None
    from service.inference.package_signature import verify_signature  # noqa: PLC0415 (an extra)

    return partial(verify_signature, public_key=Path(public_keys[0]))


def _tried(directory: Path, verify: Callable[[Path], None]) -> dict[str, str]:
    try:
        verify(directory)
        package = read_package(directory)
        Engine(package).try_out()
    except PackageError as error:
        problem = str(error)
    except Exception as error:  # onnxruntime raises many kinds for a graph that it cannot run
        problem = f"{directory} cannot be run: {type(error).__name__}: {error}"
    else:
        return {"digest": package.digest}
    # It may quote the package, and stands in logs.
    problem = problem[:_LONGEST_PROBLEM]
    return {"problem": "".join(letter if letter.isprintable() else " " for letter in problem)}


def _send(message: dict[str, str] | dict[str, bool]) -> None:
    sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
    sys.stdout.buffer.flush()


def _limit_resources() -> None:
    with contextlib.suppress(OSError, ValueError):  # no Linux, or the limit is lower already
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (taken + _MOST_BYTES, taken + _MOST_BYTES))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_ENDED)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    # What onnxruntime prints of a package's names is not for the log.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


if __name__ == "__main__":
    main()

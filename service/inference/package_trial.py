"""Packages are tried in a process of their own before the serving process loads them.

A package that crashes there, takes for ever or takes all memory ends with its process and one `PackageError`;
the next package gets a new process.
"""

import asyncio
import contextlib
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from model.package import PackageError

# Importing onnxruntime on a busy machine; no fault of the package.
_START_SECONDS = 120.0


class TrialProcessError(Exception):
    """The process that tries packages cannot start; no fault of a package."""


class PackageTrial:
    """A child process that loads packages and lets them answer, one after the other.

    Args:
        seconds: What one package may take.
        public_key: PEM file of the key that packages have to be signed with; None: they need not be.
    """

    def __init__(self, seconds: float, public_key: Path | None = None) -> None:
        self._seconds, self._public_key = seconds, public_key
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Starts nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the child, also in the middle of a package."""
        await self._end()

    async def digest_of(self, directory: Path) -> str:
        """Returns the digest of the package that answered in the child; who asks meanwhile waits.

        Raises:
            PackageError: It is not signed as it has to be, cannot be loaded, does not answer as its
                manifest says, or not in time.
            TrialProcessError: It could not be tried.
        """
        async with self._turn:
            return await self._digest_of(directory)

    async def _digest_of(self, directory: Path) -> str:
        process = self._process or await self._start()
        try:
            answer = await self._ask(process, directory)
        except TimeoutError:
            await self._end()
            raise PackageError(f"{directory} was not ready after {self._seconds:g} s.") from None
        except (EOFError, ConnectionError):
            code = await self._end()
            raise PackageError(f"{directory} ended the process that tried it (exit code {code}).") from None
        if "problem" in answer:
            raise PackageError(answer["problem"])
        digest: str = answer["digest"]
        return digest

    async def _ask(self, process: asyncio.subprocess.Process, directory: Path) -> dict[str, Any]:
        assert process.stdin is not None
        message = {"package": str(directory.absolute()), "seconds": self._seconds}
        process.stdin.write(orjson.dumps(message) + b"\n")
        async with asyncio.timeout(self._seconds):
            await process.stdin.drain()
            return await _receive(process)

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a model.py or json.py in the working directory is not ours
            "-m",
            "service.inference.package_trial_process",
            *([] if self._public_key is None else [str(self._public_key.absolute())]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl+C on a terminal is for the service, which ends its children
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await _receive(process)
        except (TimeoutError, EOFError) as error:
            code = await self._end()
            raise TrialProcessError(f"no process that tries packages can start (exit code {code})") from error
        return process

    async def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            process.kill()
        return await process.wait()


async def _receive(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line.endswith(b"\n"):
        await process.wait()  # a crash closes the pipe a moment before the exit code is there
        raise EOFError
    message: dict[str, Any] = orjson.loads(line)
    return message

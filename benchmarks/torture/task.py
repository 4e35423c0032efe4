"""What every hostile client is told on its command line, and how it says what it saw."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Task(NamedTuple):
    """One hostile client's work.

    Attributes:
        kind: Which of a module's attacks.
        port: Where the service listens, on 127.0.0.1.
        seconds: How long to go on.
        seed: Of all that is random; another in each round.
        service: The service's process id.
    """

    kind: str
    port: int
    seconds: float
    seed: int
    service: int

    def arguments(self) -> list[str]:
        """Returns them as a command line has them."""
        return [str(value) for value in self]


def read_task() -> Task:
    """Returns the task that this process was started with."""
    kind, port, seconds, seed, service = sys.argv[1:]
    return Task(kind, int(port), float(seconds), int(seed), int(service))


def tell(saw: Mapping[str, object], findings: Sequence[str] = ()) -> None:
    """Prints what was counted, and what should not have happened: one finding fails the torture."""
    print(json.dumps({"saw": dict(saw), "findings": list(findings)}))

"""The comparison's commands; benchmarks/peers/README.md says what each measures.

python -m benchmarks.peers setup
python -m benchmarks.peers run --only ours,plain --seconds 2 --rounds 1
"""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.peers import bursts as bursts_of
from benchmarks.peers import levels
from benchmarks.peers import overload as overload_of
from benchmarks.peers import soak as soak_of
from benchmarks.peers import tensors as tensors_of
from benchmarks.peers.catalogue import chosen
from benchmarks.peers.servers import CACHE
from benchmarks.peers.setting_up import set_up

app = typer.Typer(add_completion=False, help="The same model behind other servers.")

Venvs = Annotated[Path, typer.Option(help="Directory of the peers' environments.")]
Only = Annotated[str | None, typer.Option(help="Names with commas; default: all.")]
Deadline = Annotated[float, typer.Option(help="Seconds within which an answer is of use.")]


@app.command()
def setup(
    names: Annotated[list[str] | None, typer.Argument(help="Peers; default: all.")] = None,
    venvs: Venvs = CACHE,
) -> None:
    """Install each peer with its pinned versions into an environment of its own."""
    set_up(chosen(",".join(names) if names else None), venvs.resolve())


@app.command()
def run(
    only: Only = None,
    seconds: Annotated[int, typer.Option(help="Of load at each level.")] = 5,
    rounds: int = 3,
    rates: Annotated[
        str, typer.Option(help="Of the open loop, requests a second.")
    ] = "250,500,1000,2000,4000",
    deadline: Deadline = 0.1,
    seed: Annotated[int, typer.Option(help="Of the order.")] = 0,
    venvs: Venvs = CACHE,
) -> None:
    """Throughput and latency at numbers of connections (wrk) and at constant rates."""
    levels.compare(
        chosen(only),
        venvs.resolve(),
        [int(rate) for rate in rates.split(",")],
        seconds,
        rounds,
        deadline,
        seed,
    )


@app.command()
def bursts(
    only: Only = None,
    seed: Annotated[int, typer.Option(help="Of the bad request's place.")] = 0,
    venvs: Venvs = CACHE,
) -> None:
    """Good requests that fail because a bad one came at the same moment."""
    bursts_of.compare(chosen(only), venvs.resolve(), seed)


@app.command()
def overload(
    only: Only = "ours",
    duration: Annotated[int, typer.Option(help="Seconds of overload.")] = 60,
    seconds: Annotated[int, typer.Option(help="For the measurement of capacity.")] = 5,
    deadline: Deadline = 0.1,
    venvs: Venvs = CACHE,
) -> None:
    """Twice the capacity: goodput, refusals, memory, time to recovery."""
    overload_of.compare(chosen(only), venvs.resolve(), duration, seconds, deadline)


@app.command()
def tensors(
    only: Only = None,
    seconds: Annotated[float, typer.Option(help="Of each contender's turn.")] = 5,
    rounds: int = 3,
    venvs: Venvs = CACHE,
) -> None:
    """256 images as binary tensors against onnxruntime without a server."""
    tensors_of.compare(chosen(only), venvs.resolve(), seconds, rounds)


@app.command()
def soak(
    predictions: Annotated[int, typer.Option(help="How many to ask our service for.")] = 1_000_000,
    seed: int = 0,
    venvs: Venvs = CACHE,
) -> None:
    """Many checked predictions amid reloads, killed workers, attacks and clients that leave."""
    soak_of.run(venvs.resolve(), predictions, seed)


if __name__ == "__main__":
    app()

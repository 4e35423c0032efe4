"""How much can be proved of ten digits with how many parameters: ours beside small CNNs trained for the same.

    WHITEBOX_DATA_DIR=... python -m benchmarks.parameter_front RUN [RUN ...]

Takes finished runs (docs/evaluation.md has the commands) and model packages; what was measured before of
others stays. What is proved is proved by interval bounds alone, the same for all families, of all 10,000 test
digits. Draws docs/pictures/parameter-front.svg.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.measuring import RESULTS, ROOT, save, show
from evaluation.evaluated_model import is_package
from model.network import WhiteBoxNetwork
from model.package import read_package
from training.certified import count_certified
from training.data import Dataset, load_mnist
from training.networks.architectures import Network
from training.objectives import count_correct
from training.run import Run

PICTURE = ROOT / "docs" / "pictures" / "parameter-front.svg"
RADII = (0.1, 0.2, 0.3)
# Proved at 0.3, from the literature (docs/evaluation.md): no number of parameters of theirs is as small.
ELSEWHERE = {"boosted trees": 0.8754, "SABR, SortNet; millions of parameters": 0.9340}
_OURS, _BOUNDS, _ATTACKED = "white box (ours)", "CNN, interval bounds", "CNN, interval bounds and an attack"
FAMILIES = {_OURS: ("o", "-"), _BOUNDS: ("s", "--"), _ATTACKED: ("^", ":")}


def main(arguments: list[str]) -> None:
    """Prints a table, writes benchmarks/results/parameter_front.json and draws the picture."""
    digits = load_mnist("test", tuple(range(10)))
    measured = [*_before(), *(_row(Path(each), digits) for each in arguments)]
    # A package's new version takes the place of the one before.
    rows = sorted({_model(row): row for row in measured}.values(), key=lambda row: row["parameters"])
    columns = ["network", "family", "parameters", "clean, %", *(f"proved {radius:g}, %" for radius in RADII)]
    shown = [
        [row["name"], row["family"], f"{row['parameters']:,}", 100 * row["clean"]]
        + [100 * row["proved"][f"{radius:g}"] for radius in RADII]
        for row in rows
    ]
    show("Ten digits, all 10,000 test images", columns, shown)
    save("parameter_front", {"rows": rows, "elsewhere": ELSEWHERE})
    _draw(rows)


def _model(row: dict[str, Any]) -> str:
    name: str = row["name"]
    return name.partition("/")[0]


def _before() -> list[dict[str, Any]]:
    file = RESULTS / "parameter_front.json"
    found: list[dict[str, Any]] = json.loads(file.read_text())["rows"] if file.exists() else []
    return found


def _row(path: Path, digits: Dataset) -> dict[str, Any]:
    name, network = _load(path)
    return {
        "name": name,
        "family": _family(path, network),
        "parameters": network.num_parameters(),
        "clean": count_correct(network, digits.images, digits.classes) / len(digits),
        "proved": {f"{radius:g}": count_certified(network, digits, radius) / len(digits) for radius in RADII},
    }


def _family(path: Path, network: Network) -> str:
    if isinstance(network, WhiteBoxNetwork):
        return _OURS
    return _ATTACKED if Run(path).description()["recipe"]["objective"]["kind"] == "MtlIbp" else _BOUNDS


def _load(path: Path) -> tuple[str, Network]:
    if not is_package(path):
        return path.name, Run(path).load()
    package = read_package(path)
    return f"{package.name}/{package.version}", WhiteBoxNetwork.from_package(package)


def _draw(rows: list[dict[str, Any]]) -> None:
    with mpl.rc_context({"svg.hashsalt": "parameter front", "font.size": 9, "legend.frameon": False}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        for family, (marker, line) in FAMILIES.items():
            own = [row for row in rows if row["family"] == family]
            axes.plot(
                [row["parameters"] for row in own],
                [100 * row["proved"]["0.3"] for row in own],
                linestyle=line,
                marker=marker,
                color="0",
                label=family,
            )
        for name, share in ELSEWHERE.items():
            axes.axhline(100 * share, color="0.6", linewidth=0.8)
            axes.text(4000, 100 * share, name, va="bottom", fontsize=7.5, color="0.35")
        axes.set(xscale="log", xlabel="parameters", ylabel="proved at L-inf 0.3, % of test digits")
        axes.legend(loc="lower right")
        figure.savefig(PICTURE, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(sys.argv[1:])

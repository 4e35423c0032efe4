"""Charts, told apart by line style, marker and shade of grey: they can be printed in black and white."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_WIDTH = 8.4  # inches: at 100 pixels an inch as wide as GitHub shows a page
_PANEL_HEIGHT = 2.7
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "svg.hashsalt": "whitebox report",  # without it the names inside the file are random
    "hatch.linewidth": 0.7,
}
# (line style, marker, grey) in the order in which lines are drawn.
_LINES = (
    ("-", "o", "0"),
    ("--", "s", "0.35"),
    (":", "^", "0"),
    ("-.", "D", "0.5"),
    ((0, (1, 3)), "v", "0.2"),
    ((0, (6, 1)), "x", "0.6"),
)
_BARS = (("1", ""), ("0.8", "///"), ("0.45", ""), ("0", ""))


def two_steps(data: Any, source: str) -> bytes:  # noqa: ANN401 (JSON)
    """Draws the staircase of each network before and after training; data: {title: inside's two_step}."""
    with mpl.rc_context(_STYLE):
        figure, panels = _panels(len(data), min(len(data), 2))
        for axes, (title, step) in zip(panels, data.items(), strict=True):
            axes.plot(step["x"], step["before"]["y"], "--", color="0.55", label="before training")
            axes.plot(step["x"], step["after"]["y"], "-", color="0", label="after")
            for threshold in step["after"]["thresholds"]:
                axes.axvline(threshold, color="0.4", linestyle=":", linewidth=1)
            thresholds = [f"{threshold:.3f}" for threshold in step["after"]["thresholds"]]
            axes.set(title=f"{title}: thresholds {', '.join(thresholds)}", xlabel="pixel", yticks=[-1, 0, 1])
            axes.set_yticklabels(["OFF", "MEH" if len(thresholds) == 2 else "0", "ON"])
            axes.legend(loc="lower right")
        _one_y_axis(panels)
        return _svg(figure, source)


def accuracy_by_epsilon(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws a panel for each network; data: {title: {"radius", "lines": [{"attack", "points", ...}]}}."""
    names = list(dict.fromkeys(line["attack"] for one in data.values() for line in one["lines"]))
    with mpl.rc_context(_STYLE):
        figure, panels = _panels(len(data), min(len(data), 3), height=2.2)
        drawn = {}
        for axes, (title, one) in zip(panels, data.items(), strict=True):
            for line in one["lines"]:
                points = sorted((point["epsilon"], 100 * point["accuracy"]) for point in line["points"])
                style = _line(names.index(line["attack"]))
                (drawn[line["attack"]],) = axes.plot(*zip(*points, strict=True), **style)
            if one["radius"] is not None:
                axes.axvline(one["radius"], color="0.6", linewidth=0.8)
            axes.set(title=title, ylim=(-4, 104))
        figure.supxlabel("epsilon (L-inf)", fontsize="medium")
        figure.supylabel("accuracy, %", fontsize="medium")
        figure.legend(drawn.values(), drawn.keys(), loc="outside upper center", ncols=len(drawn))
        return _svg(figure, source)


def reliability(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws precision against recall; data: {kind: {title: [{"recall", "precision"}]}}, a panel a kind."""
    with mpl.rc_context(_STYLE):
        figure, panels = _panels(len(data), len(data), height=3.2)
        for axes, (kind, curves) in zip(panels, data.items(), strict=True):
            for place, (title, points) in enumerate(curves.items()):
                style = _line(place) | {"markevery": max(1, len(points) // 8)}
                recall = [100 * point["recall"] for point in points]
                axes.plot(recall, [100 * point["precision"] for point in points], label=title, **style)
            axes.axvline(80, color="0.6", linewidth=0.8)
            axes.set(title=kind, xlabel="recall, %", ylabel="precision, %", xlim=(0, 101))
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
        _one_y_axis(panels)
        return _svg(figure, source)


def proved_and_attacked(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws bars for each network; data: {title: {what: share or None}}."""
    names = list(dict.fromkeys(name for bars in data.values() for name in bars))
    with mpl.rc_context(_STYLE | {"axes.grid.axis": "y"}):
        figure, (axes,) = _panels(1, 1, height=3.2)
        width = 0.8 / len(names)
        for place, name in enumerate(names):
            fill, hatch = _BARS[place % len(_BARS)]
            at = [group + place * width for group in range(len(data))]
            heights = [100 * (bars.get(name) or 0) for bars in data.values()]
            bars = axes.bar(at, heights, width, label=name, color=fill, hatch=hatch, edgecolor="0")
            known = [bars_of.get(name) is not None for bars_of in data.values()]
            labels = [f"{h:.1f}" if is_known else "–" for h, is_known in zip(heights, known, strict=True)]  # noqa: RUF001
            axes.bar_label(bars, labels, fontsize=7.5, padding=1)
        middle = 0.4 - width / 2
        axes.set(ylim=(0, 108), ylabel="test images, %")
        axes.set_xticks([group + middle for group in range(len(data))], list(data))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(names))
        axes.set_axisbelow(True)
        return _svg(figure, source)


def learning(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws the loss on the left and accuracies on the right, a row for each group of runs.

    Args:
        data: {group: {run: [epochs of metrics.jsonl]}}; runs of one group are drawn alike.
        source: Kept in the file.
    """
    with mpl.rc_context(_STYLE):
        figure, panels = _panels(2 * len(data), 2, height=2.6)
        for row, (group, runs) in enumerate(data.items()):
            loss, accuracy = panels[2 * row : 2 * row + 2]
            for first, epochs in enumerate(runs.values()):
                loss.plot(*_series(epochs, "loss"), color="0", linewidth=0.9)
                for place, measure in enumerate(key for key in epochs[-1] if "accuracy" in key):
                    style = _line(place) | {"marker": "", "linewidth": 0.9}
                    label = measure.replace("_", " ") if first == 0 else None
                    epoch, share = _series(epochs, measure)
                    accuracy.plot(epoch, [100 * value for value in share], label=label, **style)
            _learning_titles(loss, accuracy, group)
        _one_y_axis(panels[::2])
        _one_y_axis(panels[1::2])
        return _svg(figure, source)


def learning_compared(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws loss and accuracy on validation images; data: {kind: {run: [epochs]}}, a line a run."""
    with mpl.rc_context(_STYLE):
        figure, panels = _panels(2 * len(data), 2, height=2.6)
        for row, (kind, runs) in enumerate(data.items()):
            loss, accuracy = panels[2 * row : 2 * row + 2]
            for place, (name, epochs) in enumerate(runs.items()):
                loss.plot(*_series(epochs, "loss"), label=name, **_line(place))
                epoch, share = _series(epochs, "validation_accuracy")
                accuracy.plot(epoch, [100 * value for value in share], label=name, **_line(place))
            _learning_titles(loss, accuracy, kind)
        _one_y_axis(panels[::2])
        _one_y_axis(panels[1::2])
        return _svg(figure, source)


def _learning_titles(loss: Axes, accuracy: Axes, name: str) -> None:
    loss.set(title=f"{name}: loss", xlabel="epoch", yscale="log")
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in "25" else "")
    accuracy.set(title=f"{name}: accuracy, %", xlabel="epoch")
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    accuracy.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2)


def _one_y_axis(panels: Sequence[Axes]) -> None:
    """Makes heights in all panels mean the same."""
    limits = [axes.get_ylim() for axes in panels]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    for axes in panels:
        axes.set_ylim(low, high)


def _series(epochs: Sequence[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    known = [(line["epoch"], line[key]) for line in epochs if line.get(key) is not None]
    return [epoch for epoch, _ in known], [value for _, value in known]


def _line(place: int) -> dict[str, Any]:
    style, marker, grey = _LINES[place % len(_LINES)]
    return {"linestyle": style, "marker": marker, "color": grey, "markerfacecolor": "1"}


def _panels(count: int, columns: int, height: float = _PANEL_HEIGHT) -> tuple[Figure, list[Axes]]:
    rows = -(-count // columns)
    figure = Figure(figsize=(_WIDTH, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def _svg(figure: Figure, source: str) -> bytes:
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", facecolor="white", metadata={**nothing, "Source": source})
    return buffer.getvalue()

"""The look of every progress bar: what runs, how far it is, its latest numbers, and the time left.

Bars go to standard error, so that standard output holds nothing but results.
"""

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

_BAR_WIDTH = 20  # leaves room for the numbers on a line of 80 characters


class _TimeColumn(ProgressColumn):
    """The time left, and at the end the time taken."""

    def render(self, task: Task) -> Text:
        seconds, word = (task.finished_time, "") if task.finished else (task.time_remaining, " left")
        return Text("" if seconds is None else f"{timedelta(seconds=int(seconds))}{word}")


def progress_bar(quiet: bool = False, transient: bool = False) -> Progress:
    """Returns a progress bar whose tasks are made with `add_task(..., numbers="")`.

    Args:
        quiet: Shows nothing.
        transient: Leaves nothing behind on the terminal.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(_BAR_WIDTH),
        TaskProgressColumn(),
        TextColumn("{task.fields[numbers]}"),
        _TimeColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=transient, disable=quiet)

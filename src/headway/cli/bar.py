"""The progress bar: one line that fills, and above it what the run's code says."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from headway.cli.printable import indented, one_line
from headway.cli.show import COLOURS
from headway.clock import SystemClock
from headway.durations import span
from headway.wire import times

LEVEL_STYLES: Final = {"debug": "dim", "info": "", "warning": "yellow", "error": "red"}
WIDE: Final = 100
"""From this many columns on there is room for speed and time left."""
MESSAGE_MAX: Final = 32
FINAL: Final = frozenset({"succeeded", "failed", "terminated"})


class Bar:
    """A screen with a bar."""

    def __init__(self, task: str) -> None:
        """Draw an empty one on stderr."""
        self._console = Console(stderr=True)
        self._final = False  # the last report of progress may come after the end
        wide = self._console.width >= WIDE
        self._room = MESSAGE_MAX if wide else MESSAGE_MAX // 2  # fixed, so that the bar does not jump
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            TextColumn("{task.fields[state]}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            *([TextColumn("{task.fields[speed]}", style="dim")] if wide else []),
            TextColumn("{task.fields[message]}", style="dim", table_column=Column(width=self._room, no_wrap=True)),
            console=self._console,
            expand=True,
        )
        self._bar = self._progress.add_task(
            escape(one_line(task)), total=None, state="", count="", speed="", message=""
        )
        self._progress.start()

    def state(self, state: str) -> None:
        """Show the state in its colour."""
        self._progress.update(self._bar, state=f"[{COLOURS.get(state, 'default')}]{escape(one_line(state))}[/]")
        self._final = state in FINAL
        if self._final:
            self._progress.update(self._bar, speed="", message="")
            self._progress.stop_task(self._bar)
            if self._progress.tasks[0].total is None:  # it never said how much there is: do not pulse for ever
                self._progress.update(self._bar, total=1, completed=1 if state == "succeeded" else 0)

    def progress(self, done: int, total: int | None, message: str, rate: float | None, eta: str | None) -> None:
        """Fill it."""
        speed = [f"{rate:,.1f}/s"] if rate else []
        if eta:
            left_s = (times.from_text(eta) - SystemClock().now_ms()) / 1000
            speed += [f"{span(left_s)} left"] if left_s > 0 else []
        self._progress.update(
            self._bar,
            completed=done,
            total=total,
            count=f"{done:,}/{total:,}" if total else f"{done:,}" if done else "",
            speed="" if self._final else ", ".join(speed),
            message="" if self._final else _end_of(message, self._room),
        )

    def log(self, level: str, message: str) -> None:
        """Print a line above it."""
        self._console.print(Text(indented(message), style=LEVEL_STYLES.get(level, "")))

    def close(self) -> None:
        """Leave it as it is."""
        self._progress.stop()


def _end_of(message: str, room: int) -> str:
    """Return the end of a long message, where file names differ."""
    shown = one_line(message)
    return escape(shown if len(shown) <= room else f"…{shown[1 - room :]}")

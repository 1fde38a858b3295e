"""Progress bar: one line that fills, below the log lines of the run."""

from __future__ import annotations

import sys
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from headway.cli.output import encodable
from headway.cli.printable import indented, one_line
from headway.cli.show import COLOURS, left

LEVEL_STYLES: Final = {"debug": "dim", "info": "", "warning": "yellow", "error": "red"}
WIDE: Final = 100
"""Minimum width, in columns, for the speed to be shown too."""
MESSAGE_MAX: Final = 32
ALL: Final = "100%"
FINAL: Final = frozenset({"succeeded", "failed", "terminated"})


class Bar:
    """Screen with a progress bar."""

    def __init__(self, task: str) -> None:
        """Draw an empty bar on stderr."""
        self._console = Console(stderr=True)
        self._ascii = not self._console.encoding.startswith("utf")
        self._final = False  # the last report of progress may come after the end
        wide = self._console.width >= WIDE
        self._room = MESSAGE_MAX if wide else MESSAGE_MAX // 2  # fixed, so that the bar does not jump
        self._wide = wide
        self._progress = Progress(
            SpinnerColumn("line" if self._ascii else "dots"),
            TextColumn("[bold]{task.description}"),
            TextColumn("{task.fields[state]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[percent]}", style="progress.percentage"),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[speed]}", style="dim"),
            TextColumn("{task.fields[message]}", style="dim", table_column=Column(width=self._room, no_wrap=True)),
            console=self._console,
            expand=True,
        )
        self._bar = self._progress.add_task(
            self._escaped(one_line(task)), total=None, state="", percent="", count="", speed="", message=""
        )
        self._progress.start()

    def state(self, state: str, remark: str) -> None:
        """Show the state in its colour, and the remark above."""
        if remark:
            self.log("warning", f"{state}: {remark}")
        self._final = state in FINAL
        if self._final:
            self._finish(state)
        shown = f"[{COLOURS.get(state, 'default')}]{self._escaped(one_line(state))}[/]"
        self._progress.update(self._bar, state=shown, refresh=True)

    def _finish(self, state: str) -> None:
        """Leave the bar full if the run succeeded, whatever its last progress, else where it was."""
        bar = self._progress.tasks[0]
        self._progress.stop_task(self._bar)
        self._progress.update(self._bar, speed="", message="")
        if state == "succeeded":
            percent = bar.fields["percent"]
            self._progress.update(self._bar, total=1, completed=1, percent=percent if percent == ALL else "")
        elif bar.total is None:  # it never said how much there is: do not pulse for ever
            self._progress.update(self._bar, total=1, completed=0)

    def progress(self, done: int, total: int | None, message: str, rate: float | None, eta: str | None) -> None:
        self._progress.update(self._bar, count=f"{done:,}/{total:,}" if total else f"{done:,}" if done else "")
        if self._final:
            return
        speed = [f"{rate:,.1f}/s" if rate and self._wide else "", left(eta)]
        self._progress.update(
            self._bar,
            completed=done,
            total=total,
            percent=f"{min(100 * done // total, 100)}%" if total else "",
            speed=", ".join(filter(None, speed)),
            message=self._end_of(message),
        )

    def log(self, level: str, message: str) -> None:
        """Print a line above the bar."""
        text = encodable(indented(message), sys.stderr)
        self._console.print(Text(text, style=LEVEL_STYLES.get(level, "")))

    def close(self) -> None:
        self._progress.stop()

    def _end_of(self, message: str) -> str:
        """Return the end of a long message, where file names differ."""
        shown, mark = encodable(one_line(message), sys.stderr), "..." if self._ascii else "…"
        if cell_len(shown) <= self._room:
            return escape(shown)
        while cell_len(shown) > self._room - len(mark):
            shown = shown[1:]
        return escape(f"{mark}{shown}")

    def _escaped(self, text: str) -> str:
        return escape(encodable(text, sys.stderr))

"""Source files of an app: which ones it consists of, and which of them have changed since they were loaded.

For development. Files are looked at several times a second: at the few that one app loads that costs a millisecond, and needs
no library and no notifications of the operating system, which network and container folders do not give.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from headway.clock import SystemClock

EVERY_S: Final = 0.3
FILES_MAX: Final = 5_000
"""Folders with more files than this are watched in part: further files only once they are loaded."""

_HEADWAY: Final = str(Path(__file__).parents[2])
_LIBRARIES: Final = (
    *{path for name in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))},
    _HEADWAY,
)

State = dict[str, tuple[int, int, int]]
"""Path → what tells that a file is another: time of change, size, inode."""


def is_library(path: str) -> bool:
    """Tell whether a file belongs to Python, an installed package or Headway, and not to the user's app."""
    return path.startswith((*_LIBRARIES, "<")) or "/site-packages/" in path or "/dist-packages/" in path


class Sources:
    """The files of one app: the modules that are loaded, those named in what its import raised, and what lies beside them."""

    def __init__(self, spec: str, since_ms: int, error: BaseException | None = None) -> None:
        """Look at the files; `error` is the reason why the app could not be loaded.

        `since_ms` is when loading began: a file of the app that was changed after that counts as changed.
        """
        where = spec.partition(":")[0]
        named = Path(where) if where.endswith(".py") or "/" in where else Path(f"{where.replace('.', '/')}.py")
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        files |= {str(Path.cwd() / named), *_named_in(error)}
        self._files = {path for path in files if path and path.endswith(".py") and not is_library(path)}
        self._folders = {os.path.dirname(path) for path in self._files}  # noqa: PTH120 - thousands of texts
        now_ms = SystemClock().now_ms()
        self._seen = {
            path: at
            for path, at in self._look().items()
            if path not in self._files or not since_ms < at[0] // 1_000_000 <= now_ms
        }

    def changed(self) -> list[str]:
        """Return the names of the files that are new, gone or other than at the last look."""
        before, self._seen = self._seen, self._look()
        return sorted({path for path in before.keys() | self._seen.keys() if before.get(path) != self._seen.get(path)})

    def wait(self, stopping: threading.Event) -> list[str]:
        """Return the changed files, once they do not change any more; none if `stopping` is set first."""
        found: set[str] = set()
        while not stopping.wait(EVERY_S):
            changed = self.changed()
            if found and not changed:
                return sorted(found)
            found.update(changed)
        return []

    def _look(self) -> State:
        paths = set(self._files)
        for folder in self._folders:
            try:
                with os.scandir(folder) as entries:
                    paths.update(entry.path for entry in entries if entry.name.endswith(".py"))
            except OSError:
                continue
            if len(paths) > FILES_MAX:
                break
        found: State = {}
        for path in paths:
            try:
                at = os.stat(path)  # noqa: PTH116 - as above
            except OSError:
                continue
            found[path] = at.st_mtime_ns, at.st_size, at.st_ino
        return found


def watch(sources: Sources, stopping: threading.Event, changed: Callable[[list[str]], None]) -> threading.Thread:
    """Start a thread that calls `changed` once, with the files that are other than when they were loaded."""

    def look() -> None:
        found = sources.wait(stopping)
        if found:
            changed(found)

    thread = threading.Thread(target=look, name="headway-sources", daemon=True)
    thread.start()
    return thread


def _named_in(error: BaseException | None) -> set[str]:
    """Return the files in the tracebacks of an error and its causes, and the file with a syntax error."""
    found: set[str] = set()
    while error is not None:
        if isinstance(error, SyntaxError) and error.filename:
            found.add(error.filename)
        frames: TracebackType | None = error.__traceback__
        while frames is not None:
            found.add(frames.tb_frame.f_code.co_filename)
            frames = frames.tb_next
        error = error.__cause__ or error.__context__
    return found

"""Changes of process-wide state that runs leave behind: named in the log, and undone where nothing may rely on them.

Runs in threads and on the loop share a process. Which of them made a change is not known if several were in progress, so
all of these are named, and it is undone once all of them have ended: one of them may have made it for itself, and will undo
it. What libraries set when they are first used (environment, import path, handlers) is named, and stays.
"""

from __future__ import annotations

import _locale  # as fast as the look after each run wants it; `locale` is a wrapper of it
import locale
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from headway.worker.context.capture import LastResortOutput, LogCapture
from headway.worker.context.report_buffer import Key
from headway.worker.processes.launch import working_folder

OURS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that end a worker."""
OTHERS: Final = (signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2)
NAMED_MAX: Final = 5
TOLD_MAX: Final = 1_000
_UMASK: Final = re.compile(rb"^Umask:\s*([0-7]+)", re.MULTILINE)


class Trait(msgspec.Struct, frozen=True):
    """One piece of process-wide state."""

    name: str
    read: Callable[[], Any]
    differs: Callable[[Any, Any], str]
    """Difference of the second value from the first, in words; never a value that may be secret."""
    restore: Callable[[Any], object] | None = None
    """Function that sets the state back; None leaves the change."""


class _Change:
    """A trait that differs from its expected value."""

    def __init__(self, value: Any, suspects: set[Key], tasks: frozenset[str]) -> None:
        self.value = value
        self.suspects = suspects
        """The runs that may have made it and are still in progress."""
        self.tasks = tasks


class GlobalState:
    """Comparison of process-wide state after runs: `ended` notes a run, `look_quickly` and `look` find its changes."""

    def __init__(self, say: Callable[[str], None], running: Callable[[], Mapping[Key, str]] = dict[Key, str]) -> None:
        """`say` gets a line for each change; `running` returns the runs in progress in this process, with their tasks."""
        self._say = say
        self._running = running
        self._quick: list[Trait] = []
        self._slow: list[Trait] = []
        self._expected: dict[str, Any] = {}
        self._changes: dict[str, _Change] = {}
        self._told: set[tuple[str, str]] = set()
        self._ended: set[str] = set()
        self._ended_quickly: set[str] = set()
        self._lock = threading.Lock()

    def begin(
        self, capture: LogCapture | None, on_main: Callable[[Callable[[], None]], object] = lambda work: work()
    ) -> None:
        """Take the current state as the expected one; `on_main` calls a function in the main thread."""
        self._quick = [
            Trait("the working folder", working_folder, lambda old, new: f"from {old} to {new or 'one that is gone'}", os.chdir),
            Trait("the default timeout of sockets", socket.getdefaulttimeout, _from_to, socket.setdefaulttimeout),
            Trait("the locale", partial(_locale.setlocale, locale.LC_ALL), _from_to, partial(locale.setlocale, locale.LC_ALL)),
        ]  # fmt: skip
        if capture is not None:
            restore = lambda _: capture.restore()  # noqa: E731
            self._quick.append(Trait("logging", capture.muted, lambda _, new: f"so that {new}", restore))
        self._slow = [
            Trait("the umask", _umask, lambda old, new: f"from {old:04o} to {new:04o}", os.umask),
            Trait("the environment", lambda: dict(os.environ), _changed_names),
            Trait("the import path", lambda: list(sys.path), lambda *_: "sys.path"),
            Trait("the root logger's handlers", _handlers, lambda *_: "of logging"),
            Trait("signal handlers", partial(_handlers_of, OTHERS), _changed_names),
        ]
        if threading.current_thread() is threading.main_thread():  # only it can set them
            restore_handlers = lambda handlers: on_main(partial(_handle, handlers))  # noqa: E731
            self._slow.append(
                Trait("signal handlers of the worker", partial(_handlers_of, OURS), _changed_names, restore_handlers)
            )
        self._expected = {trait.name: trait.read() for trait in (*self._quick, *self._slow)}

    def ended(self, task: str) -> None:
        """Note that a run in this process has ended."""
        self._ended.add(task)
        self._ended_quickly.add(task)

    def look_quickly(self) -> None:
        """Look at what other runs could stumble over at once; takes a few µs if nothing has changed."""
        tasks, self._ended_quickly = self._ended_quickly, set()
        for trait in self._quick:
            if trait.name in self._changes or trait.read() != self._expected[trait.name]:
                self._settle(trait, tasks)

    def look(self) -> None:
        """Look at everything, if a run has ended since this was last called or a change is not undone yet."""
        if not self._ended and not self._changes:
            return
        self.look_quickly()
        tasks, self._ended = self._ended, set()
        for trait in self._slow:
            if trait.name in self._changes or trait.read() != self._expected[trait.name]:
                self._settle(trait, tasks)

    def _settle(self, trait: Trait, tasks: set[str]) -> None:
        """Log a change, and undo it if no run is in progress that may have made it."""
        with self._lock:
            value, expected = trait.read(), self._expected[trait.name]
            if value == expected:
                self._changes.pop(trait.name, None)
                return
            running = self._running()
            change = self._changes.get(trait.name)
            if change is None or change.value != value:
                change = _Change(value, set(running), frozenset({*tasks, *running.values()}))
                self._changes[trait.name] = change
            change.suspects &= running.keys()
            self._tell(trait, change, trait.differs(expected, value), self._conclude(trait, change, expected))

    def _conclude(self, trait: Trait, change: _Change, expected: Any) -> str:
        """Undo a change, or leave it; return in words what was done."""
        if trait.restore is None:
            self._expected[trait.name] = change.value
            del self._changes[trait.name]
            return "it stays, and child processes start without it"
        if change.suspects:
            return "it is set back when they have ended"
        try:
            trait.restore(expected)
        except (OSError, ValueError, locale.Error) as error:
            return f"it cannot be set back: {error}"
        return "it is set back"

    def _tell(self, trait: Trait, change: _Change, how: str, done: str) -> None:
        names = sorted(change.tasks)
        who = ", ".join(map(repr, names[:NAMED_MAX])) + (
            f" and {len(names) - NAMED_MAX} others" if names[NAMED_MAX:] else ""
        )
        during = f"a run of {who}" if len(names) == 1 else f"runs of {who}"
        told = (trait.name, during + done)
        if told not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(told)
            self._say(f"{trait.name} changed during {during}, {how}: {done}")


def _from_to(old: Any, new: Any) -> str:
    return f"from {old} to {new}"


def _changed_names(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return ", ".join(names[:NAMED_MAX]) + (f" and {len(names) - NAMED_MAX} others" if names[NAMED_MAX:] else "")


def _umask() -> int | None:
    """Return the umask without setting it, which other threads would notice; None where the system does not say it."""
    try:
        found = _UMASK.search(Path("/proc/self/status").read_bytes())
    except OSError:
        return None
    return None if found is None else int(found[1], 8)


def _handlers() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if not isinstance(handler, LastResortOutput)]


def _handlers_of(numbers: tuple[signal.Signals, ...]) -> dict[str, Any]:
    return {number.name: signal.getsignal(number) for number in numbers}


def _handle(handlers: Mapping[str, Any]) -> None:
    for name, handler in handlers.items():
        if handler is not None and signal.getsignal(signal.Signals[name]) is not handler:
            signal.signal(signal.Signals[name], handler)

"""SIGHUP: an orderly end if the terminal was closed, else a reload."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final


def ignored() -> bool:
    """Tell whether SIGHUP was ignored when the process was started, as `nohup` does: it stays ignored."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def put_off() -> None:
    """Let a SIGHUP that comes before the program is ready for it end nothing."""
    if not ignored():
        signal.signal(signal.SIGHUP, lambda *_: None)


class Terminal:
    """The terminal that a program was started from, if there was one."""

    def __init__(self) -> None:
        """Look whether there is one."""
        self._was_there: Final = _is_there()

    def lost(self) -> bool:
        """Tell whether it was closed since."""
        return self._was_there and not _is_there()

    def told_by(self, end: Callable[[], None], reload: Callable[[], None]) -> Callable[..., None]:
        """Return a signal handler for SIGHUP that calls `end` if the terminal is gone, and else `reload`."""
        return lambda *_: end() if self.lost() else reload()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True

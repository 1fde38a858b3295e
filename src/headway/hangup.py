"""SIGHUP: an orderly end if the terminal was closed, else a reload."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final


def ignored() -> bool:
    """Return whether SIGHUP was ignored when the process started, as under `nohup`; it stays ignored then."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def put_off() -> None:
    """Ignore SIGHUP until the program is ready to handle it."""
    if not ignored():
        signal.signal(signal.SIGHUP, lambda *_: None)


class Terminal:
    """Terminal from which the program was started, if any."""

    def __init__(self) -> None:
        self._was_there: Final = _is_there()

    def lost(self) -> bool:
        """Return whether the terminal was closed since."""
        return self._was_there and not _is_there()

    def handler(self, end: Callable[[], None], reload: Callable[[], None]) -> Callable[..., None]:
        """Return a handler of SIGHUP that calls `end` if the terminal was closed, and else `reload`."""
        return lambda *_: end() if self.lost() else reload()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True

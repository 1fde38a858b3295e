"""Dying with one's parent: a process whose parent is killed with -9 must not live on as a second generation."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with(parent_pid: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `by` to this process when the thread that started it ends; exit if it has ended already."""
    prctl(_PR_SET_PDEATHSIG, int(by))
    if parent_pid and os.getppid() != parent_pid:
        os._exit(0)


def prctl(option: int, value: int) -> None:
    """Call Linux's prctl for this process; does nothing on other systems."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)

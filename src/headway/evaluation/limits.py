"""Limits of a child process: what it gives up when it starts, and the time of each piece of work."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

SOFT_S: Final = 0.5
"""Processor time after which work is interrupted, if it is in Python."""
HARD_S: Final = 1.0
"""Processor time after which the system ends the process."""
MEMORY_BYTES: Final = 512 * 1024 * 1024
RECURSION_MAX: Final = 500


class TooMuch(Exception):
    """A piece of work has reached a limit."""


def confine() -> None:
    """Give up what evaluating does not need: memory beyond a limit, and files and sockets that are not open yet."""
    os.nice(5)
    sys.setrecursionlimit(RECURSION_MAX)
    signal.signal(signal.SIGPROF, _interrupt)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)  # ends the process, whatever it is at
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked to stop, and ends us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


@contextmanager
def limited(*, soft: bool = True) -> Iterator[None]:
    """Have work interrupted by TooMuch after SOFT_S, and the process ended after HARD_S."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    # The timer of HARD_S counts no time in the kernel; this limit does, in whole seconds.
    resource.setrlimit(resource.RLIMIT_CPU, (spent + 3, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_VIRTUAL, HARD_S)
    if soft:
        signal.setitimer(signal.ITIMER_PROF, SOFT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _interrupt(number: int, frame: Any) -> None:
    del number, frame
    raise TooMuch(f"it took longer than {SOFT_S} s")

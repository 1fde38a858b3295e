"""Resource limits of an evaluating child process, and the processor time of each piece of its work."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

SOFT_S: Final = 0.5
"""Processor time, in seconds, after which Python code is interrupted with TooMuch."""
HARD_S: Final = 1.0
"""Processor time, in seconds, after which the kernel kills the process."""
MEMORY_BYTES: Final = 512 * 1024 * 1024
RECURSION_MAX: Final = 500


class TooMuch(Exception):
    """A piece of work has exceeded a limit."""


def confine() -> None:
    """Limit this process's memory for good, and forbid it to open files and sockets."""
    os.nice(5)
    sys.setrecursionlimit(RECURSION_MAX)
    signal.signal(signal.SIGPROF, _interrupt)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)  # kills the process, also within C code
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent stops us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


@contextmanager
def limited(*, soft: bool = True) -> Iterator[None]:
    """Interrupt the block with TooMuch after SOFT_S, if `soft`, and kill the process after HARD_S."""
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

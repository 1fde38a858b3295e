"""Reaper: as process 1, the program's parent, which waits for orphans and passes signals on.

Process 1 of a container inherits every process whose parent has ended, and has to wait for it, or it stays as a zombie.
The program itself cannot wait for any child: it would take exit codes that `subprocess` and asyncio wait for. So where it
would be process 1 it becomes the child of a process that does nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Final

from headway.worker.processes.environment import conceal

_PROCESS_1: Final = 1
_FAULTS: Final = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
"""Signals of errors in this process itself: they are not for the program."""


def leave_process_1() -> None:
    """Fork if this is process 1: the program goes on in the child, and this process ends with the program's exit code.

    To be called before threads are started. It does nothing in any other process, nor where there is no process 1 to be.
    """
    if os.getpid() != _PROCESS_1:
        return
    conceal()  # its environment has the same secrets as the program's
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, processes cannot be waited for
    signals = signal.valid_signals() - _FAULTS
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    program = os.fork()
    if program:
        os._exit(_reap(program, signals))
    _take_terminal()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _take_terminal() -> None:
    """Make this process the terminal's foreground group, so that Ctrl-C reaches it once: from the terminal only."""
    with contextlib.suppress(OSError):
        foreground = os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
        os.setpgid(0, 0)
        if foreground:
            os.tcsetpgrp(0, os.getpgrp())  # SIGTTOU, which a process in the background gets for it, is blocked


def _reap(program: int, signals: set[signal.Signals]) -> int:
    """Wait for every process that ends, until the program does; return its exit code as a shell has it."""
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(program, number)
            continue
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == program:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if not pid:
                break

"""Ends the servers of a folder and removes it when whoever started them is gone, be it by kill -9.

It is a process of its own, on the standard library alone, and is told by a line, or by the end of its input: a pipe that
the kernel closes whatever becomes of the process at its other end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

_IPC_RMID = 0
_EVERY_S = 0.005
_PROGRAMS = ("postgres", "pg_", "initdb", "python", "etcd")
"""How the programs are called that servers consist of: Patroni is Python. Who only looks into the folder is left alone."""


def processes(folder: Path) -> list[int]:
    """Return the processes of servers below the folder: each of them works in there, those of PostgreSQL in its data."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                here, program = (entry / "cwd").readlink(), (entry / "exe").readlink()
                if here.is_relative_to(folder) and program.name.startswith(_PROGRAMS):
                    found.append(int(entry.name))
    return sorted(found)


def crash(folder: Path) -> None:
    """Kill -9 every server below the folder with all its processes; return when none is left."""
    first = set()
    with contextlib.suppress(OSError):  # of a disk without power
        first = {pid for data in folder.rglob("postmaster.pid") if (pid := _postmaster(data)) is not None}
    while left := processes(folder):
        # A postmaster goes before its children, and Patroni before it: each answers the death of who is below by starting others.
        for pid in sorted(left, key=lambda pid: (_is_postgres(pid), pid not in first)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        threading.Event().wait(_EVERY_S)


def segments(folder: Path) -> list[int]:
    """Return the ids of the System V shared memory that guards the data below the folder."""
    lines = [locked.read_text().splitlines() for locked in folder.rglob("postmaster.pid")]
    return [int(line[6].split()[1]) for line in lines if len(line) > 6 and line[6].strip()]


def remove(folder: Path) -> None:
    """Crash what still runs below the folder, and remove it, and the shared memory that the crashed cannot."""
    crash(folder)
    for segment in segments(folder):
        ctypes.CDLL(None).shmctl(segment, _IPC_RMID, None)
    shutil.rmtree(folder)


def _is_postgres(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/exe").readlink().name.startswith("postgres")
    return True


def _postmaster(locked: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(locked.read_text().splitlines()[0])
    return None


if __name__ == "__main__":
    sys.stdin.buffer.readline()
    remove(Path(sys.argv[1]))

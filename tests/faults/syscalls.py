"""Runs a server under strace and reads what it did: which bytes were on disk before which answer was sent."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed (apt-get install strace)")

_LINE = re.compile(rb"^(\d+) +(\d+\.\d+) (.*)$")
_CALL = re.compile(rb"^(\w+)\(")
_RESUMED = re.compile(rb"^<\.\.\. (\w+) resumed>(.*)$")
_RUN_ID = re.compile(rb"01[0-9a-f]{6}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class Call(msgspec.Struct, frozen=True):
    """One system call."""

    name: str
    text: bytes
    began: int
    """Its place in the order of all lines: of its beginning …"""
    ended: int
    """… and of its end."""

    @property
    def run_ids(self) -> set[bytes]:
        """The run ids in what it wrote."""
        return set(_RUN_ID.findall(self.text))


def watching(out: Path) -> list[str]:
    """Return the prefix of a command that notes every write, sync and send."""
    calls = "trace=write,writev,pwrite64,pwritev,fdatasync,fsync,sendto,sendmsg"
    return [str(STRACE), "-f", "-y", "-ttt", "-s", "70000", "-e", calls, "-e", "signal=none", "-o", str(out)]


def failing(out: Path, call: str, when: int) -> list[str]:
    """Return the prefix of a command in which a sync fails with EIO from the n-th of a thread on."""
    return [
        str(STRACE), "-f", "-y", "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}+",
        "-e", "signal=none", "-o", str(out),
    ]  # fmt: skip


def lying(out: Path) -> list[str]:
    """Return the prefix of a command whose syncs say that they are done, and do nothing."""
    syncs = "fsync,fdatasync,sync_file_range,syncfs,msync"
    return [
        str(STRACE), "-f", "--seccomp-bpf", "-e", f"trace={syncs}", "-e", f"inject={syncs}:retval=0",
        "-e", "signal=none", "-o", str(out),
    ]  # fmt: skip


def slowed(pids: Iterable[int], out: Path, ms: int) -> contextlib.AbstractContextManager[None]:
    """Have each sync of these processes, and of each that they start, take so much longer, for a while."""
    return _meddled(pids, out, "fdatasync,fsync", f"delay_enter={ms * 1000}")


def delayed(out: Path) -> int:
    """Return how many calls took longer because of that."""
    return out.read_bytes().count(b"(DELAYED)")


def failing_at(pids: Iterable[int], out: Path, when: int) -> contextlib.AbstractContextManager[None]:
    """Have the n-th fdatasync of each of these processes, and of each that they start, fail with EIO, for a while."""
    return _meddled(pids, out, "fdatasync", f"error=EIO:when={when}")


@contextlib.contextmanager
def _meddled(pids: Iterable[int], out: Path, calls: str, how: str) -> Iterator[None]:
    tracer = subprocess.Popen(
        [str(STRACE), "-f", *(f"--attach={pid}" for pid in pids), "-e", f"trace={calls}",
         "-e", f"inject={calls}:{how}", "-e", "signal=none", "-o", str(out)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline().decode()  # "… attached"
        if "attached" not in said:
            pytest.skip(f"strace cannot attach to a process here: {said.strip()}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # it lets go of the process, which goes on as before
        tracer.communicate()


def calls(out: Path) -> Iterator[Call]:
    """Read a trace; calls that other threads interrupt are put together again."""
    begun: dict[tuple[bytes, bytes], tuple[int, bytes]] = {}
    for deployment, line in enumerate(out.read_bytes().splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        thread, _, text = match.groups()
        resumed = _RESUMED.match(text)
        if resumed is not None:
            began, head = begun.pop((thread, resumed[1]), (deployment, b""))
            yield Call(resumed[1].decode(), head + resumed[2], began, deployment)
            continue
        called = _CALL.match(text)
        if called is None:
            continue
        if text.endswith(b"<unfinished ...>"):
            begun[thread, called[1]] = (deployment, text)
        else:
            yield Call(called[1].decode(), text, deployment, deployment)

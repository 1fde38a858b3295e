"""The pool of child processes for evaluation, shared round robin among organisations.

Children are started when they are first needed. One organisation never holds all of them, and each request is short, so
that slow work of one organisation does not delay the others for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

import headway
from headway.errors import Overloaded
from headway.evaluation.messages import LENGTH_BYTES, Request
from headway.round_robin import RoundRobin

CHILDREN: Final = 3
WAITING_MAX: Final = 20
"""Most waiting requests of one organisation."""
ANSWER_S: Final = 10.0
"""Timeout of an answer, in seconds; a child's own limits of processor time end its work long before."""
ANSWER_MAX: Final = 32 * 1024 * 1024
RESIDENT_MAX: Final = 256 * 1024 * 1024
"""Resident memory, in bytes, above which a child is replaced, so that the next request has enough."""

_encode: Final = msgspec.json.Encoder().encode


class EvaluationDied(Exception):
    """The child process has died, or was killed at its timeout."""


class EvaluationPool:
    """The pool; lends one child to one request at a time."""

    def __init__(self, count: int = CHILDREN) -> None:
        self._idle = [EvaluationProcess() for _ in range(count)]
        self._turns: RoundRobin[_Waiting] = RoundRobin(count, shared=count, each=max(1, count - 1))

    @asynccontextmanager
    async def turn(self, organisation: int, most: float = WAITING_MAX) -> AsyncIterator[EvaluationProcess]:
        """Borrow a child for one request; raise Overloaded if `most` requests of the organisation wait already."""
        if self._turns.waiting(organisation) >= most:
            raise Overloaded("too many evaluations of this organisation are waiting")
        waiting = _Waiting(organisation)
        if not self._turns.begin(organisation, waiting):
            await self._begun(waiting)
        child = self._idle.pop()
        try:
            yield child
        finally:
            child.renew_if_large()
            self._idle.append(child)
            self._end(organisation)

    async def _begun(self, waiting: _Waiting) -> None:
        """Wait for a turn; when cancelled, give it up, or back if it has begun just before."""
        try:
            await waiting.future
        except asyncio.CancelledError:
            if waiting.future.cancelled():
                self._turns.forget(waiting.organisation, waiting)
            else:
                self._end(waiting.organisation)
            raise

    def _end(self, organisation: int) -> None:
        following = self._turns.end(organisation)
        while following is not None and following.future.cancelled():
            following = self._turns.end(following.organisation)
        if following is not None:
            following.future.set_result(None)

    async def close(self) -> None:
        """Kill the children; the pool cannot be used any more."""
        while self._idle:
            await self._idle.pop().close()


class _Waiting:
    def __init__(self, organisation: int) -> None:
        self.organisation = organisation
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class EvaluationProcess:
    """One child process, started when it is first needed and again after it has died."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._ended = False

    async def ask(self, request: Request) -> None:
        """Send a request; all its answers have to be read with `answer`."""
        if self._process is None or self._ended or self._process.returncode is not None:
            await self.close()
            self._process, self._ended = await _begin(), False
        assert self._process.stdin is not None
        text = _encode(request)
        # Without `drain`: the child may block on its answers until we read them, and would not read on.
        with contextlib.suppress(OSError):
            self._process.stdin.write(len(text).to_bytes(LENGTH_BYTES) + text)

    async def answer(self) -> bytes:
        """Return the next answer; raise EvaluationDied if there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(ANSWER_S):
                length = int.from_bytes(await self._process.stdout.readexactly(LENGTH_BYTES))
                return await self._process.stdout.readexactly(min(length, ANSWER_MAX))
        except BaseException as error:  # also when cancelled: its late answers must not reach the next request
            self._end()
            if isinstance(error, TimeoutError | OSError | asyncio.IncompleteReadError):
                raise EvaluationDied from None
            raise

    @property
    def pid(self) -> int | None:
        """The process id, if it runs."""
        return None if self._process is None or self._ended else self._process.pid

    def renew_if_large(self) -> None:
        """Kill the process if it holds much memory; it is started again when it is needed."""
        with contextlib.suppress(OSError, ValueError):  # without /proc only the child's own limit applies
            if self.pid is not None and _resident(self.pid) > RESIDENT_MAX:
                self._end()

    def _end(self) -> None:
        self._ended = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Kill the process, and wait until it is gone."""
        self._end()
        if self._process is not None:
            await self._process.communicate()
            self._process = None


def _resident(pid: int) -> int:
    """Return how many bytes of memory a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _begin() -> Process:
    """Start a child process with a minimal environment."""
    source = str(Path(headway.__file__).parent.parent)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "headway.evaluation.program",
        stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=os.sep,
        env={"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}, start_new_session=True,
    )  # fmt: skip

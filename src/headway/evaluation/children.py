"""The pool of child processes that evaluate for the server: organisations have their turns round robin.

Children are started when they are first needed. No organisation holds all of them: one is always left for the others, and a
turn is short, so that nobody waits long for an organisation whose work is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

import headway
from headway.errors import Overloaded
from headway.evaluation.messages import LENGTH_BYTES, Request

CHILDREN: Final = 3
WAITING_MAX: Final = 20
"""Turns that requests of an organisation may wait for at once."""
ANSWER_S: Final = 10.0
"""How long an answer may take by the clock on the wall; a child that is at work is ended long before, by its own limits."""
ANSWER_MAX: Final = 32 * 1024 * 1024
RESIDENT_MAX: Final = 256 * 1024 * 1024
"""Memory in use with which a child is replaced, so that what one organisation has left there harms no other."""

_encode: Final = msgspec.json.Encoder().encode


class ChildDied(Exception):
    """The child is gone, or had to be ended."""


class Children:
    """Hands out children, fairly."""

    def __init__(self, count: int = CHILDREN) -> None:
        self._idle = [Child() for _ in range(count)]
        self._count = count
        self._held: Counter[int] = Counter()
        """How many children each organisation holds."""
        self._waiting: dict[int, deque[asyncio.Future[Child]]] = {}
        """Who waits, by organisation; in the order in which these have their turns."""

    @asynccontextmanager
    async def turn(self, organisation: int, most: float = WAITING_MAX) -> AsyncIterator[Child]:
        """Have a child for one request; raise Overloaded where so many of the organisation wait already."""
        child = await self._take(organisation, most)
        try:
            yield child
        finally:
            child.renew_if_large()
            self._give_back(child, organisation)

    async def _take(self, organisation: int, most: float) -> Child:
        queue = self._waiting.setdefault(organisation, deque())
        if len(queue) >= most:
            raise Overloaded("too much of this organisation waits to be evaluated")
        turn: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came at the moment at which nobody wanted it any more
                self._give_back(turn.result(), organisation)
            raise

    def _give_back(self, child: Child, organisation: int) -> None:
        self._held[organisation] -= 1
        if not self._held[organisation]:
            del self._held[organisation]
        self._idle.append(child)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give idle children to those who wait."""
        while self._idle and (organisation := self._next()) is not None:
            queue = self._waiting.pop(organisation)
            self._held[organisation] += 1
            queue.popleft().set_result(self._idle.pop())
            if queue:
                self._waiting[organisation] = queue  # behind all others

    def _next(self) -> int | None:
        """Return the first organisation that waits and may hold one more."""
        most = max(1, self._count - 1)
        for organisation, queue in list(self._waiting.items()):
            while queue and queue[0].done():  # cancelled while it waited
                queue.popleft()
            if not queue:
                del self._waiting[organisation]
            elif self._held[organisation] < most:
                return organisation
        return None

    async def close(self) -> None:
        """End the children; nobody may use them any more."""
        while self._idle:
            await self._idle.pop().close()


class Child:
    """One child process, started when it is first needed and again after it has died."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._ended = False

    async def ask(self, request: Request) -> None:
        """Send a request; its answers have to be taken, all of them."""
        if self._process is None or self._ended or self._process.returncode is not None:
            await self.close()
            self._process, self._ended = await _begin(), False
        assert self._process.stdin is not None
        text = _encode(request)
        # Not waited for: the child answers while it reads on, and who only writes would never take the answers.
        with contextlib.suppress(OSError):
            self._process.stdin.write(len(text).to_bytes(LENGTH_BYTES) + text)

    async def answer(self) -> bytes:
        """Return the next answer; raise ChildDied if there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(ANSWER_S):
                length = int.from_bytes(await self._process.stdout.readexactly(LENGTH_BYTES))
                return await self._process.stdout.readexactly(min(length, ANSWER_MAX))
        except BaseException as error:  # cancelled as well: the answers that are to come are nobody's
            self._end()
            if isinstance(error, TimeoutError | OSError | asyncio.IncompleteReadError):
                raise ChildDied from None
            raise

    @property
    def pid(self) -> int | None:
        """The number of its process, if there is one."""
        return None if self._process is None or self._ended else self._process.pid

    def renew_if_large(self) -> None:
        """End the process if it has kept much memory; it is started again when it is needed."""
        with contextlib.suppress(OSError, ValueError):  # where there is no /proc its own limit has to do
            if self.pid is not None and _resident(self.pid) > RESIDENT_MAX:
                self._end()

    def _end(self) -> None:
        self._ended = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Kill it, and wait until it is gone."""
        self._end()
        if self._process is not None:
            await self._process.communicate()
            self._process = None


def _resident(pid: int) -> int:
    """Return how many bytes of memory a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _begin() -> Process:
    """Start a child with nothing of our surroundings but where to find its program."""
    source = str(Path(headway.__file__).parent.parent)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "headway.evaluation.program",
        stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=os.sep,
        env={"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}, start_new_session=True,
    )  # fmt: skip

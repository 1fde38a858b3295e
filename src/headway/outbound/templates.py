"""Templates of users, rendered in child processes that are kept: what a template does there hurts only its own row."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

import headway
from headway.outbound.failure import SendFailed
from headway.outbound.rendering import LENGTH_BYTES, Looked, Rendered, Request

SOURCE_MAX: Final = 32 * 1024
CHILDREN: Final = 2
ROWS_AT_ONCE: Final = 50
"""Rows that are rendered before somebody else has a turn."""
ROW_WAIT_S: Final = 10.0
"""How long an answer may take by the clock on the wall; a child that is at work is ended long before, by its own limits."""
ANSWER_MAX: Final = 32 * 1024 * 1024

_encode: Final = msgspec.json.Encoder().encode
_rendered: Final = msgspec.json.Decoder(Rendered).decode
_looked: Final = msgspec.json.Decoder(Looked).decode


class ChildDied(Exception):
    """The child is gone, or had to be ended."""


class Templates:
    """Renders templates."""

    def __init__(self, children: int = CHILDREN) -> None:
        self._free: asyncio.Queue[_Child] = asyncio.Queue()
        for _ in range(children):
            self._free.put_nowait(_Child())
        self._children = children

    async def render(
        self, templates: Sequence[tuple[str, bool]], rows: Sequence[dict[str, Any]]
    ) -> list[list[str] | SendFailed]:
        """Return for each row the texts of all templates, (source, whether it is HTML), or why there are none."""
        done: list[list[str] | SendFailed] = []
        while len(done) < len(rows):
            child = await self._free.get()
            try:
                done += await _some(child, list(templates), rows[len(done) : len(done) + ROWS_AT_ONCE])
            finally:
                self._free.put_nowait(child)
        return done

    async def look(self, source: str) -> Looked:
        """Return what a template asks for, or why it is none."""
        if len(source) > SOURCE_MAX:
            return Looked(error=f"a template has {SOURCE_MAX} characters at most")
        child = await self._free.get()
        try:
            await child.ask(Request([(source, False)], []))
            return _looked(await child.answer())
        except ChildDied:
            return Looked(error="the template is too much to be read")
        finally:
            self._free.put_nowait(child)

    async def close(self) -> None:
        """End the children."""
        for _ in range(self._children):
            await (await self._free.get()).close()


async def _some(
    child: _Child, templates: list[tuple[str, bool]], rows: Sequence[dict[str, Any]]
) -> list[list[str] | SendFailed]:
    """Render the rows with one child; the row at which it dies has failed, and the others are rendered by the next."""
    done: list[list[str] | SendFailed] = []
    while len(done) < len(rows):
        try:
            await child.ask(Request(templates, list(rows[len(done) :])))
            while len(done) < len(rows):
                done += [_outcome(_rendered(await child.answer()))]
        except ChildDied:
            done.append(
                SendFailed("template", "the template was too much to be rendered", retryable=False, unreachable=True)
            )
    return done


def _outcome(rendered: Rendered) -> list[str] | SendFailed:
    if rendered.texts is not None:
        return rendered.texts
    return SendFailed("template", f"the template failed: {rendered.error}", retryable=False, unreachable=rendered.slow)


class _Child:
    """One child process, begun when it is first needed and again after it has died."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._ended = False

    async def ask(self, request: Request) -> None:
        """Send a request; as many answers have to be taken as it has rows."""
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
            async with asyncio.timeout(ROW_WAIT_S):
                length = int.from_bytes(await self._process.stdout.readexactly(LENGTH_BYTES))
                return await self._process.stdout.readexactly(min(length, ANSWER_MAX))
        except BaseException as error:  # cancelled as well: the answers that are to come are nobody's
            self._end()
            if isinstance(error, TimeoutError | OSError | asyncio.IncompleteReadError):
                raise ChildDied from None
            raise

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


async def _begin() -> Process:
    """Start a child with nothing of our surroundings but where to find its program."""
    source = str(Path(headway.__file__).parent.parent)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "headway.outbound.render",
        stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=os.sep,
        env={"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}, start_new_session=True,
    )  # fmt: skip

"""Keeps a number of worker processes alive: starts, watches, restarts with back-off, drains, kills.

It runs on its caller's event loop (`headway serve`, `headway worker --processes N`) and imports nothing of the
worker itself, so it costs a server next to nothing. The workers die with the process it lives in, even if that is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from headway.clock import Clock, SystemClock
from headway.worker.processes.environment import handed_on
from headway.worker.processes.exits import DRAINED_CODE, NOT_LOADED_CODE, RELOAD_CODE, RESTART_CODE, UNUSABLE_CODE
from headway.worker.processes.launch import command, import_path, working_folder
from headway.worker.processes.stdio import READ_BYTES, Repetition, Throttle

ArgvFactory = Callable[[int], Sequence[str]]
Say = Callable[[str], None]
Write = Callable[[bytes], None]
Shape = Callable[[int, bytes], bytes]

FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
HEALTHY_S: Final = 60.0
"""A worker that lived this long starts again with a clean record."""
NOT_LOADED_BACKOFF_S: Final = 2.0
HURRY_S: Final = 2.0
"""Time in which processes that are to end at once have to hand back their runs."""
LINE_MAX: Final = 8_192
"""Longer lines are passed on in pieces."""


def worker_argv(url: str, spec: str, *options: str) -> list[str]:
    """Return the command line of a worker that dies with this process, and reads its key from standard input."""
    given = (url, spec, "--parent", str(os.getpid()), "--key-stdin", *options)
    return command("headway.worker.__main__", import_path(), *given)


@contextlib.contextmanager
def _holding(content: bytes) -> Iterator[int]:
    """Yield the read end of a pipe that contains a short text, and then ends."""
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


@dataclass
class WorkerSlot:
    """One of the processes, over all its lives."""

    number: int
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    failures: int = 0
    """Lives in a row that ended soon."""
    renewed: bool = False
    """True while the process drains to be started again with the present code."""
    output: Repetition = field(default_factory=Repetition, repr=False)
    keeper: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """The process id, while it lives."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None


class Supervisor:
    """`start`, `stop`; in between the processes are kept alive."""

    def __init__(
        self,
        processes: int,
        argv: ArgvFactory,
        *,
        say: Say,
        write: Write,
        retry_not_loaded: bool = True,
        clock: Clock | None = None,
        key: str = "",
        shape: Shape | None = None,
    ) -> None:
        """`argv(number)` is a command line; `say` gets notices, `write` the processes' output with a prefix to each line.

        `shape(number, line)` returns what is written in place of the line with its prefix.

        `key` is what each process finds on its standard input: neither its arguments nor its environment shows it.
        """
        self._key = key.encode()
        self._folder = working_folder() or None
        """Path of the working folder, so that it may be deleted and made again, as deployments do."""
        self.slots = [WorkerSlot(number) for number in range(1, processes + 1)]
        self.given_up: int = 0
        """Number of processes that are not started again, since their settings or their app cannot be used."""
        self._argv = argv
        self._say = say
        self._write = write
        self._shape = shape
        self._retry_not_loaded = retry_not_loaded
        self._clock = clock or SystemClock()
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Start all; returns when they have been started, not when they are ready."""
        for slot in self.slots:
            await self._spawn(slot)
            slot.keeper = asyncio.create_task(self._keep(slot), name=f"supervise-{slot.number}")

    async def wait(self) -> None:
        """Return when no process is kept alive any more."""
        await asyncio.gather(*(slot.keeper for slot in self.slots if slot.keeper is not None))

    def renew(self) -> None:
        """Have all drain, and start each again as soon as it has ended: it loads the app as it is then."""
        for slot in self.slots:
            if slot.pid is not None and not slot.renewed:
                slot.renewed = True
                self._retry_not_loaded = True  # the app could be loaded once: it is waited for until it can be again
                self._send(slot, signal.SIGTERM)

    def hurry(self) -> None:
        """Have draining processes hand back their runs and end at once; kill the others after HURRY_S."""
        self._stopping.set()
        self.signal(signal.SIGINT)
        asyncio.get_running_loop().call_later(HURRY_S, self.signal, signal.SIGKILL)

    async def stop(self, grace_s: float) -> None:
        """Have all processes drain, at once when called again; kill the remaining ones after the grace."""
        again = self._stopping.is_set()
        self._stopping.set()
        self.signal(signal.SIGINT if again else signal.SIGTERM)
        keepers = [slot.keeper for slot in self.slots if slot.keeper is not None]
        if keepers:
            await asyncio.wait(keepers, timeout=grace_s)
        self.signal(signal.SIGKILL)
        if keepers:
            await asyncio.wait(keepers, timeout=5.0)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all."""
        for slot in self.slots:
            self._send(slot, number)

    def _send(self, slot: WorkerSlot, number: int) -> None:
        if slot.pid is not None and slot.process is not None:
            with contextlib.suppress(ProcessLookupError):
                slot.process.send_signal(number)

    async def _spawn(self, slot: WorkerSlot) -> None:
        slot.starts += 1
        with _holding(self._key) as stdin:
            slot.process = await asyncio.create_subprocess_exec(
                *self._argv(slot.number),
                stdin=stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._folder,
                env=handed_on(),
                start_new_session=True,  # so that Ctrl-C reaches only this process, which drains its workers
            )
        if self._stopping.is_set():  # the order to drain came while this one was being started
            with contextlib.suppress(ProcessLookupError):
                slot.process.terminate()

    async def _keep(self, slot: WorkerSlot) -> None:
        while True:
            assert slot.process is not None, "spawned before it is kept"
            born_ms = self._clock.monotonic_ms()
            code = await self._forward(slot)
            if self._stopping.is_set():
                return
            if code == DRAINED_CODE:
                self._say(f"worker {slot.number} was drained by its server; it is not started again")
                return
            lived_s = (self._clock.monotonic_ms() - born_ms) / 1000
            delay_s = 0.0 if self._renewal(slot, code) else self._after(slot, code, lived_s)
            if delay_s is None:
                self.given_up += 1
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
                return
            try:
                await self._spawn(slot)
            except OSError as error:
                self._say(f"worker {slot.number} cannot be started: {error}")

    def _renewal(self, slot: WorkerSlot, code: int) -> bool:
        """Tell whether the process has ended to be started again with other code, which is no failure."""
        renewed, slot.renewed = slot.renewed, False
        if renewed:
            self._say(f"worker {slot.number} has drained and starts again")
        if renewed or code == RELOAD_CODE:
            slot.failures, slot.output = 0, Repetition()
        return renewed or code == RELOAD_CODE

    def _after(self, slot: WorkerSlot, code: int, lived_s: float) -> float | None:
        """Return how long to wait before the next life; None for no more."""
        delay_s = decide_delay(code, lived_s, slot.failures)
        slot.failures = 0 if lived_s >= HEALTHY_S or code == RESTART_CODE else slot.failures + 1
        if code == NOT_LOADED_CODE:
            if slot.output.shown:
                todo = (
                    "; it is tried again every few seconds: correct it, or stop with Ctrl-C and name another MODULE:APP"
                )
                again = todo if self._retry_not_loaded else ": correct it, or name another MODULE:APP"
                self._say(f"worker {slot.number} cannot load the app (see above){again}")
            return delay_s if self._retry_not_loaded else None
        if code == UNUSABLE_CODE:
            self._say(f"worker {slot.number} cannot work with its settings (see above); it is not started again")
            return None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._say(f"worker {slot.number} {how}; it starts again in {delay_s:g} s")
        return delay_s

    async def _forward(self, slot: WorkerSlot) -> int:
        """Pass its output on, line by line with a prefix, until it closes it; return the exit code."""
        assert slot.process is not None, "spawned before it is kept"
        assert slot.process.stdout is not None, "it is piped"
        shaped = None if self._shape is None else partial(self._shape, slot.number)
        throttle = Throttle(self._write, self._clock, shape=shaped)
        prefix, rest = f"[worker {slot.number}] ".encode(), b""
        dress = shaped or (lambda line: prefix + line + b"\n")
        slot.output.begin()
        ended = asyncio.create_task(slot.process.wait())
        try:
            while chunk := await self._read(slot.process.stdout, ended):
                *lines, rest = (rest + slot.output.feed(chunk)).split(b"\n")
                if len(rest) > LINE_MAX:
                    lines, rest = [*lines, rest], b""
                if lines:
                    throttle.feed(b"".join(map(dress, lines)))
            code = await ended
        finally:
            ended.cancel()
        rest += slot.output.end(failed=code == NOT_LOADED_CODE)
        if rest:
            throttle.feed(b"".join(map(dress, rest.removesuffix(b"\n").split(b"\n"))))
        throttle.finish()
        return code

    async def _read(self, stream: asyncio.StreamReader, ended: asyncio.Task[int]) -> bytes:
        """Return the next piece; nothing at its end, also if something that the process started keeps its output open."""
        reading = asyncio.create_task(stream.read(READ_BYTES))
        await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(reading, 0.2)
            return b""
        return reading.result()


def decide_delay(code: int, lived_s: float, failures: int) -> float:
    """Return how long to wait before a process is started again: at once the first time, then ever longer."""
    if code == RESTART_CODE or lived_s >= HEALTHY_S:
        return 0.0
    if failures == 0:
        return NOT_LOADED_BACKOFF_S if code == NOT_LOADED_CODE else 0.0
    delay_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 10))
    return max(delay_s, NOT_LOADED_BACKOFF_S) if code == NOT_LOADED_CODE else delay_s

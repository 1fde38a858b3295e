"""The driver: a child of the worker, and the only process of ours that joins the Ray cluster.

It hands leases to Ray, mail to and from the office, and says how tasks end. A driver of Ray's is ended by Ray when the
cluster fails, so it is a process of its own; Ray in turn ends all that a driver has started when that is gone. So it never
tidies up: whatever cannot go on here ends the process, and the worker starts another.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
import threading
from typing import Any, Final, NoReturn

import msgspec

from headway.worker.frames import Pipe
from headway.worker.orphan import die_with
from headway.worker.outbox import Key
from headway.worker.ray.guest import execute
from headway.worker.ray.letters import (
    Began,
    Ended,
    Joined,
    Kill,
    Mail,
    Post,
    Recall,
    Submit,
    ToDriver,
    Waits,
)  # fmt: skip
from headway.worker.ray.office import Item, Office
from headway.worker.ray.options import Settings
from headway.worker.ray.resources import as_options, why_it_waits

OFFICE_S: Final = 600.0
"""How long the office may take to open; a runtime environment may have to be installed for it."""
WAITS_S: Final = 5.0
"""Who has not begun after this long is told what it waits for."""
CALLS_MORE: Final = 16
OBITUARY_MAX: Final = 4_000
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_decode: Final = msgspec.json.Decoder(ToDriver).decode


class _Stay:
    """One lease on Ray."""

    def __init__(self) -> None:
        self.ref: Any = None
        self.opened = asyncio.Event()
        self.began = asyncio.Event()
        self.died = ""


class Driver:
    """Carries letters between the worker and the office."""

    def __init__(self, ray: Any, pipe: Pipe, settings: Settings) -> None:
        """Ray is connected; nothing has been started on it."""
        self._ray = ray
        self._pipe = pipe
        self._settings = settings
        self._stays: dict[Key, _Stay] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        strategies = ray.util.scheduling_strategies
        here = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._office = (
            ray.remote(Office)
            .options(
                num_cpus=0, max_restarts=0, scheduling_strategy=here,
                # Of each run one call waits for mail, and another may bring some.
                max_concurrency=2 * settings.capacity + CALLS_MORE,
            )
            .remote()
        )  # fmt: skip
        self._execute = ray.remote(max_retries=0)(execute)

    async def run(self) -> None:
        """Carry until either end is gone."""
        await asyncio.wait_for(self._office.close.remote(("", 0)), OFFICE_S)  # changes nothing, but is answered
        self._pipe.send(Joined(nodes=len(self._nodes())))
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        while True:
            items: list[Item] = await self._office.collect.remote()
            for (run_id, epoch), kind, text in items:
                stay = self._stays[run_id, epoch]
                if kind == "mail":
                    self._pipe.send(Mail(run_id, epoch, msgspec.Raw(text)))
                elif kind == "began":
                    stay.began.set()
                    self._pipe.send(Began(run_id, epoch, text.decode()))
                else:
                    del self._stays[run_id, epoch]
                    self._pipe.send(Ended(run_id, epoch, stay.died))

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while (frame := self._pipe.receive()) is not None:
            loop.call_soon_threadsafe(self._heed, _decode(frame))
        os._exit(0)  # the worker has gone

    def _heed(self, letter: ToDriver) -> None:
        if isinstance(letter, Submit):
            self._stays[letter.key] = _Stay()
        stay = self._stays.get(letter.key)
        if stay is not None:  # it has not ended in this moment
            task = asyncio.create_task(self._do(letter, stay))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _give_up(task.exception())

    async def _do(self, letter: ToDriver, stay: _Stay) -> None:
        if isinstance(letter, Submit):
            await self._carry(letter, stay)
            return
        await stay.opened.wait()
        match letter:
            case Post():
                await self._office.tell.remote(letter.key, bytes(letter.frame))
            case Recall():
                if await self._office.withdraw.remote(letter.key):
                    self._ray.cancel(stay.ref, force=True)
            case Kill():
                self._ray.cancel(stay.ref, force=True)

    async def _carry(self, letter: Submit, stay: _Stay) -> None:
        """Have Ray execute it, and say when and how it has ended."""
        key = letter.key
        await self._office.open.remote(key)
        options = {**as_options(letter.resources), "name": letter.task, "max_retries": 0}
        stay.ref = self._execute.options(**options).remote(self._office, self._settings.spec, bytes(letter.lease))
        stay.opened.set()
        notice = asyncio.create_task(self._notice(letter, stay))
        try:
            await stay.ref
        except self._ray.exceptions.RayError as error:
            stay.died = obituary(error)
        notice.cancel()
        await self._office.close.remote(key)

    async def _notice(self, letter: Submit, stay: _Stay) -> None:
        """Say what it waits for, if it has to."""
        try:
            await asyncio.wait_for(stay.began.wait(), WAITS_S)
        except TimeoutError:
            message = why_it_waits(letter.resources, self._nodes(), self._ray.available_resources())
            self._pipe.send(Waits(*letter.key, message))

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


def obituary(error: BaseException) -> str:
    """Return what Ray says of a task that has not returned."""
    text = _COLOUR.sub("", str(error)).strip()
    return f"{type(error).__name__}: {text[:OBITUARY_MAX]}"


def main() -> None:
    """Run the driver."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    descriptor, parent = int(sys.argv[2]), int(sys.argv[3])
    die_with(parent)
    os.set_inheritable(descriptor, False)
    pipe = Pipe(socket.socket(fileno=descriptor))
    try:
        import ray.util.scheduling_strategies  # noqa: PLC0415

        import ray  # noqa: PLC0415 - said to the worker if it fails

        ray.init(
            settings.address, namespace="headway", runtime_env=msgspec.json.decode(settings.runtime_env),
            logging_level=logging.WARNING,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker says it and tries again
        pipe.send(Joined(f"{type(error).__name__}: {_COLOUR.sub('', str(error))[:OBITUARY_MAX]}"))
        return
    try:
        asyncio.run(Driver(ray, pipe, settings).run())
    except BaseException as error:  # noqa: BLE001 - as above
        _give_up(error)


def _give_up(error: BaseException | None) -> NoReturn:
    sys.stderr.write(f"headway: the Ray driver cannot go on: {type(error).__name__}: {error}\n")
    sys.stderr.flush()
    os._exit(1)

"""The driver: a child of the worker, and the only process of ours that joins the Ray cluster.

It hands leases to Ray, passes frames to and from the mailbox, and reports how tasks end. A driver of Ray's is ended by Ray when the
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

from headway.worker.context.report_buffer import Key
from headway.worker.declaration.ray_resources import as_options, placement_message
from headway.worker.executors.frames import Pipe
from headway.worker.executors.ray.mailbox import Item, Mailbox
from headway.worker.executors.ray.messages import (
    FrameFromTask,
    FrameToTask,
    JoinResult,
    KillTask,
    PlacementPending,
    SubmitTask,
    TaskEnd,
    TaskStart,
    ToDriver,
    Withdraw,
)  # fmt: skip
from headway.worker.executors.ray.options import Settings
from headway.worker.executors.ray.remote_task import execute
from headway.worker.processes.orphan import die_with

MAILBOX_OPEN_S: Final = 600.0
"""Longest time to create the mailbox; Ray may have to install a runtime environment first."""
PLACEMENT_NOTICE_S: Final = 5.0
"""A run that Ray has not placed after this long gets a log line that says why."""
CALLS_MORE: Final = 16
EXIT_REASON_MAX: Final = 4_000
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_decode: Final = msgspec.json.Decoder(ToDriver).decode


class _RemoteRun:
    """One lease on Ray."""

    def __init__(self) -> None:
        self.ref: Any = None
        self.opened = asyncio.Event()
        self.began = asyncio.Event()
        self.failure = ""


class Driver:
    """Connection between the worker's socket and the mailbox."""

    def __init__(self, ray: Any, pipe: Pipe, settings: Settings) -> None:
        """Ray is connected; nothing has been started on it."""
        self._ray = ray
        self._pipe = pipe
        self._settings = settings
        self._runs: dict[Key, _RemoteRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        strategies = ray.util.scheduling_strategies
        here = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = (
            ray.remote(Mailbox)
            .options(
                num_cpus=0, max_restarts=0, scheduling_strategy=here,
                # Each run has one waiting `fetch`, and may call `send` meanwhile.
                max_concurrency=2 * settings.capacity + CALLS_MORE,
            )
            .remote()
        )  # fmt: skip
        self._execute = ray.remote(max_retries=0)(execute)

    async def run(self) -> None:
        """Pass messages on until either end is gone."""
        await asyncio.wait_for(self._mailbox.close.remote(("", 0)), MAILBOX_OPEN_S)  # changes nothing, but is answered
        self._pipe.send(JoinResult(nodes=len(self._nodes())))
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        while True:
            items: list[Item] = await self._mailbox.collect.remote()
            for (run_id, epoch), kind, text in items:
                run = self._runs[run_id, epoch]
                if kind == "mail":
                    self._pipe.send(FrameFromTask(run_id, epoch, msgspec.Raw(text)))
                elif kind == "began":
                    run.began.set()
                    self._pipe.send(TaskStart(run_id, epoch, text.decode()))
                else:
                    del self._runs[run_id, epoch]
                    self._pipe.send(TaskEnd(run_id, epoch, run.failure))

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while (frame := self._pipe.receive()) is not None:
            loop.call_soon_threadsafe(self._handle, _decode(frame))
        os._exit(0)  # the worker has gone

    def _handle(self, message: ToDriver) -> None:
        if isinstance(message, SubmitTask):
            self._runs[message.key] = _RemoteRun()
        run = self._runs.get(message.key)
        if run is not None:  # it has not ended in this moment
            task = asyncio.create_task(self._do(message, run))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _give_up(task.exception())

    async def _do(self, message: ToDriver, run: _RemoteRun) -> None:
        if isinstance(message, SubmitTask):
            await self._execute_lease(message, run)
            return
        await run.opened.wait()
        match message:
            case FrameToTask():
                await self._mailbox.deliver.remote(message.key, bytes(message.frame))
            case Withdraw():
                if await self._mailbox.withdraw.remote(message.key):
                    self._ray.cancel(run.ref, force=True)
            case KillTask():
                self._ray.cancel(run.ref, force=True)

    async def _execute_lease(self, message: SubmitTask, run: _RemoteRun) -> None:
        """Have Ray execute it, and say when and how it has ended."""
        key = message.key
        await self._mailbox.open.remote(key)
        options = {**as_options(message.resources), "name": message.task, "max_retries": 0}
        run.ref = self._execute.options(**options).remote(self._mailbox, self._settings.spec, bytes(message.lease))
        run.opened.set()
        notice = asyncio.create_task(self._report_placement(message, run))
        try:
            await run.ref
        except self._ray.exceptions.RayError as error:
            run.failure = exit_reason(error)
        notice.cancel()
        await self._mailbox.close.remote(key)

    async def _report_placement(self, message: SubmitTask, run: _RemoteRun) -> None:
        """Tell the worker which resources the task waits for, if Ray does not place it soon."""
        try:
            await asyncio.wait_for(run.began.wait(), PLACEMENT_NOTICE_S)
        except TimeoutError:
            text = placement_message(message.resources, self._nodes(), self._ray.available_resources())
            self._pipe.send(PlacementPending(*message.key, text))

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


def exit_reason(error: BaseException) -> str:
    """Return Ray's message about a task that did not return."""
    text = _COLOUR.sub("", str(error)).strip()
    return f"{type(error).__name__}: {text[:EXIT_REASON_MAX]}"


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
        pipe.send(JoinResult(f"{type(error).__name__}: {_COLOUR.sub('', str(error))[:EXIT_REASON_MAX]}"))
        return
    try:
        asyncio.run(Driver(ray, pipe, settings).run())
    except BaseException as error:  # noqa: BLE001 - as above
        _give_up(error)


def _give_up(error: BaseException | None) -> NoReturn:
    sys.stderr.write(f"headway: the Ray driver cannot go on: {type(error).__name__}: {error}\n")
    sys.stderr.flush()
    os._exit(1)

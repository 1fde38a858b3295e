"""The worker: the threads that speak with the server, around the loop on which async functions run.

    main thread   the event loop: `inline` tasks                  claimer   fetches leases
    pool          `thread` tasks                                  reporter  sends what happened
    child threads one for each `process` task that runs           heartbeat sends which leases are held
    ray           one for all `ray` tasks, if there are any       listener  stops, drains
                                                                  watchdog  timeouts, graces, the end
                                                                  loopwatch a blocked loop

User code never stands between the server and a heartbeat: it has the main thread, the pool and the children, and the
protocol has threads of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from headway.clock import Clock, SystemClock
from headway.config import CAPACITY, DAY_MS, LOOP_BLOCKED
from headway.kinds import Duration
from headway.protocol.times import to_text
from headway.protocol.workers import Executor as ExecutorName
from headway.protocol.workers import RegisterWorker
from headway.setting import PYTHON_ONLY, check_all
from headway.worker.attempts.executor import Executor
from headway.worker.attempts.loopwatch import LoopWatch
from headway.worker.attempts.running import RunningAttempts
from headway.worker.context.capture import LogCapture
from headway.worker.context.report_buffer import ReportBuffer
from headway.worker.declaration.app import App
from headway.worker.executors.inline import InlineExecutor
from headway.worker.executors.process.pool import ProcessExecutor
from headway.worker.executors.ray.options import RayOptions
from headway.worker.executors.thread import ThreadExecutor
from headway.worker.processes.launch import Launch
from headway.worker.protocol.claimer import Claimer
from headway.worker.protocol.heartbeat import WorkerHeartbeat
from headway.worker.protocol.link import Link
from headway.worker.protocol.report_sender import ReportSender
from headway.worker.protocol.session import Session
from headway.worker.protocol.signal_listener import SignalListener
from headway.worker.watchdog import Watchdog

if TYPE_CHECKING:
    from headway.worker.executors.ray.cluster import RayCluster

JOIN_S: Final = 1.0
"""Longest wait at the end for a thread that hangs in a call, in seconds."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a worker."""

    name: str = ""
    queues: tuple[str, ...] = ()
    """Queues that the worker claims from; none means all."""
    capacity: Annotated[int, CAPACITY, PYTHON_ONLY] = 100
    """Most runs at once."""
    threads: Annotated[int | None, CAPACITY, PYTHON_ONLY] = None
    """Most runs in threads; default: the capacity."""
    processes: Annotated[int | None, CAPACITY, PYTHON_ONLY] = None
    """Most runs in child processes; default: twice the machine's cores, and at least 4."""
    ray: RayOptions = RayOptions()
    """Connection to the Ray cluster, if the app has Ray tasks."""
    loop_blocked_ms: Annotated[int, LOOP_BLOCKED, PYTHON_ONLY] = 1_000
    """Time for which the event loop may be blocked before the worker reports it; 0: never."""
    drain_grace_ms: Annotated[int, Duration(0, DAY_MS), PYTHON_ONLY] = 20_000
    """Time for runs to finish when the worker drains."""
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no worker can work with: raise ValueError."""
        check_all(self)


class Worker:
    """Executes the tasks of an app for the servers of one store, until it is told to drain."""

    def __init__(
        self,
        app: App,
        link: Link,
        options: WorkerOptions | None = None,
        *,
        spec: str = "",
        launch: Launch | None = None,
        clock: Clock | None = None,
        say: Callable[[str], None] = lambda _: None,
        tell: Callable[[str], None] | None = None,
        abandon: Callable[[int], None] = os._exit,
    ) -> None:
        """`spec` is how child processes find the app, `launch` how they are started: as this process is now, if absent.

        `say` gets warnings, `tell` information; `abandon` ends a process whose loop is blocked for good.
        """
        options = options or WorkerOptions()
        launch = launch or Launch.now()
        self._app = app
        self._link = link
        self._say = say
        self._tell = tell or say
        self._abandon = abandon
        self._exit_code = 0
        self._reloading = False
        self._drain_grace_ms = options.drain_grace_ms
        self._stopping = threading.Event()
        self._protocol: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        clock = clock or SystemClock()
        threads = options.threads or options.capacity
        processes = options.processes or max(4, 2 * (os.cpu_count() or 1))
        self._threads = ThreadExecutor(threads)
        self._children = ProcessExecutor(spec, launch, clock, processes, say)
        self._ray = _ray_cluster(app, options.ray, spec, launch, clock, say)
        self.report_buffer = ReportBuffer()
        executors: dict[ExecutorName, Executor] = {"thread": self._threads, "process": self._children}
        if self._ray is not None:
            executors["ray"] = self._ray
        self.attempts = RunningAttempts(
            app.tasks, self.report_buffer, clock, InlineExecutor(clock), executors, capacity=options.capacity, say=say
        )
        self.session = Session(link, _hello(app, options, clock), clock, self._stopping, say)
        self.watchdog = Watchdog(
            self.attempts, self.session, clock,
            drain_grace_ms=options.drain_grace_ms, closed=self._closed, finish=self._finish,
        )  # fmt: skip
        parts = (self.attempts, link, self.session, clock, self._stopping, self.watchdog.ask)
        self._report_sender = ReportSender(*parts, report_buffer=self.report_buffer)
        self._heartbeat = WorkerHeartbeat(*parts, blocked=lambda: self._loopwatch.blocked)
        self._loopwatch = LoopWatch(
            self.attempts, self.report_buffer, clock, self._stopping,
            threshold_ms=options.loop_blocked_ms, say=say, changed=self._heartbeat.send_now,
        )  # fmt: skip
        self._signal_listener = SignalListener(*parts)
        self._claimer = Claimer(*parts, listens=self._signal_listener.listens)

    def drain(self, *, at_once: bool = False) -> None:
        """Claim no more, finish what runs or cancel it `at_once`, hand back the rest, end. Safe in a signal handler."""
        self.watchdog.drain(at_once=at_once)

    def reload(self, changed: list[str]) -> None:
        """Hand back what runs and end, to be started again with the new code: these files have changed."""
        names = ", ".join(os.path.relpath(path) for path in changed[:3]) + (" …" if changed[3:] else "")
        runs = len(self.attempts.running)
        back = "" if not runs else f", {runs:,} run{'' if runs == 1 else 's'} handed back"
        self._reloading = True
        self._tell(f"{names} changed: starts again{back}")
        self.watchdog.reload()

    def run(self) -> int:
        """Work until drained; return the exit code. Raises if the server refuses the worker."""
        captured = LogCapture() if self._app.capture_logging else None
        loop = _new_loop()
        watchdog = threading.Thread(target=self.watchdog.run, name="headway-watchdog", daemon=True)
        try:
            watchdog.start()
            if self._ray is not None:
                self._ray.join()
            if self.session.begin():
                loop.run_until_complete(self._work(loop, captured))
                for thread in self._protocol:
                    thread.join(JOIN_S)
        finally:
            self._stopping.set()
            self.report_buffer.unbind_loop()
            self._close_processes()
            self._threads.close()
            if captured is not None:
                captured.remove()
            loop.close()
        return self._exit_code

    async def _work(self, loop: asyncio.AbstractEventLoop, captured: LogCapture | None) -> None:
        self._over = asyncio.Event()
        self._loop = loop
        self.attempts.bind(loop)
        self.attempts.state.begin(captured, loop.call_soon_threadsafe)
        self.report_buffer.bind_loop(threading.get_ident(), loop.call_soon)
        number = len(self._app.tasks)
        self._tell(f"connected, with {number} {'task' if number == 1 else 'tasks'}")
        self._protocol = [
            threading.Thread(target=part.run, name=name, daemon=True)
            for name, part in (
                ("headway-listener", self._signal_listener),
                ("headway-claimer", self._claimer),
                ("headway-reporter", self._report_sender),
                ("headway-heartbeat", self._heartbeat),
            )
        ]
        if self._loopwatch.on:
            self._protocol.append(threading.Thread(target=self._loopwatch.run, name="headway-loopwatch", daemon=True))
        for thread in self._protocol:
            thread.start()
        if not self._stopping.is_set():
            await self._over.wait()

    def _closed(self) -> None:
        """Have the server end the claim that waits, so that nothing is handed to a worker that goes."""
        if (number := len(self.attempts.running)) and not self._reloading:
            runs = "1 run" if number == 1 else f"{number:,} runs"
            self._tell(
                f"draining: waits for {runs}, {self._drain_grace_ms / 1000:g} s at most; what is left is handed back"
            )
        threading.Thread(target=self._tell_server, daemon=True).start()

    def _tell_server(self) -> None:
        # Best effort, in a race with the end of both: runs that are claimed all the same are handed back.
        with contextlib.suppress(Exception):
            if self.session.id:
                self._link.drain(self.session.id)

    def _finish(self, code: int) -> None:
        """End the threads and the loop; called by the watchdog when everything is reported."""
        self._exit_code = code
        self._stopping.set()
        self._heartbeat.send_now()
        self.attempts.wake()
        self.report_buffer.wake()
        self._signal_listener.close()
        self._link.close()
        loop, over = self._loop, self._over
        if loop is None or over is None:
            return
        heard = threading.Event()
        loop.call_soon_threadsafe(over.set)
        loop.call_soon_threadsafe(heard.set)
        if not heard.wait(JOIN_S):
            self._close_processes()
            self._abandon(code)

    def _close_processes(self) -> None:
        self._children.close()
        if self._ray is not None:
            self._ray.close()


def _hello(app: App, options: WorkerOptions, clock: Clock) -> RegisterWorker:
    return RegisterWorker(
        name=options.name or f"{socket.gethostname()}-{os.getpid()}",
        host=socket.gethostname(),
        pid=os.getpid(),
        version=options.version,
        queues=list(options.queues),
        capacity=options.capacity,
        tasks=[task.declaration for task in app.tasks.values()],
        schedules=list(app.schedules.values()),
        started_at=to_text(clock.now_ms()),
    )


def _ray_cluster(
    app: App, options: RayOptions, spec: str, launch: Launch, clock: Clock, say: Callable[[str], None]
) -> RayCluster | None:
    """Return the cluster for the app's Ray tasks, not joined yet; None if there are none, or they are left to others."""
    if all(task.executor != "ray" for task in app.tasks.values()):
        return None
    if not options.capacity:
        return None
    from headway.worker.executors.ray.cluster import RayCluster  # noqa: PLC0415 - only who has Ray tasks pays for it

    return RayCluster(options.settings(spec), launch, clock, say)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - optional where it is not available
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()

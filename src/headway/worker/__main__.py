"""`python -m headway.worker URL[,URL…] MODULE:APP`: one worker process. Starts fast, since supervisors start many."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the working folder, where a `queue.py` would replace the standard library's

import argparse
import contextlib
import gc
import itertools
import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import msgspec

from headway import hangup, logs
from headway.client.credential import key
from headway.client.servers import CONNECT_S, urls
from headway.client.transport import Address, Transport
from headway.client.trust import Trust, trusted
from headway.clock import SystemClock
from headway.config import WorkerSettings
from headway.errors import HeadwayError, UnknownField
from headway.setting import setting
from headway.worker.declaration.loading import AppNotLoaded, load_app
from headway.worker.declaration.sources import Sources, watch
from headway.worker.executors.ray.options import RayOptions, RayUnusable
from headway.worker.processes.environment import withhold
from headway.worker.processes.exits import NOT_LOADED_CODE, REFUSED_CODE, RELOAD_CODE
from headway.worker.processes.launch import Launch
from headway.worker.processes.orphan import die_with
from headway.worker.processes.reaper import leave_process_1
from headway.worker.protocol.link import HttpLink
from headway.worker.worker import Worker, WorkerOptions


def main(arguments: list[str] | None = None) -> NoReturn:
    """Work until told to stop, then end the process; stuck threads of user code do not hold it up."""
    chosen = _parser().parse_args(arguments)
    leave_process_1()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until it can drain: no traceback of an app half loaded
    if chosen.parent:
        die_with(chosen.parent, signal.SIGTERM)
    _leave(_work(chosen, logs.of_worker(chosen.log_level, chosen.log_format)))


def _work(chosen: argparse.Namespace, write: Callable[[int, str], None]) -> int:
    warn, fail = partial(write, logging.WARNING), partial(write, logging.ERROR)
    try:
        credential = (sys.stdin.readline().strip() or None) if chosen.key_stdin else key()
    except HeadwayError as error:
        fail(str(error))
        return REFUSED_CODE
    withhold()  # user code is loaded next, and must not see the key
    if chosen.reload:  # a file that is changed twice in a second may look to Python like the one it has compiled
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # for child processes
    since_ms = SystemClock().now_ms()
    launch = Launch.now()
    sys.path[:] = launch.path
    try:
        app = load_app(chosen.app)
    except AppNotLoaded as error:
        return _not_loaded(chosen, error.told, fail, since_ms, error)
    if not app.tasks:
        return _not_loaded(chosen, f"{chosen.app!r} has no tasks.", fail, since_ms)
    try:
        known = urls(chosen.url)
        connect_s = CONNECT_S if len(known) > 1 else None
        trust = _trust(chosen, known)
        link = HttpLink(*(Transport(url, key=credential, connect_s=connect_s, trust=trust) for url in known))
        options = WorkerOptions(
            name=chosen.name,
            queues=tuple(name for name in chosen.queues.split(",") if name),
            capacity=chosen.capacity,
            threads=chosen.threads,
            processes=chosen.processes,
            ray=RayOptions(address=chosen.ray_address, capacity=chosen.ray_capacity),
            drain_grace_ms=chosen.drain_grace,
            loop_blocked_ms=chosen.loop_blocked,
        )
        worker = Worker(
            app,
            link,
            options,
            spec=chosen.app,
            launch=launch,
            say=warn,
            tell=partial(write, logging.INFO),
            abandon=_leave,
        )
        if chosen.reload:
            watch(Sources(chosen.app, since_ms), threading.Event(), worker.reload)
        _take_signals(worker, supervised=bool(chosen.parent))
        gc.freeze()  # modules loaded by now stay: exclude them from garbage collection
        return worker.run()
    except RayUnusable as error:
        fail(str(error))
        return NOT_LOADED_CODE
    except HeadwayError as error:
        older = "; it is of an earlier version: upgrade servers first, then workers"
        fail(f"the server refused the worker: {error}{older if isinstance(error, UnknownField) else ''}")
        return REFUSED_CODE


def _not_loaded(
    chosen: argparse.Namespace, why: str, fail: Callable[[str], None], since_ms: int, error: BaseException | None = None
) -> int:
    """Say why the app is of no use; with --reload wait until one of its files has changed."""
    if not chosen.reload:
        fail(why)
        return NOT_LOADED_CODE
    sources = Sources(chosen.app, since_ms, error)
    fail(f"{why}\nWaiting for a change of its files.")
    sources.wait(threading.Event())
    return RELOAD_CODE


def _take_signals(worker: Worker, *, supervised: bool) -> None:
    """Have signals drain the worker. The second one ends it at once; from a supervisor only SIGINT does.

    systemd stops a service by SIGTERM to all its processes, and the supervisor passes its own on: a worker gets two that
    mean one.
    """
    first = itertools.count()

    def drain(number: int, _: object) -> None:
        again = number == signal.SIGINT if supervised else number != signal.SIGHUP and next(first) > 0
        worker.drain(at_once=again)

    for number in (signal.SIGTERM, signal.SIGINT, *(() if hangup.ignored() else (signal.SIGHUP,))):
        signal.signal(number, drain)


def _trust(chosen: argparse.Namespace, known: list[str]) -> Trust | None:
    """Return how the server is checked; without https nothing is."""
    if not any(Address.parse(url).secure for url in known):
        return None
    return Trust(pinned=chosen.pinned) if chosen.pinned else trusted(chosen.ca)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m headway.worker", description="Executes the tasks of an app; its key is in HEADWAY_KEY."
    )
    parser.add_argument("url", help="the server, such as http://127.0.0.1:8006; several with commas between")
    parser.add_argument("app", help="module:app, or folder/file.py:app")
    parser.add_argument("--name", default="", help="what people call this worker; host and process id if absent")
    parser.add_argument("--queues", default="", help="comma-separated; all if absent")
    parser.add_argument("--capacity", type=_of(WorkerOptions, "capacity"), default=100, help="how many runs at once")
    parser.add_argument("--threads", type=_of(WorkerOptions, "threads"), help="how many of them in threads")
    parser.add_argument("--processes", type=_of(WorkerOptions, "processes"), help="how many of them in child processes")
    parser.add_argument(
        "--ray-address", default="", help="of the Ray cluster; RAY_ADDRESS, or this machine's, if absent"
    )
    parser.add_argument(
        "--ray-capacity",
        type=_of(RayOptions, "capacity"),
        default=100,
        help="how many runs on Ray; 0: that is for other workers",
    )
    parser.add_argument(
        "--drain-grace",
        type=_of(WorkerOptions, "drain_grace_ms"),
        default=20_000,
        help="how long runs may finish, such as 20s",
    )
    parser.add_argument(
        "--loop-blocked",
        type=_of(WorkerOptions, "loop_blocked_ms"),
        default=1_000,
        help="how long the event loop may be blocked before it is reported, such as 1s; 0s: never",
    )
    parser.add_argument("--reload", action="store_true", help="start again when a file of the app changes")
    parser.add_argument(
        "--key-stdin", action="store_true", help="its key is the first line of standard input, and not in HEADWAY_KEY"
    )
    parser.add_argument("--ca", help="a file with the certificates of authorities that are trusted for the server")
    parser.add_argument(
        "--pinned", help="a file whose first certificate is the server's, and the only one that is trusted"
    )
    parser.add_argument("--log-format", type=_of(WorkerSettings, "log_format"), default="text", help="text or json")
    parser.add_argument(
        "--log-level", type=_of(WorkerSettings, "log_level"), default="info", help="the lowest that is logged"
    )
    parser.add_argument("--parent", type=int, default=0, help="die with the process of this id")
    return parser


def _of(table: type[msgspec.Struct], name: str) -> Callable[[str], Any]:
    """Return a parser of an argument as the setting of an options struct."""

    def read(text: str) -> Any:
        try:
            return setting(table, name).of_argument(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

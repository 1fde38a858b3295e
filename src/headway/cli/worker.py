"""Worker processes for a server, kept alive until stopped: `headway worker`."""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial
from typing import Any, Final

import click

from headway import config, hangup, logs
from headway.cli import session
from headway.cli.command import Command
from headway.cli.exits import Exit
from headway.cli.options import Refused, argument, option
from headway.client.credential import key
from headway.client.servers import urls
from headway.client.transport import Address
from headway.client.trust import trusted
from headway.config import WorkerSettings
from headway.durations import format_ms
from headway.streams import replace_lost
from headway.worker.processes.environment import conceal
from headway.worker.processes.reaper import leave_process_1
from headway.worker.processes.stdio import to_stderr
from headway.worker.processes.supervisor import Supervisor, worker_argv

KILL_AFTER_S: Final = 10.0
"""Time, in seconds, beyond the drain in which a worker hands its leases back before it is killed."""


setting = partial(option, config.WorkerSettings)


@click.command(cls=Command)
@argument(config.WorkerSettings, "app")
@setting("processes", "Number of worker processes. Default: 1", also=("-n",))
@setting("capacity", "Runs that each process executes at once. Default: 100")
@setting("queues", "Queues to claim from. Default: all", "A,B")
@setting("ray_address", "Address of the Ray cluster. Default: RAY_ADDRESS, else auto", "ADDRESS")
@setting("ray_capacity", "Runs on Ray at once; 0 leaves them to other workers. Default: 100")
@setting("name", "Name for people. Default: host and process id", "NAME")
@setting("drain_ms", "Time for runs to finish at a stop. Default: 20s", "DURATION")
@setting("log_format", "Format of the log: text, or json with an object on each line. Default: text", "FORM")
@setting("log_level", "Lowest level to log: debug, info, warning or error. Default: info", "LEVEL")
@setting("reload", "For development: start again when a file of the app changes.")
@setting("loop_blocked_ms", "Report a task that blocks the event loop for this long. Default: 1s", "DURATION")
@click.pass_context
def worker(ctx: click.Context, /, **options: Any) -> None:
    """Execute the tasks of MODULE:APP for a server, on this or another machine.

    With several servers on one store it works for one of them, and moves to the next one, with its runs, when that fails.
    Processes that die are started again. On SIGTERM or Ctrl-C runs may finish; those that do not are handed back to the
    server, and the attempt does not count. A second one hands them back at once. On SIGHUP the processes drain and start
    again, with the app as it is then; if the terminal was closed, they end.

    Every option can also come from the environment: HEADWAY_WORKERS, HEADWAY_QUEUES … (docs/reference/settings.md).
    """
    leave_process_1()
    hangup.put_off()
    try:
        settings = config.worker_from_environment(**options)
    except ValueError as error:
        raise Refused(str(error)) from None
    if not settings.app:
        raise click.UsageError("name the app whose tasks to execute, as MODULE:APP or in HEADWAY_APP")
    shown = session.current()
    url = ",".join(Address.parse(one).url for one in urls(shown.url))
    credential = key(file=shown.key_file) or ""
    if settings.log_format == "json":
        logs.configure(settings.log_level, settings.log_format)
    for doubt in config.environment_warnings():
        _say(f"Warning: {doubt}")
    conceal()  # user code runs as the same user, and could read the key in this process's environment
    trusted(shown.ca)  # raises for a file that cannot be used, before the processes do
    arguments = [*_options(settings), *([f"--ca={shown.ca}"] if shown.ca else [])]
    argv = worker_argv(url, settings.app, *arguments)
    ctx.exit(asyncio.run(_supervise(settings.processes, argv, credential, settings.drain_ms / 1000 + KILL_AFTER_S)))


def _options(settings: WorkerSettings) -> list[str]:
    """Return the options of each worker process."""
    options = {
        "capacity": settings.capacity, "queues": ",".join(settings.queues), "ray-address": settings.ray_address,
        "ray-capacity": settings.ray_capacity, "name": settings.name, "drain-grace": format_ms(settings.drain_ms),
        "log-format": settings.log_format, "log-level": settings.log_level,
        "loop-blocked": format_ms(settings.loop_blocked_ms),
    }  # fmt: skip
    return [
        *(f"--{name}={value}" for name, value in options.items() if value != ""),
        *(["--reload"] if settings.reload else []),
    ]


async def _supervise(processes: int, argv: list[str], credential: str, grace_s: float) -> int:
    """Keep the processes alive until a signal comes, or until the app or the settings prove unusable."""
    supervisor = Supervisor(
        processes,
        lambda _: argv,
        say=_say,
        write=to_stderr,
        retry_not_loaded=False,
        key=credential,
        shape=logs.line_of_worker if logs.in_json() else None,
    )
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()

    def drain() -> None:
        if not signalled.is_set():
            signalled.set()
            replace_lost()
            _say(f"draining: runs may finish for {grace_s - KILL_AFTER_S:g} s; a second signal ends at once")

    def stop() -> None:
        if signalled.is_set():
            supervisor.hurry()
        drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if not hangup.ignored():
        loop.add_signal_handler(signal.SIGHUP, hangup.Terminal().handler(drain, supervisor.renew))
    await supervisor.start()
    ended = asyncio.create_task(supervisor.wait())
    stopped = asyncio.create_task(signalled.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    await supervisor.stop(grace_s)
    await ended
    replace_lost()
    return Exit.USAGE if supervisor.given_up else Exit.SUCCEEDED


def _say(text: str) -> None:
    logs.say(text, logging.WARNING)

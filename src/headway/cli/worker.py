"""`headway worker`: worker processes for a server, kept alive until told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any, Final

import click

from headway.cli import session
from headway.cli.command import Command
from headway.cli.exits import Exit
from headway.client.credential import key
from headway.client.servers import urls
from headway.client.transport import Address
from headway.durations import format_ms, parse_ms
from headway.worker.environment import conceal
from headway.worker.supervisor import Supervisor, worker_argv

KILL_AFTER_S: Final = 10.0
"""On top of the time that runs have to finish: what a worker needs to hand its leases back."""


@click.command(cls=Command)
@click.argument("app", metavar="MODULE:APP")
@click.option("--processes", "-n", default=1, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@click.option(
    "--capacity", default=100, show_default=True, type=click.IntRange(1, 100_000), help="Runs at once in each."
)
@click.option("--queues", default="", metavar="A,B", help="Claim from these only; from all if absent.")
@click.option("--ray-address", default="", metavar="ADDRESS", help="The Ray cluster; RAY_ADDRESS or auto if absent.")
@click.option(
    "--ray-capacity", default=100, show_default=True, type=click.IntRange(0, 100_000),
    help="Runs on Ray at once; 0 leaves them to others.",
)  # fmt: skip
@click.option("--name", default="", help="What people call it; host and process id if absent.")
@click.option(
    "--drain", default="20s", show_default=True, metavar="DURATION", help="How long runs may finish on a stop."
)
@click.pass_context
def worker(ctx: click.Context, /, app: str, processes: int, drain: str, **options: Any) -> None:
    """Execute the tasks of MODULE:APP for a server, on this or another machine.

    With several servers on one store it works for one of them, and moves to the next, with what it runs, when that fails.
    Processes that die are started again. On SIGTERM or Ctrl-C runs may finish; those that do not are handed back to the
    server, and the attempt does not count.
    """
    shown = session.current()
    url = ",".join(Address.parse(one).url for one in urls(shown.url))
    credential = key(file=shown.key_file) or ""
    conceal()  # user code runs as the same user, and could read the key in this process's environment
    try:
        drain_ms = parse_ms(drain)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--drain") from None
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value != ""]
    argv = worker_argv(url, app, *given, f"--drain-grace={format_ms(drain_ms)}")
    ctx.exit(asyncio.run(_supervise(processes, argv, credential, drain_ms / 1000 + KILL_AFTER_S)))


async def _supervise(processes: int, argv: list[str], credential: str, grace_s: float) -> int:
    """Keep the processes alive until a signal comes, or until the app turns out not to load."""
    supervisor = Supervisor(processes, lambda _: argv, say=_say, write=_write, retry_not_loaded=False, key=credential)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await supervisor.start()
    ended = asyncio.create_task(supervisor.wait())
    stopped = asyncio.create_task(told.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    await supervisor.stop(grace_s)
    await ended
    return Exit.USAGE if supervisor.not_loaded else Exit.SUCCEEDED


def _say(text: str) -> None:
    click.echo(text, err=True)


def _write(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.flush()

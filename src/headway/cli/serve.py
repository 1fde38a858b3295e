"""`headway serve`: from options to settings; all the rest is `headway.app.serving`'s."""

from __future__ import annotations

import os
from typing import Any

import click

from headway import config
from headway.cli.command import Command
from headway.durations import parse_ms


def duration_ms(_: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """Read a duration."""
    try:
        return None if text is None else parse_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from None


def renamed(_: click.Context, option: click.Parameter, value: bool) -> None:
    """Refuse a renamed option with its new name."""
    if value:
        name = config.RENAMED[option.name or ""].replace("_", "-")
        raise click.UsageError(f"{option.opts[0]} is no more: see --{name}")


@click.command(cls=Command)
@click.argument("app", default=None, required=False, metavar="[MODULE:APP]")
@click.option("--store", metavar="URL", help="Where everything is kept. Default: sqlite:///headway.db")
@click.option("--host", help="The address to listen on. Default: 127.0.0.1")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one. Default: 8006")
@click.option("--workers", type=click.IntRange(0, 1000), help="Local worker processes. Default: 1 if there is an app")
@click.option("--capacity", type=click.IntRange(1, 100_000), help="Runs at once in each. Default: 100")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name this server answers for; may be repeated.")
@click.option(
    "--behind-proxy", is_flag=True, default=None, help="A proxy with TLS stands before it: listen elsewhere too."
)
@click.option("--trusted-proxy", multiple=True, metavar="NETWORK", help="Believe the X-Forwarded-For of this proxy.")
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="ORIGIN",
    help="Origin of web pages that may use the server, such as https://HOST; may be repeated.",
)
@click.option(
    "--loopback-without-key",
    is_flag=True,
    default=None,
    help="Accept requests of this machine without a key even when keys exist.",
)
@click.option("--anonymous-loopback", is_flag=True, expose_value=False, hidden=True, callback=renamed)
@click.option("--lease", "lease_ms", metavar="DURATION", callback=duration_ms, help="How long a worker may be silent.")
@click.option("--drain", "drain_ms", metavar="DURATION", callback=duration_ms, help="How long a stop may take.")
@click.option(
    "--accept-loss", is_flag=True, default=None, help="Serve although the database may lose what it confirms."
)
@click.option("--access-log", is_flag=True, default=None, help="Log each request.")
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Run a server and, if MODULE:APP is given, workers for its tasks.

    \b
        headway serve examples.backup:app --store sqlite:///headway.db
        headway serve examples.backup:app --store postgresql://headway@db/headway

    Every option can also come from the environment: HEADWAY_STORE, HEADWAY_PORT …
    """  # noqa: D301
    try:
        given = {name: None if value == () else value for name, value in options.items()}
        settings = config.from_environment(os.environ, **given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    from headway.app import serving  # noqa: PLC0415 (the server, which `--help` does not need)

    ctx.exit(serving.serve(settings) or 0)

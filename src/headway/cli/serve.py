"""Server command: options become settings for `headway.serving.serve`."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import click
from msgspec.structs import replace

from headway import config
from headway.cli.admin import folder_wanted
from headway.cli.command import Command
from headway.cli.options import Refused, argument, option
from headway.setting import settings_of


def renamed(_: click.Context, option: click.Parameter, value: bool) -> None:
    """Refuse a renamed option with its new name."""
    if value:
        one = next(each for each in settings_of(config.Settings) if each.former == option.name)
        raise click.UsageError(f"{option.opts[0]} was renamed: see {one.option}")


setting = partial(option, config.Settings)


@click.command(cls=Command)
@argument(config.Settings, "app")
@setting("store", "URL of the store. Default: sqlite:///headway.db", "URL")
@setting("make_folder", "Make the store's folder if it is missing.")
@setting("host", "Address to listen on. Default: 127.0.0.1", "ADDRESS")
@setting("port", "Port to listen on; 0 takes a free one. Default: 8006")
@setting("workers", "Local worker processes. Default: 1 if there is an app")
@setting("capacity", "Runs that each process executes at once. Default: 100")
@setting("reload", "For development: start workers again when a file of the app changes.")
@setting("allow_host", "Host name that requests may use; may be repeated.", "NAME")
@setting("tls_cert", "File with the server's certificate (PEM); turns on TLS.", "FILE")
@setting("tls_key", "File with the certificate's key. Default: the --tls-cert file", "FILE")
@setting("behind_proxy", "A TLS proxy stands before the server: allow addresses other than loopback.")
@setting("trusted_proxy", "Address or network of a proxy whose X-Forwarded-For is believed.", "NETWORK")
@setting(
    "allow_origin", "Origin of web pages that may use the server, such as https://HOST; may be repeated.", "ORIGIN"
)
@setting("loopback_without_key", "Accept requests of this machine without a key even when keys exist.")
@click.option("--anonymous-loopback", is_flag=True, expose_value=False, hidden=True, callback=renamed)
@setting("lease_ms", "Time without a heartbeat after which a worker loses its runs. Default: 15s", "DURATION")
@setting("drain_ms", "Time for requests and runs to finish at a stop. Default: 30s", "DURATION")
@setting("accept_loss", "Serve although the database may lose acknowledged changes.")
@setting("access_log", "Log each request.")
@setting("log_format", "Format of the log: text, or json with an object on each line. Default: text", "FORM")
@setting("log_level", "Lowest level to log: debug, info, warning or error. Default: info", "LEVEL")
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Run a server and, if MODULE:APP is given, workers for its tasks.

    \b
        headway serve examples.backup:app --store sqlite:///headway.db
        headway serve examples.backup:app --store postgresql://headway@db/headway

    Every option can also come from the environment: HEADWAY_STORE, HEADWAY_PORT …; an empty variable is ignored.
    """  # noqa: D301
    try:
        settings = config.from_environment(os.environ, **options)
        settings = replace(settings, make_folder=folder_wanted(settings.store, make=settings.make_folder))
    except ValueError as error:
        raise Refused(str(error)) from None
    if settings.reload and not settings.app:
        raise click.UsageError("--reload (HEADWAY_RELOAD) is for local workers: name the app as MODULE:APP")
    from headway.serving import serve as serving  # noqa: PLC0415 (the server, which `--help` does not need)

    ctx.exit(serving.serve(settings) or 0)

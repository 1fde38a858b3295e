"""Base of all commands: global options at any place, and groups that load their commands when needed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from headway.cli import session
from headway.cli.printable import SURROGATES, printable


def _remember(name: str) -> Any:
    def take(_: click.Context, option: click.Parameter, value: Any) -> None:
        refuse_undecodable(option, value)
        given = value if isinstance(value, tuple) else (value,)
        if any(isinstance(text, str) and not text.strip() for text in given):
            raise click.UsageError(f"{option.opts[0]} is empty; give it a value, or leave it out")
        if value:
            setattr(session.current(), name, ",".join(value) if isinstance(value, tuple) else value)

    return take


def global_options() -> list[click.Option]:
    """Return `--url`, `--key-file`, `--ca` and `--json`, which may stand before or after the name of the command."""
    return [
        click.Option(
            ["--url", "--server"],
            metavar="URL",
            multiple=True,
            expose_value=False,
            callback=_remember("url"),
            help="URL of the server, or several on one store with commas between. Default: HEADWAY_URL, else http://127.0.0.1:8006.",
        ),
        click.Option(
            ["--key-file"],
            metavar="FILE",
            type=click.Path(),
            expose_value=False,
            callback=_remember("key_file"),
            help="File with the key for the server. Default: HEADWAY_KEY.",
        ),
        click.Option(
            ["--ca"],
            metavar="FILE",
            type=click.Path(),
            expose_value=False,
            callback=_remember("ca"),
            help="File with CA certificates to trust for the server. Default: HEADWAY_CA, else the system's.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_remember("json"),
            help="Print JSON; streams as JSON lines.",
        ),
    ]


def refuse_undecodable(parameter: click.Parameter, value: Any) -> None:
    """Raise for a text with bytes that are not UTF-8, which Python keeps as halves of characters: no request can carry them.

    Paths of files may have them, also those behind an @.
    """
    if isinstance(value, (tuple, list)):
        for one in value:
            refuse_undecodable(parameter, one)
    elif isinstance(value, str) and SURROGATES.search(value) and not _is_path(parameter, value):
        raise click.BadParameter(f"{printable(value)} is not UTF-8", param=parameter)


def _is_path(parameter: click.Parameter, value: str) -> bool:
    behind_an_at = value.startswith("@") and "@FILE" in (parameter.metavar or "")
    return behind_an_at or isinstance(parameter.type, click.Path)


class Command(click.Command):
    """A command with the global options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, and refuse undecodable ones."""
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            refuse_undecodable(parameter, ctx.params.get(parameter.name or ""))
        return rest

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options())


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names; suggest similar names for an unknown one."""
        name = args[0]
        if self.get_command(ctx, name) is None:
            from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

            from headway.cli.hints import suggestion  # noqa: PLC0415

            if close := get_close_matches(name, self.list_commands(ctx)):
                ctx.fail(f"there is no command {printable(name)!r}. {suggestion(close)}")
        return super().resolve_command(ctx, args)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options())


class LazyGroup(Group):
    """A group that imports the module of a command only when that command is called: `--help` reads a table instead."""

    def __init__(
        self, *args: Any, table: Mapping[str, tuple[str, str]], aliases: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        """`table` maps each name to MODULE:ATTRIBUTE and one line of help; `aliases` are short forms of some names."""
        super().__init__(*args, **kwargs)
        self.table = table
        self.aliases = aliases or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        cmd_name = self.aliases.get(cmd_name, cmd_name)
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command), cmd_name
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])

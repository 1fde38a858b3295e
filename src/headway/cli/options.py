"""Options derived from the tables of settings: one type, one range and one message for option and environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec
from click.shell_completion import CompletionItem

from headway import setting
from headway.cli.exits import Exit
from headway.kinds import FILE, Choice, Flag, Many
from headway.setting import Setting

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Refused(click.ClickException):
    """An unusable setting, reported in one line."""

    exit_code = Exit.USAGE


class OfSetting(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """Type of an option that reads its text as the setting does."""

    name = "text"

    def __init__(self, one: Setting) -> None:
        self._setting = one

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value; raise Refused with the accepted values."""
        del param, ctx
        if not isinstance(value, str):
            return value
        try:
            return self._setting.of_option(value)
        except ValueError as error:
            raise Refused(str(error)) from None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words of a setting, or leave the names of its file to the shell."""
        del ctx, param
        if self._setting.kind == FILE:
            return [CompletionItem(incomplete, type="file")]
        words = self._setting.kind.words if isinstance(self._setting.kind, Choice) else ()
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def option(
    table: type[msgspec.Struct], name: str, text: str, metavar: str = "NUMBER", *, also: tuple[str, ...] = ()
) -> Callable[[Decorated], Decorated]:
    """Return the decorator of a setting's option, None if absent. `also` are further spellings."""
    one = setting.setting(table, name)
    names = (one.option, *also, name)
    if isinstance(one.kind, Flag):
        return click.option(*names, is_flag=True, default=None, help=text)
    kind = OfSetting(one)
    if isinstance(one.kind, Many):
        return click.option(*names, type=kind, multiple=True, metavar=metavar, help=text, callback=_joined)
    return click.option(*names, type=kind, metavar=metavar, help=text)


def argument(table: type[msgspec.Struct], name: str) -> Callable[[Decorated], Decorated]:
    """Return the decorator of a setting's optional argument."""
    one = setting.setting(table, name)
    return click.argument(name, type=OfSetting(one), default=None, required=False, metavar=f"[{one.option}]")


def _joined(_: click.Context, __: click.Parameter, values: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...] | None:
    """Return all values of a repeatable option together; None if it is absent."""
    return tuple(one for each in values for one in each) or None

"""Resolution of arguments: an object by a unique prefix of its id, the last run, similar names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from headway.cli.exits import Exit
from headway.cli.printable import one_line
from headway.errors import HeadwayError, RunNotFound
from headway.ids import canonical_id
from headway.protocol import times

if TYPE_CHECKING:
    from headway.client.sync.client import Client
    from headway.client.sync.handle import RunHandle

PREFIX_MIN: Final = 4
"""Minimum length of a prefix; shorter ones would soon match another id."""
CANDIDATES_MAX: Final = 5
NAMES_MAX: Final = 1000
"""Maximum number of names that are compared with an unknown one."""
_TIME_DIGITS: Final = 12
"""Number of hexadecimal digits of a run's id that encode the time of its start."""


class Ambiguous(click.ClickException):
    """Several ids begin with the given prefix."""

    exit_code = Exit.USAGE

    def __init__(self, text: str, candidates: Iterable[str], what: str) -> None:
        """Name some of the candidates, a line each."""
        shown = [f"  {one_line(candidate)}" for candidate in islice(candidates, CANDIDATES_MAX + 1)]
        more = ["  …"] if len(shown) > CANDIDATES_MAX else []
        super().__init__("\n".join([f"several {what} begin with {text}:", *shown[:CANDIDATES_MAX], *more]))


def run(client: Client, run_id: str | None, *, last: bool = False, last_of: str | None = None) -> RunHandle:
    """Return the run of an id, of a unique prefix, or of `--last`."""
    if not last and last_of is None:
        if run_id is None:
            raise click.UsageError("name a run by its id, or the last one with --last")
        return client.runs.get(run_id_of(client, run_id))
    if run_id is not None:
        raise click.UsageError("name a run or say --last, not both")
    newest = next(iter(client.runs.list(**({"task": last_of} if last_of else {}))), None)
    if newest is None:
        raise RunNotFound(f"there is no run of {last_of} yet" if last_of else "there is no run yet")
    click.echo(one_line(f"The last run: {newest.id}, {newest.run.task}"), err=True)
    return newest


def run_id_of(client: Client, text: str) -> str:
    """Return the id of the run that begins with `text`; a text that cannot be a prefix of an id is returned unchanged.

    The id begins with the time of the start, so the matching runs are those of a span of time, which an index has.
    """
    digits = text.replace("-", "").lower()
    if canonical_id(text) is not None or not re.fullmatch(f"[0-9a-f]{{{PREFIX_MIN},31}}", digits):
        return text
    time = digits[:_TIME_DIGITS]
    span_ms = 16 ** (_TIME_DIGITS - len(time))
    first_ms = int(time, 16) * span_ms
    try:
        span = {"created_after": times.to_text(first_ms), "created_before": times.to_text(first_ms + span_ms)}
    except (ValueError, OverflowError):  # no such year
        return text
    found = (one for one in client.runs.list(**span).runs() if one.id.replace("-", "").startswith(digits))
    some = list(islice(found, CANDIDATES_MAX + 1))
    if len(some) > 1:
        raise Ambiguous(text, (f"{one.id}  {one.state}  {one.task}" for one in some), "runs")
    return some[0].id if some else text


def id_of(text: str, found: Callable[[], Iterable[tuple[str, str]]], what: str) -> str:
    """Return the id, of pairs of id and description, that begins with `text`; `text` if complete or unknown."""
    if canonical_id(text) is not None or len(text) < PREFIX_MIN:
        return text
    fits = [(one, about) for one, about in found() if one.startswith(text.lower())]
    if any(one == text for one, _ in fits) or not fits:
        return text
    if len(fits) > 1:
        raise Ambiguous(text, (f"{one}  {about}" for one, about in fits), what)
    return fits[0][0]


def key_id(client: Client, text: str) -> str:
    """Return the id of the key that begins with `text`."""
    return id_of(text, lambda: ((key.id, key.name) for key in client.keys.list()), "keys")


def user_id(client: Client, text: str) -> str:
    """Return the id of the user that begins with `text`."""
    return id_of(text, lambda: ((user.id, user.name) for user in client.users.list()), "users")


def organisation_id(client: Client, text: str) -> str:
    """Return the id of the organisation that begins with `text`."""
    return id_of(text, lambda: ((one.id, one.name) for one in client.organisations.list()), "organisations")


def worker_id(client: Client, text: str) -> str:
    """Return the id of the worker that begins with `text`."""
    return id_of(text, lambda: ((worker.id, worker.name) for worker in client.workers.list()), "workers")


# -- similar names ------------------------------------------------------------------------------------------------------


_NAMES: Final[Mapping[str, tuple[str, Callable[[Client], Iterable[str]]]]] = {
    "unknown_task": ("task", lambda client: (task.name for task in client.tasks.list())),
    "task_not_found": ("task", lambda client: (task.name for task in client.tasks.list())),
    "queue_not_found": ("queue", lambda client: (queue.name for queue in client.queues.list())),
    "schedule_not_found": ("schedule", lambda client: (schedule.name for schedule in client.schedules.list())),
    "table_not_found": ("table", lambda client: (table.name for table in client.tables.list())),
    "record_task_not_found": ("record_task", lambda client: (task.name for task in client.record_tasks.list())),
}
"""Member with the unknown name, and the known names, by the code of an error."""


def close_to(error: HeadwayError, client: Callable[[], Client]) -> list[str]:
    """Return names similar to the unknown one of an error; none if the names cannot be listed."""
    member, names = _NAMES.get(error.code, ("", None))
    wrong = error.fields.get(member)
    if names is None or not isinstance(wrong, str):
        return []
    try:
        with client() as asked:
            known = list(islice(names(asked), NAMES_MAX))
    except HeadwayError:
        return []
    by_fold = {name.casefold(): name for name in known}
    return [by_fold[name] for name in get_close_matches(wrong.casefold(), by_fold)]

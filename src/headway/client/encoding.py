"""Encoding of Python values as bodies, paths and query strings: pure, the same for both clients."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any, Final, Protocol, cast
from urllib.parse import quote, urlencode

import msgspec

from headway.codec.writing import hook
from headway.durations import format_ms
from headway.protocol.runs import Dedupe, RunQuery, StartRun
from headway.protocol.times import to_text

Moment = datetime | str
"""A time: a datetime (one without a zone is taken as local time), or RFC 3339 text."""
Span = timedelta | float | str
"""A duration: a timedelta, seconds, or text such as "30s" and "3 days"."""


class DeclaredTask(Protocol):
    """Function under `@app.task`."""

    @property
    def name(self) -> str: ...

    @property
    def is_async(self) -> bool: ...


Task = str | DeclaredTask
"""A task: its name, or the function that `@app.task` declares."""

_AS_NUMBERS: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=hook)
"""A Decimal is a number here: the API's own fields, such as the values of records, take numbers."""
_AS_TEXTS: Final = msgspec.json.Encoder(enc_hook=hook)
"""A Decimal is text here, as the schemas of tasks have it, and keeps all of its digits."""
_NOT_FINITE: Final = (b"null", b"NaN", b"Infinity")


def task_name(task: Task) -> str:
    """Return the name of a task; raise TypeError for other values, such as a function without `@app.task`."""
    if isinstance(task, str):
        return task
    if isinstance(name := getattr(task, "name", None), str) and hasattr(task, "is_async"):
        return name
    raise TypeError(f"{task!r} is not a task: give its name, or the function that @app.task declares")


def moment(value: Moment | None) -> str | None:
    """Return the time as RFC 3339 in UTC."""
    if isinstance(value, datetime):
        return to_text(round(value.astimezone(UTC).timestamp() * 1000))
    return value


def span(value: Span | None) -> str | None:
    """Return the duration as text."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return format_ms(round(value * 1000)) if isinstance(value, int | float) else value


def to_json(value: object, what: str = "the value") -> bytes:
    """Encode a value as JSON, also dataclasses, structs, Pydantic models, dates and UUIDs; else raise TypeError."""
    return _encoded(_AS_NUMBERS, value, what)


def _encoded(encoder: msgspec.json.Encoder, value: object, what: str) -> bytes:
    try:
        try:
            text = encoder.encode(value)
        except ValueError:  # such as msgspec's own for a Decimal that is NaN, from its version 0.23 on
            _refuse_not_finite(value)
            raise
        # msgspec writes NaN and infinities as null, and before 0.23 those of Decimal as they are, so the text is checked too.
        if value is not None and any(word in text for word in _NOT_FINITE):
            _refuse_not_finite(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{what} cannot be written as JSON: {error}") from error
    return text


def _refuse_not_finite(value: object) -> None:
    match value:
        case float() | Decimal():
            if not isfinite(value):
                raise ValueError(f"{value} is not a number that JSON has")
        case None | str() | bytes() | int() | msgspec.Raw():
            pass
        case Mapping():
            for part in value.values():
                _refuse_not_finite(part)
        case list() | tuple() | set() | frozenset():
            for part in value:
                _refuse_not_finite(part)
        case msgspec.Struct():  # it may hold encoded JSON
            _refuse_not_finite([getattr(value, name) for name in value.__struct_fields__])
        case _:
            _refuse_not_finite(msgspec.to_builtins(value, builtin_types=(Decimal,), str_keys=True, enc_hook=hook))


def raw(value: object, what: str = "the value") -> msgspec.Raw:
    """Return a value for user code (an input, a payload) as JSON, to be embedded in a larger document as it is."""
    return msgspec.Raw(_encoded(_AS_TEXTS, value, what))


def start_body(
    task: Task,
    input: Mapping[str, Any] | None = None,  # noqa: A002 (the word of the API)
    *,
    name: str | None = None,
    priority: int | None = None,
    queue: str | None = None,
    key: str | None = None,
    run_at: Moment | None = None,
    delay: Span | None = None,
    labels: Mapping[str, str] | None = None,
    dedupe: Dedupe | Mapping[str, Any] | str | None = None,
    protect: bool = False,
    parent_id: str | None = None,
    max_attempts: int | None = None,
    retention: Span | None = None,
    validate_only: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    """Return the body that starts a run: `fields` are merged into its `input`, options that are None are left out."""
    named = task_name(task)
    members = {
        "task": named,
        "input": raw({**(input or {}), **fields}, f"the input of {named!r}"),
        "name": name,
        "priority": priority,
        "queue": queue,
        "key": key,
        "run_at": moment(run_at),
        "delay": span(delay),
        "labels": dict(labels) if labels else None,
        "dedupe": {"key": dedupe} if isinstance(dedupe, str) else dedupe,
        "protect": protect or None,
        "parent_id": parent_id,
        "max_attempts": max_attempts,
        "retention": span(retention),
        "validate_only": validate_only or None,
    }
    return {member: value for member, value in members.items() if value is not None}


def schedule_body(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body for the given fields of a schedule."""
    body = dict(said)
    if "task" in body:
        body["task"] = task_name(body["task"])
    for name in ("starts_at", "ends_at"):
        if name in body:
            body[name] = moment(body[name])
    for name in ("catch_up_window", "late_after", "jitter"):
        if name in body:
            body[name] = span(body[name])
    if "input" in body:
        body["input"] = raw(body["input"], "the input")
    return body


def batch_item(item: Mapping[str, Any] | StartRun) -> dict[str, Any] | StartRun:
    """Return one start of a batch: a struct as it is, a dict with the options of `runs.start` as a body."""
    return item if isinstance(item, StartRun) else start_body(**item)


def filters(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the filters of a list as query parameters; `labels={"k": "v"}` becomes `label.k=v`."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if value is None:
            continue
        if name in {"labels", "label"}:
            found |= {f"label.{key}": str(text) for key, text in value.items()}
        elif isinstance(value, datetime):
            found[name] = moment(value) or ""
        elif name == "task":
            found[name] = ",".join(_task_names(value))
        elif isinstance(value, str) or not isinstance(value, Iterable):
            found[name] = str(value).lower() if isinstance(value, bool) else str(value)
        else:
            found[name] = ",".join(str(part) for part in value)
    return found


def _task_names(value: Task | Iterable[Task]) -> list[str]:
    several = not isinstance(value, str) and isinstance(value, Iterable)
    return [task_name(task) for task in (cast("Iterable[Task]", value) if several else [cast("Task", value)])]


def query_body(values: Mapping[str, Any] | RunQuery) -> RunQuery | dict[str, Any]:
    """Return the filters of a list as a body: a single state, task or queue becomes a list of one."""
    if isinstance(values, RunQuery):
        return values
    body = {name: moment(value) if isinstance(value, datetime) else value for name, value in values.items()}
    if body.get("task") is not None:
        body["task"] = _task_names(cast("Any", body["task"]))
    for name in ("state", "queue"):
        if isinstance(body.get(name), str):
            body[name] = [body[name]]
    return {name: value for name, value in body.items() if value is not None}


def path(*parts: str, verb: str = "", **values: Any) -> str:
    """Return `/v1/part/part:verb?name=value`, with every part quoted and every None left out."""
    quoted = "/".join(quote(part, safe="") for part in parts)
    text = query(**values)
    return f"/v1/{quoted}{':' if verb else ''}{verb}{'?' if text else ''}{text}"


def query(**values: Any) -> str:
    """Return a query string, with every None left out."""
    return urlencode(filters(values))


def new_key() -> str:
    """Return a new random Idempotency-Key."""
    return str(uuid.uuid4())

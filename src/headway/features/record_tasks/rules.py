"""Rules of record tasks: templates to render, resulting values, and whether a task fits its table; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from headway.errors import Conflict
from headway.features.record_tasks.model import (
    Action,
    Constant,
    Email,
    FieldCopy,
    Insert,
    RecordTask,
    Rendering,
    Source,
    Sources,
    Start,
    Update,
    UpdateConnected,
    Webhook,
)
from headway.features.tables.model import Field, FieldId, FieldType, Record, Table, Values
from headway.features.tables.rules.values import BadValue, normal
from headway.kernel.numbers import FAR_MAX, too_many_far

NAMES: Final = frozenset({"record", "connected", "task", "run", "today", "now"})
"""Names available in every template; in connected actions also `target`."""
EMAIL_PARTS: Final = ("to", "subject", "text", "html", "cc", "bcc")
BODY_MAX: Final = 1024 * 1024

Templates = list[tuple[str, bool]]
"""Sources of templates, and whether each is HTML."""


class InvalidBody(ValueError):
    """The rendered body of a webhook is not JSON, or too large."""


def templates_of(action: Action) -> Templates:
    """Return the templates of an action, in the order in which `resolved` and the others take their texts."""
    match action:
        case Update() | UpdateConnected() | Insert():
            return _written(action.values)
        case Start():
            return _written(action.input)
        case Email():
            return [(getattr(action, part), part == "html") for part in EMAIL_PARTS]
        case Webhook():
            return [(action.body, False)] if action.body else []


def _written(sources: Sources) -> Templates:
    return [(source.template, False) for source in sources.values() if isinstance(source, Rendering)]


def resolved(sources: Sources, values: Values, texts: Sequence[str]) -> dict[str, Any]:
    """Return the values of the sources for a record with these values; `texts` are the rendered templates."""
    left = iter(texts)
    return {name: _one(source, values, left) for name, source in sources.items()}


def _one(source: Source, values: Values, texts: Iterator[str]) -> Any:
    match source:
        case Constant():
            return source.value
        case FieldCopy():
            return values.get(source.field)
        case Rendering():
            return next(texts)


def sends(actions: Iterable[Action]) -> bool:
    """Return whether an action sends something out of the store, which cannot be undone."""
    return any(isinstance(action, Email | Webhook) for action in actions)


def unreadable(task: RecordTask, record: Record) -> list[FieldId]:
    """Return the invalid cells of a record that the task would read; a template or a call may read any."""
    invalid = list(record.invalid or ())
    if not invalid or any(templates_of(action) or isinstance(action, Email | Webhook) for action in task.actions):
        return invalid
    copied = {
        source.field
        for action in task.actions
        for source in (action.input if isinstance(action, Start) else action.values).values()  # type: ignore[union-attr]
        if isinstance(source, FieldCopy)
    }
    return [field for field in invalid if field in copied]


def patch_of(task: RecordTask, table: Table) -> Values | None:
    """Return the values that all records get alike; None if they depend on the record."""
    patch: Values = {}
    for action in task.actions:
        if not isinstance(action, Update):
            return None
        for field, source in action.values.items():
            if not isinstance(source, Constant):
                return None
            patch[field] = source.value
    unique = any(field.unique and patch.get(field.id) is not None for field in table.fields)
    return None if unique else patch  # one record gets a unique value, and the others fail


def shown(table: Table, record_id: str, values: Values) -> dict[str, Any]:
    """Return a record for templates: by field name, blanks as None, and its id, unless a field has that name."""
    return {"id": record_id} | {field.name: values.get(field.id) for field in table.fields}


def connections(table: Table) -> list[Field]:
    """Return the fields that are connections."""
    return [field for field in table.fields if field.type is FieldType.CONNECTION]


def named_records(field: Field, values: Values) -> list[str]:
    """Return the ids of records in a connection of the record."""
    value = values.get(field.id)
    if value is None:
        return []
    return list(value) if field.is_list else [value]


def connected(table: Table, values: Values, found: Mapping[tuple[str, str], tuple[Table, Record]]) -> dict[str, Any]:
    """Return `connected` of templates: for each connection, the connected record or records."""
    shown_by: dict[str, Any] = {}
    for field in connections(table):
        there = [
            shown(*_shown_parts(found[field.table_id or "", record_id]))
            for record_id in named_records(field, values)
            if (field.table_id or "", record_id) in found
        ]
        shown_by[field.name] = there if field.is_list else (there[0] if there else None)
    return shown_by


def _shown_parts(pair: tuple[Table, Record]) -> tuple[Table, str, Values]:
    table, record = pair
    return table, record.id, record.values


def message_id(origin: str, record_id: str, action: int) -> str:
    """Return the id of a message, the same for each repetition of this action for this record."""
    return hashlib.sha256(f"{origin}\0{record_id}\0{action}".encode()).hexdigest()[:32]


def body_of(task: str, run_id: str, record: Mapping[str, Any], record_id: str, rendered: str | None) -> bytes:
    """Return the body of a webhook: the rendered JSON, or the record. Raises InvalidBody."""
    if rendered is None:
        body = msgspec.json.encode({"task": task, "run": run_id, "record": {"id": record_id, "values": dict(record)}})
    else:
        if too_many_far(rendered.encode()):
            raise InvalidBody(f"the body has more than {FAR_MAX:,} numbers with an exponent of three digits")
        try:
            body = msgspec.json.encode(msgspec.json.decode(rendered))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise InvalidBody(
                f"the body is not valid JSON: {error}; write texts as {{{{ record.Name | tojson }}}}"
            ) from None
    if len(body) > BODY_MAX:
        raise InvalidBody(f"the body is longer than {BODY_MAX} bytes")
    return body


def check_against(task: RecordTask, table: Table) -> None:
    """Raise Conflict if the table has changed so that the task's actions do not fit it any more."""
    for action in task.actions:
        match action:
            case Update():
                _check_sources(action.values, table, table)
            case UpdateConnected():
                if action.connection not in {field.id for field in connections(table)}:
                    raise Conflict(f"{table.name!r} does not have the connection {action.connection} any more")
                _check_sources(action.values, table, None)
            case Insert():
                _check_sources(action.values, table, None)
            case Start():
                _check_sources(action.input, table, None)


def _check_sources(sources: Sources, table: Table, target: Table | None) -> None:
    for name, source in sources.items():
        if isinstance(source, FieldCopy) and table.find(source.field) is None:
            raise Conflict(f"{table.name!r} does not have the field {source.field} any more")
        if target is not None:
            field = target.find(name)
            if field is None:
                raise Conflict(f"{target.name!r} does not have the field {name} any more")
            if isinstance(source, Constant):
                try:
                    fits = normal(field, source.value) == source.value and not (source.value is None and field.required)
                except BadValue:
                    fits = False
                if not fits:
                    raise Conflict(f"{field.name!r} of {target.name!r} does not take {source.value!r} any more")

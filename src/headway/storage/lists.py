"""Puts the statement of a list together from fixed pieces: the one place where SQL depends on the request.

Only the pieces named here are ever used; values are always bound.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.model.query import Page, RunFilter
from headway.storage.statements import Dialect

_encode: Final = msgspec.json.Encoder().encode

GROUPS: Final = ("state", "task", "queue", "priority", "run_type")
"""What runs can be counted by."""

_SINGLE: Final = {
    "parent_id": "parent_id = :parent_id",
    "root_id": "root_id = :root_id",
    "key": "key = :key",
    "created_after": "created_at >= :created_after",
    "created_before": "created_at < :created_before",
    "finished_after": "finished_at >= :finished_after",
    "finished_before": "finished_at < :finished_before",
}
_MANY: Final = ("state", "task", "queue")


def page(dialect: Dialect, wanted: RunFilter, at: Page, limit: int) -> tuple[str, dict[str, Any]]:
    """Return the statement and its binds for one page, newest or oldest first by id (ids sort by time)."""
    terms, binds = _terms(dialect, wanted)
    if at.after is not None:
        terms.append("id < :after" if at.newest_first else "id > :after")
        binds["after"] = at.after
    order = "DESC" if at.newest_first else "ASC"
    binds["limit"] = limit
    return dialect.spell(f"SELECT @run_columns FROM runs{_where(terms)} ORDER BY id {order} LIMIT :limit"), binds  # noqa: S608


def ids(dialect: Dialect, wanted: RunFilter, after: str, limit: int) -> tuple[str, dict[str, Any]]:
    """Return the statement for the ids of the runs wanted, in order of id."""
    terms, binds = _terms(dialect, wanted)
    terms.append("id > :after")
    binds |= {"after": after, "limit": limit}
    return f"SELECT id FROM runs{_where(terms)} ORDER BY id LIMIT :limit", binds  # noqa: S608


def count(dialect: Dialect, wanted: RunFilter, group_by: str | None) -> tuple[str, dict[str, Any]]:
    """Return the statement that counts the runs wanted, by group or altogether."""
    terms, binds = _terms(dialect, wanted)
    if group_by is None:
        return f"SELECT '', count(*) FROM runs{_where(terms)}", binds  # noqa: S608
    assert group_by in GROUPS, group_by
    return f"SELECT {group_by}, count(*) FROM runs{_where(terms)} GROUP BY {group_by}", binds  # noqa: S608


def _where(terms: list[str]) -> str:
    return f" WHERE {' AND '.join(terms)}" if terms else ""


def _terms(dialect: Dialect, wanted: RunFilter) -> tuple[list[str], dict[str, Any]]:
    terms: list[str] = []
    binds: dict[str, Any] = {}
    for field in _MANY:
        values = getattr(wanted, field)
        if len(values) == 1:
            terms.append(f"{field} = :{field}")
            binds[field] = str(values[0])
        elif values:
            terms.append(f"{field} IN {dialect.ids.replace(':ids', f':{field}')}")
            binds[field] = _encode([str(value) for value in values]).decode()
    for field, term in _SINGLE.items():
        value = getattr(wanted, field)
        if value is not None:
            terms.append(term)
            binds[field] = value
    for index, (name, value) in enumerate(wanted.labels.items()):
        terms.append(
            f"id IN (SELECT run_id FROM run_labels WHERE name = :label_name_{index} AND value = :label_value_{index})"
        )
        binds |= {f"label_name_{index}": name, f"label_value_{index}": value}
    _bound_by_id(wanted, terms, binds)
    return terms, binds


def _bound_by_id(wanted: RunFilter, terms: list[str], binds: dict[str, Any]) -> None:
    """Ids begin with the time of creation: a bound on the time is a bound on the id, which the indexes are ordered by."""
    if wanted.created_after is not None:
        terms.append("id >= :id_after")
        binds["id_after"] = _first_id(wanted.created_after)
    if wanted.created_before is not None:
        terms.append("id < :id_before")
        binds["id_before"] = _first_id(wanted.created_before)


def _first_id(ms: int) -> str:
    text = f"{min(max(ms, 0), (1 << 48) - 1):012x}"
    return f"{text[:8]}-{text[8:]}"

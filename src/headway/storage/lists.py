"""Puts the statement of a list together from fixed pieces: the one place where SQL depends on the request.

Only the pieces named here are ever used; values are always bound.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from headway.model.query import Page, RunFilter
from headway.storage.statements import Dialect

_encode: Final = msgspec.json.Encoder().encode

GROUPS: Final = ("state", "task", "queue", "priority", "run_type")
"""What runs can be counted by."""

_SINGLE: Final = {
    "parent_id": "parent_id = :parent_id",
    # Most runs are their own root: the index holds only those that are not.
    "root_id": "(id = :root_id OR (parent_id IS NOT NULL AND root_id = :root_id))",
    "key": "key = :key",
    "created_after": "created_at >= :created_after",
    "created_before": "created_at < :created_before",
    "finished_after": "finished_at >= :finished_after",
    "finished_before": "finished_at < :finished_before",
}
_MANY: Final = ("state", "task", "queue")
_NARROW: Final = ("parent_id", "root_id", "key", "labels")
"""What few runs have in common: if one of these is asked for, nothing else has to lead."""
_ENDED: Final = "finished_at IS NOT NULL"
_LABELLED: Final = "id IN (SELECT run_id FROM run_labels WHERE "


Lead = Literal["", "state", "task", "queue", "end"]
"""What a list goes by: the field of which fewest runs have the value, `end` for the time of the end, or "" for the rest."""


def leads(wanted: RunFilter) -> list[Lead]:
    """Return the fields that a list could go by, if it is not clear from the statement which of them is best."""
    if any(getattr(wanted, field) for field in _NARROW):
        return []
    fields: list[Lead] = ["state", "task", "queue"]
    asked = [field for field in fields if getattr(wanted, field)]
    return asked if len(asked) > 1 and all(len(getattr(wanted, field)) == 1 for field in asked) else []


def may_go_by_end(wanted: RunFilter) -> bool:
    """Tell whether the time of the end is all that narrows the list."""
    fields = (*_NARROW, *_MANY, "created_after", "created_before")
    bounded = wanted.finished_after is not None or wanted.finished_before is not None
    return bounded and not any(getattr(wanted, field) for field in fields)


def page(dialect: Dialect, wanted: RunFilter, at: Page, limit: int, lead: Lead = "") -> tuple[str, dict[str, Any]]:
    """Return the statement and its binds for one page, newest or oldest first by id (ids sort by time)."""
    terms, binds = _terms(dialect, wanted)
    if at.after is not None:
        terms.append("id < :after" if at.newest_first else "id > :after")
        binds["after"] = at.after
    order = "DESC" if at.newest_first else "ASC"
    return _in_order(dialect, wanted, "@run_columns(runs)", terms, binds, limit, order, lead)


def ids(dialect: Dialect, wanted: RunFilter, after: str, limit: int, lead: Lead = "") -> tuple[str, dict[str, Any]]:
    """Return the statement for the ids of the runs wanted, in order of id."""
    terms, binds = _terms(dialect, wanted)
    terms.append("id > :after")
    binds["after"] = after
    return _in_order(dialect, wanted, "runs.id", terms, binds, limit, "ASC", lead)


def count(dialect: Dialect, wanted: RunFilter, group_by: str | None) -> tuple[str, dict[str, Any]]:
    """Return the statement that counts the runs wanted, by group or altogether."""
    terms, binds = _terms(dialect, wanted)
    if group_by is None:
        return f"SELECT '', count(*) FROM runs{_where(terms)}", binds  # noqa: S608
    assert group_by in GROUPS, group_by
    return f"SELECT {group_by}, count(*) FROM runs{_where(terms)} GROUP BY {group_by}", binds  # noqa: S608


def few_by_end(dialect: Dialect, wanted: RunFilter, most: int) -> tuple[str, dict[str, Any]]:
    """Return the statement that counts the runs that ended within the bounds, up to `most`."""
    terms, binds = _terms(dialect, wanted)
    binds["limit"] = most
    sql = f"SELECT count(*) FROM (SELECT 1 FROM runs @use(runs_by_end){_where([_ENDED, *terms])} LIMIT :limit) AS few"  # noqa: S608
    return dialect.spell(sql), binds


def few_of_label(name: str, value: str, most: int) -> tuple[str, dict[str, Any]]:
    """Return the statement that counts the runs with a label, up to `most`."""
    sql = "SELECT count(*) FROM (SELECT 1 FROM run_labels WHERE name = :name AND value = :value LIMIT :limit) AS few"
    return sql, {"name": name, "value": value, "limit": most}


def _in_order(
    dialect: Dialect,
    wanted: RunFilter,
    what: str,
    terms: list[str],
    binds: dict[str, Any],
    limit: int,
    order: str,
    lead: Lead,
) -> tuple[str, dict[str, Any]]:
    """Return the statement for the first runs by id, found by walking an index in that order until there are enough."""
    binds["limit"] = limit
    several = next((field for field in _MANY if len(getattr(wanted, field)) > 1), None)
    if wanted.labels:
        sql = _labelled(what, terms, order)
    elif wanted.root_id is not None:
        sql = _related(what, terms, order)
    elif several is not None:
        sql = _merged(what, terms, order, several, _listed(dialect, several))
    elif lead == "end":
        sql = _ended(what, terms, order)
    else:
        use = f" @use(runs_by_{lead})" if lead else ""
        sql = f"SELECT {what} FROM runs{use}{_where(terms)} ORDER BY id {order} LIMIT :limit"  # noqa: S608
    return dialect.spell(sql), binds


def _ended(what: str, terms: list[str], order: str) -> str:
    """Take the few that ended within the bounds from their index, which has their ids, and sort those."""
    few = f"SELECT id FROM runs @use(runs_by_end){_where([_ENDED, *terms])} ORDER BY id {order} LIMIT :limit"  # noqa: S608
    return f"SELECT {what} FROM runs WHERE runs.id IN ({few}) ORDER BY runs.id {order}"  # noqa: S608


def _labelled(what: str, terms: list[str], order: str) -> str:
    """Walk the first label, which is in order of the runs' ids, and look whether each run is all the rest as well."""
    first, *others = [term for term in terms if term.startswith(_LABELLED)]
    bounds = [f"one.run_{term}" for term in terms if term.startswith("id ") and term not in (first, *others)]
    rest = [term for term in terms if not term.startswith("id ")]
    probes = [f"EXISTS ({term.removeprefix('id IN (').removesuffix(')')} AND run_id = runs.id)" for term in others]
    label = first.removeprefix(_LABELLED).removesuffix(")")
    where = _where(
        [
            "runs.id = one.run_id",
            label.replace("name =", "one.name =").replace("value =", "one.value ="),
            *bounds,
            *rest,
            *probes,
        ]
    )
    # A cross join is carried out as it is written: label by label, and not through another index.
    return f"SELECT {what} FROM run_labels AS one CROSS JOIN runs{where} ORDER BY one.run_id {order} LIMIT :limit"  # noqa: S608


def _related(what: str, terms: list[str], order: str) -> str:
    """The runs below a root and the root itself are one probe each: together they would be sorted as a whole."""
    rest = [term for term in terms if term != _SINGLE["root_id"]]
    below = _where(["parent_id IS NOT NULL", "root_id = :root_id", *rest])
    itself = _where(["id = :root_id", *rest])
    return f"""SELECT {what} FROM runs WHERE runs.id IN (
        SELECT id FROM (SELECT id FROM runs{below} ORDER BY id {order} LIMIT :limit) AS below
        UNION ALL SELECT id FROM runs{itself}
    ) ORDER BY runs.id {order} LIMIT :limit"""  # noqa: S608


def _merged(what: str, terms: list[str], order: str, several: str, values: str) -> str:
    """Probe the index of a field once for each of its values: a few ids to sort, not everything there is of them.

    Only ids are sorted: whole runs would all be in memory before the first is handed out.
    """
    terms = [f"each.{several} = one.value" if term.startswith(f"{several} IN") else term for term in terms]
    return f"""SELECT {what} FROM runs WHERE runs.id IN (
        SELECT few.id FROM {values} AS one
        JOIN runs AS few ON few.id IN (SELECT id FROM runs AS each{_where(terms)} ORDER BY id {order} LIMIT :limit)
    ) ORDER BY runs.id {order} LIMIT :limit"""  # noqa: S608


def _listed(dialect: Dialect, field: str) -> str:
    return dialect.ids.replace(":ids", f":{field}")


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
            terms.append(f"{field} IN {_listed(dialect, field)}")
            binds[field] = _encode(list(dict.fromkeys(map(str, values)))).decode()
    for field, term in _SINGLE.items():
        value = getattr(wanted, field)
        if value is not None:
            terms.append(term)
            binds[field] = value
    for index, (name, value) in enumerate(wanted.labels.items()):
        terms.append(f"{_LABELLED}name = :label_name_{index} AND value = :label_value_{index})")
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

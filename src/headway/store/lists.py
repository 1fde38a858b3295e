"""Statements of lists, put together from fixed pieces: the one place where SQL depends on the request.

Only the pieces named here are ever used; values are always bound.

A list is that of one organisation, and the indexes of the lists begin with it. It walks one index, its access path, in the order
of that index, and checks the filter's other conditions run by run. So that a page costs the same however many runs there
are, it looks at no more of them than up to an edge (see access_path.py).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.kernel.namespace import Namespace
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import FINAL, Run
from headway.store.statements import Dialect

_encode: Final = msgspec.json.Encoder().encode

Statement = tuple[str, dict[str, Any]]
"""SQL text and the binds for it."""

GROUPS: Final = ("state", "task", "queue", "priority", "run_type")
"""Columns by which runs can be counted."""

_MANY: Final = ("state", "task", "queue")
_ONE: Final = {
    "parent_id": "parent_id = :parent_id",
    # Most runs are their own root: the index holds only those that are not.
    "root_id": "(runs.id = :root_id OR (parent_id IS NOT NULL AND root_id = :root_id))",
    "key": "key = :key",
}
_TIMES: Final = {
    "created_after": "created_at >= :created_after",
    "created_before": "created_at < :created_before",
    "finished_after": "finished_at >= :finished_after",
    "finished_before": "finished_at < :finished_before",
}
_WHOSE: Final = "organisation = :organisation"
_BESIDE: Final = "@beside(organisation) = :organisation"
"""The same condition where the list walks another index: it is checked for each run."""
_BELOW: Final = "parent_id IS NOT NULL AND root_id = :root_id"
_FREE: Final = "worker_id IS NULL"
_LEASED: Final = "worker_id IS NOT NULL"
_INDEXES: Final = {
    "id": "",
    "state": " @use(runs_by_state)",
    "task": " @use(runs_by_task)",
    "queue": " @use(runs_by_queue)",
    "parent_id": " @use(runs_by_parent)",
    "root_id": " @use(runs_by_root)",
    "key": " @use(runs_by_key)",
}


class AccessPath(msgspec.Struct, frozen=True):
    """The index that a list walks: that of a field, of one label, of the time of the end, or of the ids."""

    field: str
    label: str = ""


BY_ID: Final = AccessPath("id")
BY_END: Final = AccessPath("end")
WHOSE: Final = AccessPath("organisation")
"""First column of the indexes, walked by no list alone."""


def access_paths(wanted: RunFilter) -> list[AccessPath]:
    """Return the access paths of a list in order of id."""
    labels = [AccessPath("label", name) for name in wanted.labels]
    fields = [AccessPath(field) for field in (*_ONE, *_MANY) if getattr(wanted, field)]
    return [*labels, *fields] or [BY_ID]


def cursor(run: Run, at: Page) -> str:
    """Return the position of a run in a list, for `Page.after`. As text, positions are in the list's order."""
    return _position(run.finished_at or 0, run.id) if at.by_end else run.id


def page(dialect: Dialect, wanted: RunFilter, at: Page, limit: int, path: AccessPath, edge: str = "") -> Statement:
    """Return the statement for one page, from its start to its limit or to the edge, by id (ids sort by time) or by end."""
    terms, binds = _terms(dialect, wanted)
    binds["limit"] = limit
    if at.by_end:
        return dialect.spell(_by_end(wanted, at, edge, terms, binds, dialect)), binds
    return dialect.spell(_by_id("@run_columns(runs)", wanted, at, path, edge, terms, binds, dialect)), binds


def ids(dialect: Dialect, wanted: RunFilter, after: str, limit: int, path: AccessPath) -> Statement:
    """Return the statement for the ids of the runs wanted, in order of id."""
    terms, binds = _terms(dialect, wanted)
    binds["limit"] = limit
    at = Page(limit, after, newest_first=False)
    return dialect.spell(_by_id("runs.id", wanted, at, path, "", terms, binds, dialect)), binds


def count(dialect: Dialect, wanted: RunFilter, group_by: str | None) -> Statement:
    """Return the statement that counts the runs wanted, by group or altogether."""
    by_field, binds = _terms(dialect, wanted)
    terms = [
        f"id IN (SELECT run_id FROM run_labels AS one WHERE {_label(wanted, path.label)})" if path.label else term  # noqa: S608
        for path, term in by_field.items()
    ]
    terms += _span(wanted, Page(), "", "id", binds)
    assert group_by is None or group_by in GROUPS, group_by
    what, groups = (group_by, f" GROUP BY {group_by}") if group_by else ("''", "")
    each = [
        f"SELECT {what} AS part, count(*) AS number FROM runs{_where([*terms, *apart])}{groups}"  # noqa: S608
        for apart in (([_FREE], [_LEASED]) if dialect.apart else ([],))
    ]
    if len(each) == 1:
        return dialect.spell(each[0]), binds
    both = f"SELECT part, sum(number)::bigint FROM ({' UNION ALL '.join(each)}) AS parts GROUP BY part"  # noqa: S608
    return dialect.spell(both), binds


def edges(dialect: Dialect, wanted: RunFilter, at: Page, path: AccessPath, window: int) -> list[Statement]:
    """Return the statements that find how far a window of an index reaches, one for each wanted value of its column.

    Each returns the position of the first run that is too many, or nothing if there are no more than that.
    """
    values = getattr(wanted, path.field) if path.field in _MANY else _ended(wanted) if path == BY_END else ("",)
    found = []
    for value in values:
        binds = {"window": window // len(values), "value": str(value)}
        sql = _edge_by_end(wanted, at, binds) if path == BY_END else _edge_by_id(dialect, wanted, at, path, binds)
        found.append((dialect.spell(sql), binds))
    return found


def position(row: tuple[Any, ...]) -> str:
    """Return the position that a statement of `edges` has found."""
    return _position(*row) if len(row) > 1 else str(row[0])


# -- in order of id ----------------------------------------------------------------------------------------------------


def _by_id(
    what: str,
    wanted: RunFilter,
    at: Page,
    path: AccessPath,
    edge: str,
    by_field: dict[AccessPath, str],
    binds: dict[str, Any],
    dialect: Dialect,
) -> str:
    """The first runs by id, found by walking an index in that order until there are enough."""
    order = _order(at)
    if path != BY_END and path.field not in (*_MANY, "key"):
        by_field = by_field | {WHOSE: _BESIDE}
    rest = [term for field, term in by_field.items() if field != path]
    span = _span(wanted, at, edge, "one.run_id" if path.label else "runs.id", binds)
    if path.label:
        terms = _where(["runs.id = one.run_id", _label(wanted, path.label), *span, *rest])
        # A cross join is carried out as it is written: label by label, and not through another index.
        return f"SELECT {what} FROM run_labels AS one CROSS JOIN runs{terms} ORDER BY one.run_id {order} LIMIT :limit"  # noqa: S608
    if path == BY_END:
        return _few_by_end(what, wanted, order, [*span, *rest])
    if path.field == "root_id":
        return _related(what, order, [*span, *rest])
    if path.field in _MANY and dialect.apart:
        free = _indexed("runs.id", wanted, path, dialect, order, by_field, [*span, *rest, _FREE])
        return _with_leased(what, free, order, [by_field[path], *span, *rest])
    return _indexed(what, wanted, path, dialect, order, by_field, [*span, *rest])


def _indexed(
    what: str,
    wanted: RunFilter,
    path: AccessPath,
    dialect: Dialect,
    order: str,
    by_field: dict[AccessPath, str],
    terms: list[str],
) -> str:
    """Walk the index of a field."""
    if len(getattr(wanted, path.field, ())) > 1 and path.field in _MANY:
        return _merged(what, path.field, dialect, order, terms)
    own = [by_field[path]] if path in by_field else []
    where = _where([*own, *terms])
    return f"SELECT {what} FROM runs{_INDEXES[path.field]}{where} ORDER BY runs.id {order} LIMIT :limit"  # noqa: S608


def _with_leased(what: str, free: str, order: str, terms: list[str]) -> str:
    """Merge the few leased runs into those of an index that leaves them out."""
    leased = _where([_LEASED, *terms])
    return f"""SELECT {what} FROM runs WHERE runs.id IN (
        SELECT id FROM ({free}) AS free
        UNION ALL SELECT id FROM (SELECT runs.id FROM runs{leased} ORDER BY runs.id {order} LIMIT :limit) AS leased
    ) ORDER BY runs.id {order} LIMIT :limit"""  # noqa: S608


def _few_by_end(what: str, wanted: RunFilter, order: str, terms: list[str]) -> str:
    """Take the few that ended within the bounds from their index, which has their ids, and sort those."""
    states = ", ".join(f"'{state}'" for state in _ended(wanted))
    few = _where([f"state IN ({states})", "finished_at IS NOT NULL", *terms])
    return f"""SELECT {what} FROM runs WHERE runs.id IN (
        SELECT runs.id FROM runs @use(runs_by_end){few} ORDER BY runs.id {order} LIMIT :limit
    ) ORDER BY runs.id {order}"""  # noqa: S608


def _related(what: str, order: str, terms: list[str]) -> str:
    """The runs below a root and the root itself are one probe each: together they would be sorted as a whole."""
    below, itself = _where([_BELOW, *terms]), _where(["runs.id = :root_id", *terms])
    return f"""SELECT {what} FROM runs WHERE runs.id IN (
        SELECT id FROM (SELECT runs.id FROM runs{below} ORDER BY runs.id {order} LIMIT :limit) AS below
        UNION ALL SELECT runs.id FROM runs{itself}
    ) ORDER BY runs.id {order} LIMIT :limit"""  # noqa: S608


def _merged(what: str, field: str, dialect: Dialect, order: str, terms: list[str]) -> str:
    """Probe the index of a field once for each of its values: a few ids to sort, not everything there is of them.

    Only ids are sorted: whole runs would all be in memory before the first is handed out.
    """
    each = f"FROM runs{_INDEXES[field]}{_where([f'{field} = one.value', *terms])} ORDER BY runs.id {order} LIMIT :limit"
    few = f"SELECT few.id FROM {_listed(dialect, field)} AS one {dialect.few.format(f'SELECT runs.id {each}')}"  # noqa: S608
    return f"SELECT {what} FROM runs WHERE runs.id {dialect.among.format(few)} ORDER BY runs.id {order} LIMIT :limit"  # noqa: S608


def _edge_by_id(dialect: Dialect, wanted: RunFilter, at: Page, path: AccessPath, binds: dict[str, Any]) -> str:
    if path.label:
        source, of, own = "run_labels AS one", "run_id", [_label(wanted, path.label)]
        index = list(wanted.labels).index(path.label)
        stored = Namespace(wanted.organisation).qualify(path.label)
        binds |= {f"label_name_{index}": stored, f"label_value_{index}": wanted.labels[path.label]}
    else:
        source, of, own = f"runs{_INDEXES[path.field]}", "id", _own(wanted, path, binds)
        if path.field in _MANY and dialect.apart:
            own.append(_FREE)
    terms = _where([*own, *_span(wanted, at, "", of, binds)])
    return f"SELECT {of} FROM {source}{terms} ORDER BY {of} {_order(at)} LIMIT 1 OFFSET :window"  # noqa: S608


def _own(wanted: RunFilter, path: AccessPath, binds: dict[str, Any]) -> list[str]:
    """Return the conditions that the index of a field answers."""
    if path == BY_ID:
        return []
    binds["organisation"] = wanted.organisation
    if path.field in _MANY:
        return [_WHOSE, f"{path.field} = :value"]
    binds[path.field] = getattr(wanted, path.field)
    return [_WHOSE, _BELOW if path.field == "root_id" else _ONE[path.field]]


# -- in order of the end -----------------------------------------------------------------------------------------------


def _by_end(
    wanted: RunFilter, at: Page, edge: str, by_field: dict[AccessPath, str], binds: dict[str, Any], dialect: Dialect
) -> str:
    """The index has the ends of each final state in order: one walk a state, merged as they go."""
    rest = [term for path, term in by_field.items() if path.field not in ("state", "finished_after", "finished_before")]
    where = _where(["state = '{}'", "finished_at IS NOT NULL", *_span_of_end(wanted, at, edge, binds), *rest])
    order = f"ORDER BY finished_at {_order(at)}, id {_order(at)}"
    walk = f"SELECT @run_columns FROM runs @use(runs_by_end){where}"  # noqa: S608
    states = _ended(wanted)
    if len(states) > 1:
        walk = dialect.walk.format(walk, order)
    walks = " UNION ALL ".join(walk.replace("'{}'", f"'{state}'") for state in states)
    return f"{walks} {order} LIMIT :limit"


def _edge_by_end(wanted: RunFilter, at: Page, binds: dict[str, Any]) -> str:
    """Return the statement for the edge of the index of ends; for a list by id only its existence matters."""
    at = at if at.by_end else Page()
    binds["organisation"] = wanted.organisation
    where = _where([_WHOSE, "state = :value", "finished_at IS NOT NULL", *_span_of_end(wanted, at, "", binds)])
    return f"""SELECT finished_at, id FROM runs @use(runs_by_end){where}
        ORDER BY finished_at {_order(at)}, id {_order(at)} LIMIT 1 OFFSET :window"""  # noqa: S608


def _span_of_end(wanted: RunFilter, at: Page, edge: str, binds: dict[str, Any]) -> list[str]:
    """Return the bounds of the walk over the index of ends: one a side, as an index can take no more."""
    terms = {
        "finished_after": _TIMES["finished_after"] if wanted.finished_after is not None else "",
        "finished_before": _TIMES["finished_before"] if wanted.finished_before is not None else "",
    }
    start, stop = ("finished_before", "finished_after") if at.newest_first else ("finished_after", "finished_before")
    signs = ("<", ">=") if at.newest_first else (">", "<=")
    for side, name, sign, text in ((start, "after", signs[0], at.after), (stop, "edge", signs[1], edge)):
        if text:
            terms[side] = f"(finished_at, id) {sign} (:{name}_at, :{name})"
            ended, _, binds[name] = text.partition(" ")
            binds[f"{name}_at"] = int(ended)
    binds |= {field: getattr(wanted, field) for field, term in terms.items() if f":{field}" in term}
    return [term for term in terms.values() if term]


def _ended(wanted: RunFilter) -> list[str]:
    """The final states that are wanted: those of which there are ends."""
    return sorted(str(state) for state in FINAL if not wanted.state or state in wanted.state)


def _position(finished_at: int, run_id: str) -> str:
    return f"{finished_at:015} {run_id}"


# -- pieces ------------------------------------------------------------------------------------------------------------


def _order(at: Page) -> str:
    return "DESC" if at.newest_first else "ASC"


def _listed(dialect: Dialect, field: str) -> str:
    return dialect.ids.replace(":ids", f":{field}")


def _where(terms: list[str]) -> str:
    return f" WHERE {' AND '.join(terms)}" if terms else ""


def _label(wanted: RunFilter, name: str) -> str:
    index = list(wanted.labels).index(name)
    return f"one.name = :label_name_{index} AND one.value = :label_value_{index}"


def _terms(dialect: Dialect, wanted: RunFilter) -> tuple[dict[AccessPath, str], dict[str, Any]]:
    """Return the conditions on runs by the access paths that answer them, and the binds."""
    terms: dict[AccessPath, str] = {WHOSE: _WHOSE}
    binds: dict[str, Any] = {"organisation": wanted.organisation}
    inside = Namespace(wanted.organisation).qualify
    for field in _MANY:
        values = getattr(wanted, field)
        if len(values) == 1:
            terms[AccessPath(field)] = f"{field} = :{field}"
            binds[field] = str(values[0])
        elif values:
            terms[AccessPath(field)] = f"{field} IN {_listed(dialect, field)}"
            binds[field] = _encode(list(dict.fromkeys(map(str, values)))).decode()
    for field, term in (_ONE | _TIMES).items():
        value = getattr(wanted, field)
        if value is not None:
            terms[AccessPath(field)] = term
            binds[field] = value
    for index, (name, value) in enumerate(wanted.labels.items()):
        probe = f"SELECT 1 FROM run_labels AS one WHERE {_label(wanted, name)} AND one.run_id = runs.id"  # noqa: S608
        terms[AccessPath("label", name)] = f"EXISTS ({probe})"
        binds |= {f"label_name_{index}": inside(name), f"label_value_{index}": value}
    return terms, binds


def _span(wanted: RunFilter, at: Page, edge: str, of: str, binds: dict[str, Any]) -> list[str]:
    """Return the bounds of a walk in order of id: one a side, as an index can take no more.

    Ids begin with the time of creation: a bound on the time is a bound on the id.
    """
    least = (">=", None if wanted.created_after is None else _first_id(wanted.created_after))
    most = ("<", None if wanted.created_before is None else _first_id(wanted.created_before))
    if at.newest_first:
        least, most = (">=", edge) if edge else least, ("<", at.after) if at.after else most
    else:
        least, most = (">", at.after) if at.after else least, ("<=", edge) if edge else most
    found = []
    for name, (sign, run_id) in (("least", least), ("most", most)):
        if run_id:
            found.append(f"{of} {sign} :{name}")
            binds[name] = run_id
    return found


def _first_id(ms: int) -> str:
    text = f"{min(max(ms, 0), (1 << 48) - 1):012x}"
    return f"{text[:8]}-{text[8:]}"

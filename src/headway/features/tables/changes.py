"""Changes of records within a transaction: what is unique stays so, connections name what is there, the index follows.

These are the primitives under every way in which records change: the API, imports, record tasks. Each takes the unit of the
transaction, so that a built-in task changes its records and its cursor together:

    def work(unit):
        held(unit, run)                                       # the run is still under this lease
        table = hold(unit, organisation, table_id)
        span = span_of_records(unit, table, cursor.after, cursor.upto, 1000)   # this chunk; None: all is done
        done = give(unit, table, span, patch)                 # or change, insert, remove
        keep(unit, run, cursor)
        return done

    await store.write(work, run_ids=[run.id], weight=len(ids))

`decide` is given each record as it is in this transaction, and says what its values are to be. What it decided on cannot be
old, so nothing has to be compared and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final

import msgspec

from headway.errors import Conflict, RecordInUse, TableNotFound
from headway.features.tables import store as storage
from headway.features.tables.model import Field, FieldType, Record, RecordChange, Table, Values
from headway.features.tables.rules.keys import entries, keys
from headway.features.tables.rules.values import completed
from headway.store.unit_of_work import UnitOfWork

FAMILY_MAX: Final = 10_000
"""Records that one deletion may take with it, or clear connections of."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a record was not taken."""

    field: str
    """The field's name; empty if it is not about one."""
    code: str
    message: str

    def __str__(self) -> str:
        """Return it in one sentence."""
        return f"{self.field} {self.message}" if self.field else self.message


class Refused(Exception):
    """Raised by `decide` for a record that cannot be changed; the others are."""

    def __init__(self, *refusals: Refusal) -> None:
        super().__init__("; ".join(map(str, refusals)))
        self.refusals = refusals


class Draft(msgspec.Struct, frozen=True):
    """A record as it shall be, all of its values in normal form."""

    id: str
    values: Values
    before: Record | None = None


class Done(msgspec.Struct):
    """What became of some records."""

    changed: list[str] = []
    passed: list[str] = []
    """Those that need no change, or are not there any more."""
    refused: dict[str, tuple[Refusal, ...]] = {}


def hold(uow: UnitOfWork, organisation: int, name: str) -> Table:
    """Return the organisation's table of that id or name, unchanged until the transaction is over; raise TableNotFound."""
    found = storage.find_table(uow.database, organisation, name)
    table = None if found is None else storage.lock_table(uow, found.number)
    if table is None:
        raise TableNotFound(f"there is no table {name[:80]!r}", table=name[:80])
    return table


def filled(table: Table, given: Mapping[str, Any], was: Values, zone: tzinfo = UTC) -> Values:
    """Return all values of a record after a change, in normal form; `given` is by id or name of the field. Raise Refused."""
    wrong: list[Refusal] = []
    named: dict[str, Any] = {}
    for name, value in given.items():
        field = table.find(name)
        if field is None:
            known = ", ".join(repr(each.name) for each in table.fields[:20]) or "none"
            wrong.append(Refusal(name[:80], "unknown_field", f"is no field of {table.name!r}; it has {known}"))
        elif field.id in named:
            wrong.append(Refusal(field.name, "twice", "is there twice"))
        else:
            named[field.id] = value
    values = completed(
        table.fields, named, was, zone, lambda field, what: wrong.append(Refusal(field.name, "value", what))
    )
    if wrong:
        raise Refused(*wrong)
    return values


def loose(table: Table) -> Table:
    """Return an external table as changes of its rows see it: what is required of them is their database's affair."""
    fields = tuple(msgspec.structs.replace(field, required=False) for field in table.fields)
    return msgspec.structs.replace(table, fields=fields)


def fresh(table: Table, given: Mapping[str, Any], zone: tzinfo = UTC) -> Values:
    """Return the values of a new record: what is not given has its default. Raise Refused."""
    return filled(table, given, {field.id: field.default for field in table.fields if field.default is not None}, zone)


def save(
    uow: UnitOfWork, table: Table, drafts: Sequence[Draft], *, whole: bool = False
) -> dict[str, tuple[Refusal, ...]]:
    """Write new and changed records; return the ids of those that were refused, with the reasons.

    What is changed must have been loaded in this transaction. `whole`: if one is refused, none is written.
    """
    refused: dict[str, tuple[Refusal, ...]] = {}
    _refuse_missing(uow, table, drafts, refused)
    _refuse_taken(uow, table, drafts, refused)
    if whole and refused:
        return refused
    left = [draft for draft in drafts if draft.id not in refused]
    storage.write_records(
        uow,
        table,
        [(draft.id, draft.values) for draft in left if draft.before is None],
        [RecordChange(draft.before, draft.values) for draft in left if draft.before is not None],
    )
    return refused


def insert(uow: UnitOfWork, table: Table, found: Iterable[tuple[str, Values]]) -> dict[str, tuple[Refusal, ...]]:
    """Write new records (id and values); return the ids of those that were refused, with the reasons."""
    return save(uow, table, [Draft(record_id, values) for record_id, values in found])


def change(uow: UnitOfWork, table: Table, ids: Collection[str], decide: Callable[[Record], Values | None]) -> Done:
    """Change records, each to the values that `decide` returns for it as it is now.

    `decide` returns all values in normal form (`filled` makes them), None for a record that needs no change, and raises
    Refused for one that cannot be changed; that one stays as it is, the others are changed.
    """
    found = storage.load_records(uow, table, ids)
    done = Done()
    drafts = []
    for record in found.values():
        try:
            values = decide(record)
        except Refused as refusal:
            done.refused[record.id] = refusal.refusals
            continue
        if values is None or values == record.values:
            done.passed.append(record.id)
        else:
            drafts.append(Draft(record.id, values, record))
    done.refused |= save(uow, table, drafts)
    done.changed = [draft.id for draft in drafts if draft.id not in done.refused]
    done.passed += [record_id for record_id in ids if record_id not in found]
    return done


def give(
    uow: UnitOfWork, table: Table, span: storage.Span, patch: Values, ids: Collection[str] | None = None
) -> tuple[int, int] | None:
    """Give the same values to all records of a span, or to these in it: how many they are, and how much was read.

    Those that have them already stay as they are. The values are in normal form, and not those of a unique field, except
    blanks. Returns None, with nothing changed, if some of the records may be refused: each has to be looked at.
    """
    for field in table.fields:
        asked = set(keys(field, patch.get(field.id))) if field.type is FieldType.CONNECTION else set()
        if asked and asked - _there(uow, table, field, asked):
            return None
    if ids is None and not any(field.kept for field in table.fields if field.id in patch):
        storage.patch_span(uow, table, span, patch)
        return span.count, 0
    found, size = storage.load_span(uow, table, span, ids)
    given = list(patch.items())
    lacking = []
    for each in found:
        for field_id, value in given:
            if each[1].get(field_id) != value:
                lacking.append(each)
                break
    storage.patch_records(uow, table, span, lacking, patch)
    return len(found), size


# -- what is unique, and what is connected -------------------------------------------------------------------------------


def _refuse_taken(
    uow: UnitOfWork, table: Table, drafts: Sequence[Draft], refused: dict[str, tuple[Refusal, ...]]
) -> None:
    """Refuse what would be there twice. Records of one batch may exchange their values."""
    unique = [field for field in table.fields if field.unique]
    if not unique:
        return
    names = {field.id: field.name for field in unique}
    wanted = {draft.id: [(field, text) for field, text, _ in sorted(entries(unique, draft.values))] for draft in drafts}
    asked = {place for places in wanted.values() for place in places}
    owners = {(field, text): owner for field, text, owner in storage.holders(uow.database, table, sorted(asked))}
    while True:
        stay = {draft.id for draft in drafts if draft.id in refused}
        taken = {
            place: owner for place, owner in owners.items() if owner in stay or place in wanted.get(owner, (place,))
        }
        more = False
        for draft in drafts:
            if draft.id in refused:
                continue
            for place in wanted[draft.id]:
                if taken.setdefault(place, draft.id) != draft.id:
                    refused[draft.id] = (
                        Refusal(names[place[0]], "taken", "is unique, and another record has this value"),
                    )
                    more = True
                    break
        if not more:
            return


def _refuse_missing(
    uow: UnitOfWork, table: Table, drafts: Sequence[Draft], refused: dict[str, tuple[Refusal, ...]]
) -> None:
    """Refuse connections to what is not there; what is there cannot be deleted until this is committed."""
    for field in table.fields:
        if field.type is not FieldType.CONNECTION:
            continue
        new = {
            draft.id: set(keys(field, draft.values.get(field.id)))
            - set(keys(field, draft.before.values.get(field.id)) if draft.before is not None else ())
            for draft in drafts
        }
        asked = set().union(*new.values())
        if not asked:
            continue
        there = _there(uow, table, field, asked)
        for draft in drafts:
            missing = sorted(new[draft.id] - there)
            if missing:
                refusal = Refusal(
                    field.name, "no_such_record", f"names {missing[0]!r}, which is no record of its table"
                )
                refused[draft.id] = (*refused.get(draft.id, ()), refusal)


def _there(uow: UnitOfWork, table: Table, field: Field, asked: set[str]) -> set[str]:
    target = storage.find_table(uow.database, table.organisation, field.table_id or "")
    if target is None or target.external is not None:
        return set()
    return set(storage.load_records(uow, target, sorted(asked)))


# -- deleting ------------------------------------------------------------------------------------------------------------


class _Family:
    """What goes with some records: those that name them in a connection that cascades, or lose it in one that is cleared."""

    def __init__(self, uow: UnitOfWork, organisation: int) -> None:
        self.uow = uow
        self.tables = {table.id: table for table in storage.read_tables(uow.database, organisation)}
        self.gone: dict[str, dict[str, Record]] = {}
        self.cleared: dict[str, dict[str, list[tuple[Field, str]]]] = {}
        self.size = 0

    def take(self, table: Table, ids: Collection[str]) -> None:
        """Take records, and all that depends on them."""
        mine = self.gone.setdefault(table.id, {})
        found = storage.load_records(self.uow, table, [record_id for record_id in ids if record_id not in mine])
        mine |= found
        self._grow(len(found))
        for other in self.tables.values():
            for field in other.fields:
                if found and field.type is FieldType.CONNECTION and field.table_id == table.id:
                    self._follow(other, field, found)

    def _follow(self, other: Table, field: Field, found: Mapping[str, Record]) -> None:
        asked = [(field.id, record_id) for record_id in found]
        named = storage.holders(self.uow.database, other, asked, FAMILY_MAX + 1)
        named = [line for line in named if line[2] not in self.gone.get(other.id, {})]
        if not named:
            return
        if field.on_delete == "restrict":
            errors = [
                {
                    "pointer": f"/tables/{other.name}/records/{owner}/{field.name}",
                    "code": "connected",
                    "message": f"it names {target}",
                }
                for _, target, owner in named[:20]
            ]
            raise RecordInUse(
                f"records of {other.name!r} name it in {field.name!r}, which restricts this", errors=errors
            )
        if field.on_delete == "cascade":
            self.take(other, {owner for _, _, owner in named})
            return
        self._grow(len(named))
        for _, target, owner in named:
            self.cleared.setdefault(other.id, {}).setdefault(owner, []).append((field, target))

    def _grow(self, by: int) -> None:
        self.size += by
        if self.size > FAMILY_MAX:
            raise Conflict(
                f"this would touch more than {FAMILY_MAX:,} records at once: delete those that name them first"
            )


def remove(uow: UnitOfWork, table: Table, ids: Collection[str]) -> int:
    """Delete records, and do with those that name them what their fields say; return how many of `ids` there were.

    Raises RecordInUse if a connection restricts it, Conflict if it would touch too many; then nothing is changed.
    """
    family = _Family(uow, table.organisation)
    family.take(table, ids)
    changes = [(family.tables[table_id], _cleared(family, family.tables[table_id])) for table_id in family.cleared]
    for other, drafts in changes:
        storage.write_records(
            uow, other, [], [RecordChange(draft.before, draft.values) for draft in drafts if draft.before]
        )
    for table_id, found in family.gone.items():
        storage.remove_records(uow, family.tables[table_id], list(found.values()))
    return sum(record_id in family.gone[table.id] for record_id in ids)


def _cleared(family: _Family, table: Table) -> list[Draft]:
    """Return the records that stay, without the connections to what goes."""
    lost = family.cleared[table.id]
    gone = family.gone.get(table.id, {})
    drafts = []
    for record in storage.load_records(
        family.uow, table, [record_id for record_id in lost if record_id not in gone]
    ).values():
        values = dict(record.values)
        for field, target in lost[record.id]:
            left = [each for each in keys(field, values.get(field.id)) if each != target]
            if left:
                values[field.id] = left
            elif field.required:
                raise RecordInUse(f"{record.id} of {table.name!r} needs a {field.name!r}, and would have none")
            else:
                values.pop(field.id, None)
        drafts.append(Draft(record.id, values, record))
    return drafts

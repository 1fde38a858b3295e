"""Changes of records within a transaction: constraints are checked, and the index and the record count follow.

The API, imports and record tasks all change records by these functions. Each takes the unit of work of the transaction, so
that a built-in task changes records and its cursor together (`runs.cursor`). Changes are made from records that were loaded,
and so locked, in the same transaction: no update is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final

import msgspec

from headway.errors import Conflict, RecordInUse
from headway.features.tables import store as storage
from headway.features.tables.model import Field, FieldType, Record, RecordChange, Table, Values
from headway.features.tables.rules.keys import entries, keys
from headway.features.tables.rules.values import merge
from headway.store.unit_of_work import UnitOfWork

CASCADE_MAX: Final = 10_000
"""Records that one deletion may delete, or clear references of."""


class Violation(msgspec.Struct, frozen=True):
    """Violation of a constraint by a record."""

    field: str
    """Name of the field; empty if it is about the whole record."""
    code: str
    message: str

    def __str__(self) -> str:
        """Return the violation as one sentence."""
        return f"{self.field} {self.message}" if self.field else self.message


Violations = dict[str, tuple[Violation, ...]]
"""Violations by record id."""


class ConstraintError(Exception):
    """A record that violates constraints of its table."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = violations


# -- values of one record ----------------------------------------------------------------------------------------------


def updated_values(table: Table, given: Mapping[str, Any], before: Values, zone: tzinfo = UTC) -> Values:
    """Return all values of a record after an update, in normal form; raise ConstraintError.

    `given` is by id or name of the field; moments without a zone are in `zone`.
    """
    violations: list[Violation] = []
    by_id: dict[str, Any] = {}
    for name, value in given.items():
        field = table.find(name)
        if field is None:
            known = ", ".join(repr(each.name) for each in table.fields[:20]) or "none"
            violations.append(Violation(name[:80], "unknown_field", f"is no field of {table.name!r}; it has {known}"))
        elif field.id in by_id:
            violations.append(Violation(field.name, "twice", "is there twice"))
        else:
            by_id[field.id] = value
    values = merge(
        table.fields,
        by_id,
        before,
        zone,
        lambda field, message: violations.append(Violation(field.name, "value", message)),
    )
    if violations:
        raise ConstraintError(*violations)
    return values


def initial_values(table: Table, given: Mapping[str, Any], zone: tzinfo = UTC) -> Values:
    """Return all values of a new record, with defaults; raise ConstraintError."""
    defaults = {field.id: field.default for field in table.fields if field.default is not None}
    return updated_values(table, given, defaults, zone)


def without_required(table: Table) -> Table:
    """Return an external table for updates of its rows: its database checks required values."""
    fields = tuple(msgspec.structs.replace(field, required=False) for field in table.fields)
    return msgspec.structs.replace(table, fields=fields)


# -- inserts and updates -----------------------------------------------------------------------------------------------


def save(uow: UnitOfWork, table: Table, changes: Sequence[RecordChange], *, atomic: bool = False) -> Violations:
    """Write new and updated records that violate no constraint; return the violations of the others.

    `atomic`: none is written if one violates a constraint.
    """
    violations: Violations = {}
    _check_references(uow, table, changes, violations)
    _check_unique(uow, table, changes, violations)
    if not (atomic and violations):
        storage.write_records(uow, table, [change for change in changes if change.id not in violations])
    return violations


def set_values(
    uow: UnitOfWork, table: Table, span: storage.Span, values: Values, ids: Collection[str] | None = None
) -> tuple[int, int] | None:
    """Set the same values in all records of a span, or in those with these ids; return their number and the characters read.

    The values are in normal form, and not of a unique field, except blanks. Records that have them already stay as they are.
    Returns None, with nothing changed, if a reference names a missing record: then each change has to be checked alone.
    """
    for field in table.fields:
        targets = set(keys(field, values.get(field.id))) if field.type is FieldType.CONNECTION else set()
        if targets and targets - _existing(uow, table, field, targets):
            return None
    if ids is None and not any(field.has_index for field in table.fields if field.id in values):
        storage.patch_span(uow, table, span, values)
        return span.count, 0
    found, size = storage.load_span(uow, table, span, ids)
    wanted = list(values.items())
    stale = []
    for each in found:
        for field_id, value in wanted:
            if each[1].get(field_id) != value:
                stale.append(each)
                break
    storage.patch_records(uow, table, span, stale, values)
    return len(found), size


# -- constraints -------------------------------------------------------------------------------------------------------


def _check_unique(uow: UnitOfWork, table: Table, changes: Sequence[RecordChange], violations: Violations) -> None:
    """Add a violation for each value of a unique field that another record has; records of a batch may swap values."""
    unique = [field for field in table.fields if field.unique]
    if not unique:
        return
    names = {field.id: field.name for field in unique}
    wanted = {each.id: [(field, key) for field, key, _ in sorted(entries(unique, each.values))] for each in changes}
    asked = {entry for own in wanted.values() for entry in own}
    owners = {(field, key): owner for field, key, owner in storage.find_entries(uow.database, table, sorted(asked))}
    while True:  # a change that is refused keeps its old values, which others may want
        refused = {change.id for change in changes if change.id in violations}
        taken = {
            entry: owner for entry, owner in owners.items() if owner in refused or entry in wanted.get(owner, (entry,))
        }
        more = False
        for change in changes:
            if change.id in violations:
                continue
            for entry in wanted[change.id]:
                if taken.setdefault(entry, change.id) != change.id:
                    message = "is unique, and another record has this value"
                    violations[change.id] = (Violation(names[entry[0]], "taken", message),)
                    more = True
                    break
        if not more:
            return


def _check_references(uow: UnitOfWork, table: Table, changes: Sequence[RecordChange], violations: Violations) -> None:
    """Add a violation for each new reference to a missing record, and lock the records that are referenced."""
    for field in table.fields:
        if field.type is not FieldType.CONNECTION:
            continue
        new = {
            change.id: set(keys(field, change.values.get(field.id)))
            - set(keys(field, change.before.values.get(field.id)) if change.before is not None else ())
            for change in changes
        }
        asked = set().union(*new.values())
        if not asked:
            continue
        existing = _existing(uow, table, field, asked)
        for change in changes:
            missing = sorted(new[change.id] - existing)
            if missing:
                message = f"names {missing[0]!r}, which is no record of its table"
                violation = Violation(field.name, "no_such_record", message)
                violations[change.id] = (*violations.get(change.id, ()), violation)


def _existing(uow: UnitOfWork, table: Table, field: Field, asked: set[str]) -> set[str]:
    target = storage.find_table(uow.database, table.organisation, field.table_id or "")
    if target is None or target.external is not None:
        return set()
    return set(storage.load_records(uow, target, sorted(asked)))


# -- deletion ----------------------------------------------------------------------------------------------------------


class _Cascade:
    """Effects of a deletion by the `on_delete` of connections: records to delete, and references to clear."""

    def __init__(self, uow: UnitOfWork, organisation: int) -> None:
        self.uow = uow
        self.tables = {table.id: table for table in storage.read_tables(uow.database, organisation)}
        self.deleted: dict[str, dict[str, Record]] = {}
        self.cleared: dict[str, dict[str, list[tuple[Field, str]]]] = {}
        self.size = 0

    def delete(self, table: Table, ids: Collection[str]) -> None:
        """Add records to delete, with the effects of their deletion."""
        deleted = self.deleted.setdefault(table.id, {})
        found = storage.load_records(self.uow, table, [record_id for record_id in ids if record_id not in deleted])
        deleted |= found
        self._grow(len(found))
        for other in self.tables.values():
            for field in other.fields:
                if found and field.type is FieldType.CONNECTION and field.table_id == table.id:
                    self._follow(other, field, found)

    def _follow(self, other: Table, field: Field, found: Mapping[str, Record]) -> None:
        asked = [(field.id, record_id) for record_id in found]
        references = storage.find_entries(self.uow.database, other, asked, CASCADE_MAX + 1)
        references = [each for each in references if each[2] not in self.deleted.get(other.id, {})]
        if not references:
            return
        if field.on_delete == "restrict":
            errors = [
                {
                    "pointer": f"/tables/{other.name}/records/{owner}/{field.name}",
                    "code": "connected",
                    "message": f"it names {target}",
                }
                for _, target, owner in references[:20]
            ]
            raise RecordInUse(
                f"records of {other.name!r} connect to it in {field.name!r}, which restricts this", errors=errors
            )
        if field.on_delete == "cascade":
            self.delete(other, {owner for _, _, owner in references})
            return
        self._grow(len(references))
        for _, target, owner in references:
            self.cleared.setdefault(other.id, {}).setdefault(owner, []).append((field, target))

    def _grow(self, by: int) -> None:
        self.size += by
        if self.size > CASCADE_MAX:
            raise Conflict(
                f"this would change more than {CASCADE_MAX:,} records at once: delete the records that connect to them first"
            )

    def changes(self, table: Table) -> list[RecordChange]:
        """Return the changes that clear references in a table; raise RecordInUse for a required one."""
        cleared = self.cleared[table.id]
        deleted = self.deleted.get(table.id, {})
        changes = []
        kept = [record_id for record_id in cleared if record_id not in deleted]
        for record in storage.load_records(self.uow, table, kept).values():
            values = dict(record.values)
            for field, target in cleared[record.id]:
                left = [each for each in keys(field, values.get(field.id)) if each != target]
                if left:
                    values[field.id] = left
                elif field.required:
                    raise RecordInUse(f"{record.id} of {table.name!r} requires {field.name!r}, and would have none")
                else:
                    values.pop(field.id, None)
            changes.append(RecordChange(record.id, values, record))
        return changes


def delete(uow: UnitOfWork, table: Table, ids: Collection[str]) -> int:
    """Delete records, and apply the `on_delete` option of connections; return the number of `ids` that existed.

    Raises RecordInUse if a connection restricts it, Conflict if it would touch too many; then nothing is changed.
    """
    cascade = _Cascade(uow, table.organisation)
    cascade.delete(table, ids)
    changes = [(cascade.tables[table_id], cascade.changes(cascade.tables[table_id])) for table_id in cascade.cleared]
    for other, updates in changes:
        storage.write_records(uow, other, updates)
    for table_id, found in cascade.deleted.items():
        storage.delete_records(uow, cascade.tables[table_id], list(found.values()))
    return sum(record_id in cascade.deleted[table.id] for record_id in ids)

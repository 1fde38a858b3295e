"""Commands of the writer on the records of a table: all records of a request are changed, or none."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, TypeVar

from headway.errors import InvalidRecord, RecordNotFound, VersionMismatch
from headway.features.tables import store as storage
from headway.features.tables.changes import (
    ConstraintError,
    Violation,
    delete,
    initial_values,
    save,
    updated_values,
)
from headway.features.tables.model import Field, Record, RecordChange, Table
from headway.features.tables.rules.keys import key
from headway.features.tables.rules.values import BadValue, normal
from headway.protocol.tables import RecordPatch
from headway.protocol.values import invalid
from headway.runs.idempotency import Repeatable
from headway.store.unit_of_work import UnitOfWork

T = TypeVar("T")
Outcome = tuple[Table, list[str]]
"""The table, and the lines by which a repeated request gets the same reply."""


@dataclass
class RecordCommand(Repeatable[Outcome]):
    """Base of the changes of records of one table."""

    organisation: int
    table: str
    """Id or name."""
    given: Sequence[Any]
    """Records as the request has them."""

    def __post_init__(self) -> None:
        """Limit the transaction by the number of records."""
        self.weight = max(1, len(self.given))

    def apply(self, uow: UnitOfWork) -> Outcome:
        """Change the records; raise TableNotFound, and the errors of the change."""
        table = storage.lock_table(uow, self.organisation, self.table)
        return table, self.change(uow, table)

    @abstractmethod
    def change(self, uow: UnitOfWork, table: Table) -> list[str]:
        """Change the records, and return the lines to remember."""

    def lines(self, result: Outcome) -> list[str]:
        """Return the lines."""
        return result[1]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> Outcome:
        """Return the lines with the table as it is now."""
        return storage.lock_table(uow, self.organisation, self.table), lines


@dataclass
class InsertRecords(RecordCommand):
    """Insertion of records; the lines are their ids."""

    given: Sequence[Mapping[str, Any]]
    ids: list[str]
    """New ids, in the order of `given`."""
    zone: tzinfo

    grows = True

    def change(self, uow: UnitOfWork, table: Table) -> list[str]:
        """Insert the records; raise InvalidRecord."""
        changes = each_valid(
            self.given, lambda index, values: RecordChange(self.ids[index], initial_values(table, values, self.zone))
        )
        _save_all(uow, table, changes, self.ids)
        return self.ids


@dataclass
class UpdateRecords(RecordCommand):
    """Update of records; the lines are their ids."""

    given: Sequence[RecordPatch]
    ids: list[str]
    """Canonical ids, in the order of `given`."""
    zone: tzinfo

    def change(self, uow: UnitOfWork, table: Table) -> list[str]:
        """Update the records; raise RecordNotFound, VersionMismatch or InvalidRecord."""
        found = storage.load_records(uow, table, self.ids)
        for record_id, patch in zip(self.ids, self.given, strict=True):
            _check_version(table, found.get(record_id), record_id, patch.version)

        def updated(index: int, patch: RecordPatch) -> RecordChange:
            before = found[self.ids[index]]
            return RecordChange(before.id, updated_values(table, patch.values, before.values, self.zone), before)

        _save_all(uow, table, each_valid(self.given, updated), self.ids)
        return self.ids


@dataclass
class UpsertRecords(RecordCommand):
    """Update of the records that have the given values in a unique field, and insertion of the others.

    The lines are the ids of the records, and the number of updated ones.
    """

    given: Sequence[Mapping[str, Any]]
    ids: list[str]
    """Ids for new records, in the order of `given`."""
    by: str
    """Name or id of the unique field."""
    zone: tzinfo

    grows = True

    def change(self, uow: UnitOfWork, table: Table) -> list[str]:
        """Update and insert the records; raise InvalidInput for a field that is not unique, or InvalidRecord."""
        field = unique_field(table, self.by)
        found = find_by_keys(uow, table, field, unique_keys(field, self.given, self.zone))
        ids = [found[index].id if index in found else new_id for index, new_id in enumerate(self.ids)]

        def changed(index: int, values: Mapping[str, Any]) -> RecordChange:
            before = found.get(index)
            if before is None:
                return RecordChange(ids[index], initial_values(table, values, self.zone))
            return RecordChange(before.id, updated_values(table, values, before.values, self.zone), before)

        if len(set(ids)) < len(ids):
            repeated = next(index for index, each in enumerate(ids) if each in ids[:index])
            violation = Violation(field.name, "twice", "has a value that an earlier one of the batch has")
            raise _invalid({repeated: (violation,)})
        _save_all(uow, table, each_valid(self.given, changed), ids)
        return [*ids, str(len(found))]


@dataclass
class DeleteRecords(RecordCommand):
    """Deletion of records; the line is the number of deleted ones."""

    given: Sequence[str]
    """Canonical ids."""
    version: int | None
    """Expected version; None: any."""

    def change(self, uow: UnitOfWork, table: Table) -> list[str]:
        """Delete the records; raise RecordNotFound, VersionMismatch, RecordInUse, or Conflict for a deletion of too many."""
        found = storage.load_records(uow, table, self.given)
        for record_id in self.given:
            _check_version(table, found.get(record_id), record_id, self.version)
        return [str(delete(uow, table, self.given))]


def each_valid(given: Sequence[T], change: Callable[[int, T], RecordChange]) -> list[RecordChange]:
    """Return the change of each given record; raise InvalidRecord with the violations of all."""
    changes, violations = [], {}
    for index, values in enumerate(given):
        try:
            changes.append(change(index, values))
        except ConstraintError as error:
            violations[index] = error.violations
    if violations:
        raise _invalid(violations)
    return changes


def unique_field(table: Table, name: str) -> Field:
    """Return the unique field by which records are identified; raise InvalidInput."""
    field = table.find(name)
    if field is None or not field.unique:
        known = ", ".join(repr(each.name) for each in table.fields if each.unique) or "none"
        raise invalid("/by", f"{name[:80]!r} is not a unique field; the table has {known}")
    return field


def unique_keys(field: Field, given: Iterable[Mapping[str, Any]], zone: tzinfo) -> dict[int, str]:
    """Return the keys of the values in a unique field, by index; blanks and invalid values have none."""
    found = {}
    for index, values in enumerate(given):
        try:
            value = normal(field, values.get(field.name, values.get(field.id)), zone)
        except BadValue:
            continue  # the record is refused later
        if value is not None:
            found[index] = key(field.type, value)
    return found


def find_by_keys(uow: UnitOfWork, table: Table, field: Field, wanted: Mapping[int, str]) -> dict[int, Record]:
    """Return the existing records with the keys in a unique field, by index."""
    asked = [(field.id, text) for text in dict.fromkeys(wanted.values())]
    owners = {text: owner for _, text, owner in storage.find_entries(uow.database, table, asked)}
    found = storage.load_records(uow, table, list(owners.values()))
    return {index: found[owners[text]] for index, text in wanted.items() if text in owners}


def _save_all(uow: UnitOfWork, table: Table, changes: Iterable[RecordChange], ids: Sequence[str]) -> None:
    """Save all changes; raise InvalidRecord if one violates a constraint. Records without a change keep their version."""
    effective = [each for each in changes if each.before is None or each.before.values != each.values]
    violations = save(uow, table, effective, atomic=True)
    if violations:
        raise _invalid({index: violations[each] for index, each in enumerate(ids) if each in violations})


def _check_version(table: Table, found: Record | None, record_id: str, version: int | None) -> None:
    if found is None:
        raise RecordNotFound(f"the table {table.name!r} has no record {record_id[:80]!r}")
    if version is not None and found.version != version:
        raise VersionMismatch(f"the record {record_id} is at version {found.version}", version=found.version)


def _invalid(violations: Mapping[int, tuple[Violation, ...]]) -> InvalidRecord:
    """Return the error for records of a request, by index."""
    errors = [
        {"pointer": f"/records/{index}/values/{each.field}", "code": each.code, "message": str(each)}
        for index, own in violations.items()
        for each in own
    ]
    index, own = next(iter(violations.items()))
    return InvalidRecord(f"records.{index}: {own[0]}", errors=errors[:100])

"""The table: typed fields, and records that have a value for some of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

FieldId = str
Values = dict[FieldId, Any]
"""Field → value in its normal form. A blank has no entry."""
OnDelete = Literal["clear", "cascade", "restrict"]


class FieldType(StrEnum):
    """What a field holds, and its normal form: what JSON has of it in the store."""

    __hash__ = str.__hash__

    TEXT = "text"
    """Text; an empty one is a blank."""
    NUMBER = "number"
    """A decimal of up to 15 digits, which a double holds exactly: an int if it is whole, else a float."""
    DATE = "date"
    """A day: 2026-12-01."""
    DATE_TIME = "date_time"
    """A moment in UTC with milliseconds: 2026-12-01T02:00:00.000Z."""
    BOOLEAN = "boolean"
    """true or false."""
    CHOICE = "choice"
    """One of the field's choices, spelt as there."""
    MULTI_CHOICE = "multi_choice"
    """Some of the field's choices, in their order."""
    EMAIL = "email"
    """An address, in lower case."""
    CONNECTION = "connection"
    """The id of a record of another table; of a `multiple` one a list of them."""


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of a table."""

    id: FieldId
    """field_1, field_2 …: it never changes and is never used again, so a field can be renamed at no cost."""
    name: str
    type: FieldType
    required: bool = False
    unique: bool = False
    """No two records have the same value; blanks do not count."""
    indexed: bool = False
    """Lists may be ordered by it, and `is` finds at once. What is unique or connects is indexed anyway."""
    default: Any = None
    """What a new record has if nothing is said, in normal form."""
    choices: tuple[str, ...] = ()
    table_id: str | None = None
    """Of a connection: the table whose records it names."""
    multiple: bool = False
    on_delete: OnDelete = "clear"
    """Of a connection: what becomes of it when the record that it names is deleted."""

    @property
    def kept(self) -> bool:
        """Whether its values are in the index."""
        return self.unique or self.indexed or self.type is FieldType.CONNECTION

    @property
    def lists(self) -> bool:
        """Whether a value of it is a list."""
        return self.type is FieldType.MULTI_CHOICE or self.multiple


class External(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the rows of an external table are."""

    url: str
    """The connection URL, sealed by the vault."""
    shown: str
    """The URL without its password, for people."""
    relation: str
    """The table or view there."""
    namespace: str | None = None
    """The schema that it is in, if that is not the database's default."""
    key: tuple[str, ...] = ()
    """The columns of its primary key."""
    columns: dict[FieldId, str] = {}
    """The column of each field."""
    left_out: dict[str, str] = {}
    """The columns that are no fields, and why."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Fields and where the records are."""

    number: int
    """What its rows are stored under; never shown."""
    id: str
    organisation: int
    name: str
    description: str = ""
    fields: tuple[Field, ...] = ()
    next_field: int = 1
    external: External | None = None
    count: int = 0
    """How many records there are; kept by the transactions that change it. Of an external table nobody knows."""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0

    def find(self, name: str) -> Field | None:
        """Return the field of that id or that name."""
        for field in self.fields:
            if field.id == name:
                return field
        return next((field for field in self.fields if field.name == name), None)


class Invalid(msgspec.Struct, frozen=True):
    """A cell of an external row whose content is no value of its field."""

    content: Any
    """The content: a number, or a text."""
    message: str
    """Why it is none, such as: is 'abc'; it takes a number."""


class Record(msgspec.Struct, frozen=True):
    """One line of a table."""

    id: str
    version: int
    values: Values
    created_at: int | None
    """Milliseconds UTC; an external row does not say."""
    updated_at: int | None
    damaged: bool = False
    """Whether its values were damaged on disk; `values` is empty then."""
    invalid: dict[FieldId, Invalid] | None = None
    """Of an external row: the cells that `values` does not have since they hold no value of their field."""

    def shown(self, field: FieldId) -> Any:
        """Return the value of a field, or what its cell holds instead."""
        found = None if self.invalid is None else self.invalid.get(field)
        return self.values.get(field) if found is None else found.content


class RecordChange(msgspec.Struct, frozen=True):
    """What becomes of a record: its values as they were, and as they shall be."""

    before: Record
    values: Values

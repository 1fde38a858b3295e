"""Structs of tables, typed fields, records and files."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

FieldId = str
Values = dict[FieldId, Any]
"""Values by field id, in normal form. A blank has no entry."""
OnDelete = Literal["clear", "cascade", "restrict"]


class FieldType(StrEnum):
    """Type of a field, and the normal form of its values: their JSON in the store."""

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
    """The id of a record of another table; of a `multiple` field a list of ids."""


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of a table."""

    id: FieldId
    """Permanent id, never reused: field_1, field_2 …; so renaming a field changes no record."""
    name: str
    type: FieldType
    required: bool = False
    unique: bool = False
    """Whether values are unique; blanks do not count."""
    indexed: bool = False
    """Whether lists can be ordered by it, and `is` uses an index. Unique fields and connections are always indexed."""
    default: Any = None
    """Value of a new record without one, in normal form."""
    choices: tuple[str, ...] = ()
    table_id: str | None = None
    """Target table of a connection."""
    multiple: bool = False
    on_delete: OnDelete = "clear"
    """Policy of a connection for deletion of a target record."""

    @property
    def has_index(self) -> bool:
        """Whether the index of values has its values."""
        return self.unique or self.indexed or self.type is FieldType.CONNECTION

    @property
    def is_list(self) -> bool:
        """Whether a value is a list."""
        return self.type is FieldType.MULTI_CHOICE or self.multiple


class External(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Location of the rows of an external table."""

    url: str
    """The connection URL, sealed by the vault."""
    shown: str
    """The URL without its password, for people."""
    relation: str
    """Name of the table or view."""
    namespace: str | None = None
    """Schema of the relation; None: the database's default."""
    key: tuple[str, ...] = ()
    """Columns of the primary key."""
    columns: dict[FieldId, str] = {}
    """Column of each field."""
    left_out: dict[str, str] = {}
    """Columns without a field, with the reason."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Fields, and the location of the records."""

    number: int
    """Internal number of the stored rows."""
    id: str
    organisation: int
    name: str
    description: str = ""
    fields: tuple[Field, ...] = ()
    next_field: int = 1
    external: External | None = None
    count: int = 0
    """Number of records, maintained by the transactions that change it; unknown for an external table."""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0

    def find(self, name: str) -> Field | None:
        """Return the field with that id or name."""
        for field in self.fields:
            if field.id == name:
                return field
        return next((field for field in self.fields if field.name == name), None)


class Invalid(msgspec.Struct, frozen=True):
    """A cell of an external row whose content is no value of its field."""

    content: Any
    """The content: a number, or a text."""
    message: str
    """Explanation, such as: is 'abc'; it takes a number."""


class Record(msgspec.Struct, frozen=True):
    """One record of a table."""

    id: str
    version: int
    values: Values
    created_at: int | None
    """Milliseconds UTC; None for an external row."""
    updated_at: int | None
    damaged: bool = False
    """Whether the stored values are unreadable; `values` is empty then."""
    invalid: dict[FieldId, Invalid] | None = None
    """Cells of an external row whose content is no value of their field; `values` lacks them."""

    def shown(self, field: FieldId) -> Any:
        """Return the value of a field, or the content of its invalid cell."""
        found = None if self.invalid is None else self.invalid.get(field)
        return self.values.get(field) if found is None else found.content


class RecordChange(msgspec.Struct, frozen=True):
    """New values of a record."""

    id: str
    values: Values
    """All values, in normal form."""
    before: Record | None = None
    """The record as it was loaded in the same transaction; None for a new record."""


class StoredFile(msgspec.Struct, frozen=True):
    """A file in the store; fields are in the order of the table's columns."""

    id: str
    organisation: int
    name: str
    kind: str
    """Media type."""
    run_id: str | None
    """Run that wrote the file."""
    bytes: int
    chunks: int
    sha256: str | None
    """Digest; None while the file is written."""
    created_at: int
    expires_at: int

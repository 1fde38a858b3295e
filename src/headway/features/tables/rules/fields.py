"""Rules of fields: valid combinations of options, and conversion of values when a field's type changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any, Final

from msgspec.structs import replace

from headway.features.tables.model import Field, FieldType
from headway.features.tables.rules.values import BadValue, normal

FIELDS_MAX: Final = 200
CHOICES_MAX: Final = 500
NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_ID: Final = re.compile(r"field_\d+")
_UUID: Final = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_CHOSEN: Final = frozenset({FieldType.CHOICE, FieldType.MULTI_CHOICE})


class BadField(ValueError):
    """An option of the field is invalid; `member` names it."""

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.member, self.message = member, message


def checked(field: Field, others: Sequence[Field], zone: tzinfo = UTC) -> Field:
    """Return the field with its default in normal form; raise BadField for invalid combinations."""
    if NAME.fullmatch(field.name) is None or field.name != field.name.strip():
        raise BadField("name", "a name has 1 to 100 characters, none of them invisible, and no spaces around it")
    if _ID.fullmatch(field.name) and field.name != field.id:
        raise BadField("name", "names such as field_7 are ids")
    if any(other.name.casefold() == field.name.casefold() for other in others if other.id != field.id):
        raise BadField("name", f"the table has a field {field.name!r}")
    _check_choices(field)
    _check_connection(field)
    if field.unique and (field.is_list or field.type is FieldType.BOOLEAN):
        raise BadField("unique", f"a {'list' if field.is_list else 'boolean'} cannot be unique")
    if field.default is None:
        return field
    if field.unique or field.type is FieldType.CONNECTION:
        raise BadField("default", f"a {'unique field' if field.unique else 'connection'} has no default")
    try:
        return replace(field, default=normal(field, field.default, zone))
    except BadValue as error:
        raise BadField("default", f"the default {error}") from None


def _check_choices(field: Field) -> None:
    if field.type not in _CHOSEN:
        if field.choices:
            raise BadField("choices", f"a {field.type} field has no choices")
        return
    if not 1 <= len(field.choices) <= CHOICES_MAX:
        raise BadField("choices", f"there are 1 to {CHOICES_MAX} choices")
    for choice in field.choices:
        if NAME.fullmatch(choice) is None or choice != choice.strip():
            raise BadField(
                "choices", "a choice has 1 to 100 characters, none of them invisible, and no spaces around it"
            )
        if ";" in choice:
            raise BadField("choices", "a choice has no semicolon: that stands between two of them in files")
    if len({choice.casefold() for choice in field.choices}) < len(field.choices):
        raise BadField("choices", "two choices are the same")


def _check_connection(field: Field) -> None:
    if field.type is FieldType.CONNECTION:
        if field.table_id is None:
            raise BadField("table", "a connection says which table it is to")
        return
    for member, given in (
        ("table", field.table_id),
        ("multiple", field.multiple),
        ("on_delete", field.on_delete != "clear"),
    ):
        if given:
            raise BadField(member, f"a {field.type} field has none: only connections do")


def is_table_name(name: str) -> bool:
    """Whether a text can be a table's name; a text that looks like an id cannot."""
    return NAME.fullmatch(name) is not None and name == name.strip() and _UUID.fullmatch(name) is None


def converted(before: Field, after: Field, value: Any, zone: tzinfo = UTC) -> Any:
    """Return a value after a change of its field; raise BadValue if it cannot be kept."""
    if value is None or (before.type is after.type and before.choices == after.choices):
        return value
    if before.is_list and not after.is_list:
        value = "; ".join(value)
    elif isinstance(value, bool):
        value = "true" if value else "false"
    elif not before.is_list and after.is_list:
        value = [value]
    return normal(after, value, zone)

"""Handlers for data tables and records, in Tadabase's terms: fields and records are named by their ids (`field_1`)."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Final, TypeVar

from headway.compat.tadabase import fields, words
from headway.errors import BadParameter, InvalidRecord
from headway.features.tables.definitions import Tables
from headway.features.tables.model import Field, FieldType, Record, Table
from headway.features.tables.records import Records
from headway.features.tables.rules.conditions import EVERY, Condition
from headway.protocol.tables import RecordPatch
from headway.web.call import Call
from headway.web.reply import Reply, json

T = TypeVar("T")

LIMIT: Final = 25
LIMIT_MAX: Final = 100
PAGE_MAX: Final = 10_000
"""Largest page number; a page costs as much as all pages before it."""
NO_VALUE: Final = frozenset({"is_blank", "is_not_blank"})
_VALUES: Final = "/records/0/values/"
"""Pointer to the values of the record in errors of the service."""


async def list_tables(call: Call) -> Reply:
    """GET /api/v1/data-tables: list all data tables."""
    found = await call.services.get(Tables).list()
    shown = [words.DataTable(id=table.id, name=table.name) for table in found]
    return json(words.DataTables(data_tables=shown, total_items=len(shown)))


async def list_fields(call: Call) -> Reply:
    """GET /api/v1/data-tables/{table}/fields: list the fields of a table.

    Errors: `table_not_found`.
    """
    table = await call.services.get(Tables).get(call.arguments["table"])
    shown = [words.FieldItem(slug=field.id, name=field.name, type=str(field.type)) for field in table.fields]
    return json(words.FieldList(fields=shown, total_items=len(shown)))


async def full_fields(call: Call) -> Reply:
    """GET /api/v1/data-tables/{table}/full-fields-info: list the fields of a table with all their options.

    Errors: `table_not_found`.
    """
    table = await call.services.get(Tables).get(call.arguments["table"])
    shown = [
        words.FullFieldItem(
            slug=field.id,
            name=field.name,
            type=str(field.type),
            required=field.required,
            unique=field.unique,
            choices=list(field.choices),
            default=field.default,
            connected_table=field.table_id,
            multiple=field.multiple,
        )
        for field in table.fields
    ]
    return json(words.FullFieldList(fields=shown, total_items=len(shown)))


# -- looking -----------------------------------------------------------------------------------------------------------


async def list_records(call: Call) -> Reply:
    """GET /api/v1/data-tables/{table}/records: list records, oldest first.

    Errors: `table_not_found`, `invalid_input`.
    """
    table = await call.services.get(Tables).get(call.arguments["table"])
    asked = fields.query(call)
    limit, page = fields.number(asked, "limit", LIMIT, LIMIT_MAX), fields.number(asked, "page", 1, PAGE_MAX)
    condition = _condition(call, table, asked.get("filters"))
    records = call.services.get(Records)
    found = await records.at(table, condition, (page - 1) * limit, limit)
    total = await records.count(table, condition)
    shown = [_shown(table, record, call.services.zone) for record in found]
    return json(
        words.Items(
            items=shown, total_items=total, limit=limit, page=page, total_pages=-(-total // limit) if total else 0
        )
    )


async def get_record(call: Call) -> Reply:
    """GET /api/v1/data-tables/{table}/records/{record}: get a record.

    Errors: `table_not_found`, `record_not_found`.
    """
    table, record = await call.services.get(Records).get(call.arguments["table"], call.arguments["record"])
    return json(words.Item(item=_shown(table, record, call.services.zone)))


def _condition(call: Call, table: Table, filters: Any) -> Condition:
    """Return the condition of `filters[condition]` and `filters[items][…]`; raise BadParameter or InvalidInput."""
    if filters is None:
        return EVERY
    if not isinstance(filters, dict) or not isinstance(items := filters.get("items", []), list):
        raise BadParameter("filters need a condition and items: filters[items][0][field_id]=…", parameter="filters")
    joined = str(filters.get("condition", "AND")).lower()
    if joined not in ("and", "or"):
        raise BadParameter("filters[condition] must be AND or OR", parameter="filters[condition]")
    terms = [_term(item, index) for index, item in enumerate(items)]
    return call.services.get(Records).condition(table, {joined: terms} if terms else None, "/filters")


def _term(item: Any, index: int) -> dict[str, Any]:
    name = f"filters[items][{index}]"
    if not isinstance(item, dict) or not item.keys() <= {"field_id", "operator", "val"} or "field_id" not in item:
        raise BadParameter(f"{name} needs a field_id, an operator and a val", parameter=name)
    operator = str(item.get("operator", "is")).strip().lower().replace(" ", "_")
    value = {} if operator in NO_VALUE else {"value": item.get("val", "")}
    return {"field": item["field_id"], "operator": operator, **value}


def _shown(table: Table, record: Record, zone: str) -> dict[str, Any]:
    invalid = record.invalid or {}
    return {
        "id": record.id,
        **{
            field.id: invalid[field.id].content
            if field.id in invalid
            else _value(field, record.values.get(field.id), zone)
            for field in table.fields
        },
    }


def _value(field: Field, value: Any, zone: str) -> Any:
    if field.type is FieldType.DATE_TIME and isinstance(value, str):
        return words.wall_time(round(datetime.fromisoformat(value).timestamp() * 1000), zone)
    return value


# -- changing ----------------------------------------------------------------------------------------------------------


async def create_record(call: Call) -> Reply:
    """POST /api/v1/data-tables/{table}/records: add a record.

    Errors: `table_not_found`, `malformed_json`, `invalid_record`, `payload_too_large`, `unsupported_media_type`.
    """
    given = fields.body(call).values
    made = await _by_slug(call, call.services.get(Records).insert(call.arguments["table"], [given], call.request_key()))
    return json(words.RecordReply(msg="Record created successfully", recordId=made.records[0].id))


async def update_record(call: Call) -> Reply:
    """POST or PUT /api/v1/data-tables/{table}/records/{record}: change the named fields of a record.

    Errors: `table_not_found`, `record_not_found`, `malformed_json`, `invalid_record`, `payload_too_large`,
    `unsupported_media_type`.
    """
    patch = RecordPatch(id=call.arguments["record"], values=fields.body(call).values)
    done = await _by_slug(call, call.services.get(Records).update(call.arguments["table"], [patch], call.request_key()))
    return json(words.RecordReply(msg="Record updated successfully", recordId=done.records[0].id))


async def delete_record(call: Call) -> Reply:
    """DELETE /api/v1/data-tables/{table}/records/{record}: delete a record.

    Errors: `table_not_found`, `record_not_found`, `record_in_use`.
    """
    await call.services.get(Records).delete(
        call.arguments["table"], [call.arguments["record"]], None, call.request_key()
    )
    return json(words.Acknowledgement(msg="Record deleted successfully"))


async def _by_slug(call: Call, change: Awaitable[T]) -> T:
    """Return the result of a change; raise InvalidRecord with the slugs of fields, by which the clients know them."""
    try:
        return await change
    except InvalidRecord as error:
        table = await call.services.get(Tables).get(call.arguments["table"])
        said = [{**each, "pointer": _slugged(table, str(each["pointer"]))} for each in error.errors]
        raise InvalidRecord(error.detail, errors=said) from None


def _slugged(table: Table, pointer: str) -> str:
    field = table.find(pointer.removeprefix(_VALUES)) if pointer.startswith(_VALUES) else None
    return pointer if field is None else _VALUES + field.id

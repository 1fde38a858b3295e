"""Handlers for tables and their records, and their routes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from headway.errors import BadCursor, BadParameter, RecordNotFound
from headway.features.tables.definitions import Tables
from headway.features.tables.model import Field, Invalid, Record, Table
from headway.features.tables.records import Batch, Records
from headway.features.tables.rules.conditions import OPERATORS
from headway.protocol import tables as wire
from headway.protocol.runs import Strict
from headway.protocol.times import to_text, to_text_or_none
from headway.runs.idempotency import RequestKey
from headway.web.call import Call, etag
from headway.web.paging import next_link
from headway.web.parameters import PAGE_MAX
from headway.web.queries import PageSize
from headway.web.reply import NO_CONTENT, Reply, json
from headway.web.route import Route, route

REPLAYED: Final = (b"idempotency-replayed", b"true")
PURPOSE: Final = "records"
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder().decode


class ListRecords(Strict, kw_only=True, frozen=True):
    """GET /v1/tables/{table}/records."""

    filter: str = ""
    """A condition, as JSON."""
    order_by: str = ""
    """`created_at`, or the name of an indexed field; with ` desc` from its end. Blanks come last."""
    page_size: PageSize = 50
    page_token: str = ""


# -- answers ------------------------------------------------------------------------------------------------------------


def field_out(field: Field) -> wire.FieldOut:
    """Return a field as the API shows it."""
    return wire.FieldOut(
        id=field.id,
        name=field.name,
        type=str(field.type),
        required=field.required,
        unique=field.unique,
        indexed=field.has_index,
        default=field.default,
        choices=list(field.choices),
        table_id=field.table_id,
        multiple=field.multiple,
        on_delete=field.on_delete,
        operators=list(OPERATORS[field.type]),
    )


def table_out(table: Table) -> wire.TableOut:
    """Return a table as the API shows it."""
    external = table.external
    return wire.TableOut(
        id=table.id,
        name=table.name,
        description=table.description,
        fields=[field_out(field) for field in table.fields],
        records=table.count if external is None else None,
        external=None
        if external is None
        else wire.ExternalOut(
            url=external.shown,
            relation=external.relation,
            namespace=external.namespace,
            key=list(external.key),
            left_out=external.left_out,
        ),
        version=table.version,
        created_at=to_text(table.created_at),
        updated_at=to_text(table.updated_at),
        url=f"/v1/tables/{table.id}",
    )


def record_out(table: Table, record: Record) -> wire.RecordOut:
    """Return a record as the API shows it."""
    return wire.RecordOut(
        id=record.id,
        values={field.name: record.shown(field.id) for field in table.fields},
        version=record.version,
        created_at=to_text_or_none(record.created_at),
        updated_at=to_text_or_none(record.updated_at),
        damaged=record.damaged or UNSET,
        invalid=UNSET if record.invalid is None else _invalid(table, record.invalid),
    )


def _invalid(table: Table, found: dict[str, Invalid]) -> dict[str, str]:
    return {field.name: found[field.id].message for field in table.fields if field.id in found}


def _batch(batch: Batch, request: RequestKey | None, status: int = 200) -> Reply:
    shown = [record_out(batch.table, record) for record in batch.records]
    out = wire.RecordsOut(data=shown, created=batch.created, updated=batch.updated)
    return json(out, status, *_replayed(request))


def _one(table: Table, record: Record, status: int = 200, *headers: tuple[bytes, bytes]) -> Reply:
    return json(record_out(table, record), status, etag(record.version), *headers)


def _replayed(request: RequestKey | None) -> tuple[tuple[bytes, bytes], ...]:
    return (REPLAYED,) if request is not None and request.replayed else ()


def _table(table: Table, status: int = 200, *headers: tuple[bytes, bytes]) -> Reply:
    return json(table_out(table), status, etag(table.version), *headers)


# -- tables --------------------------------------------------------------------------------------------------------------


async def list_tables(call: Call) -> Reply:
    """GET /v1/tables: list tables."""
    return json(wire.TableList(data=[table_out(table) for table in await call.services.get(Tables).list()]))


async def create(call: Call) -> Reply:
    """POST /v1/tables: make a table.

    Errors: `conflict`, `idempotency_key_reused`, `external_refused`, `external_failed`.
    """
    request = call.request_key()
    table = await call.services.get(Tables).create(call.asked(wire.CreateTable), request)
    return _table(table, 201, (b"location", f"/v1/tables/{table.id}".encode()), *_replayed(request))


async def get(call: Call) -> Reply:
    """GET /v1/tables/{table}: get a table.

    Errors: `table_not_found`.
    """
    return _table(await call.services.get(Tables).get(call.arguments["table"]))


async def patch(call: Call) -> Reply:
    """PATCH /v1/tables/{table}: rename or describe a table.

    Errors: `table_not_found`, `conflict`, `version_mismatch`.
    """
    spec = call.asked(wire.PatchTable)
    return _table(await call.services.get(Tables).patch(call.arguments["table"], spec, call.expected_version()))


async def delete(call: Call) -> Reply:
    """DELETE /v1/tables/{table}: remove a table and its records.

    Errors: `table_not_found`, `table_in_use`, `version_mismatch`.
    """
    await call.services.get(Tables).delete(call.arguments["table"], call.expected_version())
    return NO_CONTENT


async def refresh(call: Call) -> Reply:
    """POST /v1/tables/{table}:refresh: read the fields of an external table again.

    Errors: `table_not_found`, `table_in_use`, `version_mismatch`, `external_refused`, `external_failed`.
    """
    return _table(await call.services.get(Tables).refresh(call.arguments["table"]))


async def list_fields(call: Call) -> Reply:
    """GET /v1/tables/{table}/fields: list the fields of a table.

    Errors: `table_not_found`.
    """
    table = await call.services.get(Tables).get(call.arguments["table"])
    return json(wire.FieldList(data=[field_out(field) for field in table.fields]), 200, etag(table.version))


async def add_field(call: Call) -> Reply:
    """POST /v1/tables/{table}/fields: add a field.

    Errors: `table_not_found`, `table_in_use`, `version_mismatch`.
    """
    spec = call.asked(wire.FieldSpec)
    table, field = await call.services.get(Tables).add_field(call.arguments["table"], spec, call.expected_version())
    return json(field_out(field), 201, etag(table.version))


async def patch_field(call: Call) -> Reply:
    """PATCH /v1/tables/{table}/fields/{field}: change a field, if its records fit.

    Errors: `table_not_found`, `field_not_found`, `table_in_use`, `version_mismatch`.
    """
    spec, names = call.asked(wire.PatchField), call.arguments
    if spec != wire.PatchField(name=spec.name, default=spec.default, on_delete=spec.on_delete):
        call.check("convert records", "see records")
    table, field = await call.services.get(Tables).patch_field(
        names["table"], names["field"], spec, call.expected_version()
    )
    return json(field_out(field), 200, etag(table.version))


async def delete_field(call: Call) -> Reply:
    """DELETE /v1/tables/{table}/fields/{field}: remove a field.

    Errors: `table_not_found`, `field_not_found`, `table_in_use`, `version_mismatch`.
    """
    await call.services.get(Tables).delete_field(
        call.arguments["table"], call.arguments["field"], call.expected_version()
    )
    return NO_CONTENT


# -- records -------------------------------------------------------------------------------------------------------------


async def list_records(call: Call) -> Reply:
    """GET /v1/tables/{table}/records: list records, oldest first.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `bad_cursor`, `invalid_input`,
    `query_too_costly`.
    """
    asked = call.parameters(ListRecords)
    try:
        given = _decode(asked.filter) if asked.filter else None
    except msgspec.DecodeError as error:
        raise BadParameter(f"filter must be a condition as JSON: {error}", parameter="filter") from None
    said = wire.QueryRecords(
        filter=given, order_by=asked.order_by, page_size=asked.page_size, page_token=asked.page_token
    )
    return await _page(call, said)


async def query(call: Call) -> Reply:
    """POST /v1/tables/{table}/records:query: list records, with the filter in the body.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `bad_cursor`, `query_too_costly`, `damaged`.
    """
    return await _page(call, call.asked(wire.QueryRecords))


async def _page(call: Call, asked: wire.QueryRecords) -> Reply:
    table = await call.services.get(Tables).get(call.arguments["table"])
    condition = call.services.get(Records).condition(table, asked.filter)
    mark = _fingerprint(table, asked)
    after = _opened(call, asked.page_token, mark) if asked.page_token else ""
    size = min(asked.page_size, PAGE_MAX)
    found, after = await call.services.get(Records).page(table, condition, after, size, asked.order_by)
    token = call.services.cursors.conceal(PURPOSE, f"{mark} {after}") if after else ""
    shown = [record_out(table, record) for record in found]
    link = (next_link(call.path, call.raw_query, token),) if token and call.method == "GET" else ()
    return json(wire.RecordList(data=shown, next_page_token=token, has_more=bool(token)), 200, *link)


def _fingerprint(table: Table, asked: wire.QueryRecords) -> str:
    kept = _encode([table.id, asked.filter, asked.order_by])
    return hashlib.blake2b(kept, digest_size=12).hexdigest()


def _opened(call: Call, token: str, mark: str) -> str:
    text = call.services.cursors.reveal(PURPOSE, token) if token.isascii() else None
    if text is None:
        raise BadCursor("the page_token was not made by this server")
    known, _, after = text.partition(" ")
    if known != mark:
        raise BadCursor("the page_token was made for another list")
    return after


async def count(call: Call) -> Reply:
    """POST /v1/tables/{table}/records:count: count records.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `query_too_costly`.
    """
    table = await call.services.get(Tables).get(call.arguments["table"])
    condition = call.services.get(Records).condition(table, call.asked(wire.CountRecords).filter)
    return json(wire.RecordCount(count=await call.services.get(Records).count(table, condition)))


async def get_record(call: Call) -> Reply:
    """GET /v1/tables/{table}/records/{record}: get a record.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `record_not_found`.
    """
    return _one(*await call.services.get(Records).get(call.arguments["table"], call.arguments["record"]))


async def insert(call: Call) -> Reply:
    """POST /v1/tables/{table}/records: add a record.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `idempotency_key_reused`, `invalid_record`,
    `storage_full`, `overloaded`.
    """
    request = call.request_key()
    given: Sequence[dict[str, Any]] = [call.asked(wire.NewRecord).values]
    batch = await call.services.get(Records).insert(call.arguments["table"], given, request)
    (record,) = batch.records
    place = f"/v1/tables/{batch.table.id}/records/{record.id}".encode()
    return _one(batch.table, record, 201, (b"location", place), *_replayed(request))


async def insert_batch(call: Call) -> Reply:
    """POST /v1/tables/{table}/records:batch: add up to 1,000 records, or none.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `idempotency_key_reused`, `invalid_record`,
    `storage_full`, `overloaded`.
    """
    request = call.request_key()
    given = call.asked(wire.NewRecords).records
    return _batch(await call.services.get(Records).insert(call.arguments["table"], given, request), request, 201)


async def patch_record(call: Call) -> Reply:
    """PATCH /v1/tables/{table}/records/{record}: change a record.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `idempotency_key_reused`, `invalid_record`,
    `storage_full`, `overloaded`, `record_not_found`, `version_mismatch`.
    """
    request = call.request_key()
    asked = call.asked(wire.PatchRecord)
    change = wire.RecordPatch(id=call.arguments["record"], values=asked.values, version=call.expected_version())
    batch = await call.services.get(Records).update(call.arguments["table"], [change], request)
    if not batch.records:  # it was changed by an earlier request of that key, and is gone by now
        raise RecordNotFound(f"there is no record {change.id[:80]!r}")
    return _one(batch.table, batch.records[0], 200, *_replayed(request))


async def update_batch(call: Call) -> Reply:
    """POST /v1/tables/{table}/records:update: change up to 1,000 records, or none.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `idempotency_key_reused`, `invalid_record`,
    `storage_full`, `overloaded`, `record_not_found`, `version_mismatch`.
    """
    request = call.request_key()
    asked = call.asked(wire.PatchRecords)
    return _batch(await call.services.get(Records).update(call.arguments["table"], asked.records, request), request)


async def upsert(call: Call) -> Reply:
    """POST /v1/tables/{table}/records:upsert: change records by a unique field, or add them.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `idempotency_key_reused`, `invalid_record`,
    `storage_full`, `overloaded`.
    """
    request = call.request_key()
    asked = call.asked(wire.UpsertRecords)
    return _batch(
        await call.services.get(Records).upsert(call.arguments["table"], asked.by, asked.records, request), request
    )


async def delete_record(call: Call) -> Reply:
    """DELETE /v1/tables/{table}/records/{record}: delete a record.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `record_not_found`, `record_in_use`,
    `conflict`, `version_mismatch`.
    """
    await call.services.get(Records).delete(
        call.arguments["table"], [call.arguments["record"]], call.expected_version()
    )
    return NO_CONTENT


async def delete_batch(call: Call) -> Reply:
    """POST /v1/tables/{table}/records:delete: delete up to 1,000 records, or none.

    Errors: `table_not_found`, `external_refused`, `external_failed`, `record_not_found`, `record_in_use`,
    `conflict`, `idempotency_key_reused`.
    """
    request = call.request_key()
    ids = call.asked(wire.DeleteRecords).ids
    deleted = await call.services.get(Records).delete(call.arguments["table"], ids, request=request)
    return json(wire.DeletedOut(deleted=deleted), 200, *_replayed(request))


_KEYED: Final = ("Idempotency-Key",)
_MATCH: Final = ("If-Match",)
_TABLE: Final = ("table_not_found",)
_FIELD: Final = (*_TABLE, "field_not_found", "table_in_use", "version_mismatch")
_FAR: Final = ("external_refused", "external_failed")
_BATCH: Final = (*_TABLE, *_FAR, "idempotency_key_reused", "invalid_record", "storage_full", "overloaded")
_CHANGE: Final = (*_BATCH, "record_not_found", "version_mismatch")

ROUTES: Final[tuple[Route, ...]] = (
    route("GET", "/v1/tables", list_tables, "table:read", "List tables.", gives=wire.TableList),
    route("POST", "/v1/tables", create, "table:write", "Make a table.",
          takes=wire.CreateTable, gives=wire.TableOut, status=201, headers=_KEYED,
          problems=("conflict", "idempotency_key_reused", "external_refused", "external_failed")),
    route("GET", "/v1/tables/{table}", get, "table:read", "Get a table.", gives=wire.TableOut, problems=_TABLE),
    route("PATCH", "/v1/tables/{table}", patch, "table:write", "Rename or describe a table.",
          takes=wire.PatchTable, gives=wire.TableOut, problems=(*_TABLE, "conflict", "version_mismatch"), headers=_MATCH),
    route("DELETE", "/v1/tables/{table}", delete, "table:write", "Remove a table and its records.", does=("remove records",),
          status=204, problems=(*_TABLE, "table_in_use", "version_mismatch"), headers=_MATCH,
          logged="table.delete"),
    route("POST", "/v1/tables/{table}:refresh", refresh, "table:write", "Read the fields of an external table again.",
          gives=wire.TableOut, problems=(*_TABLE, "table_in_use", "version_mismatch", "external_refused", "external_failed")),
    route("GET", "/v1/tables/{table}/fields", list_fields, "table:read", "List the fields of a table.",
          gives=wire.FieldList, problems=_TABLE),
    route("POST", "/v1/tables/{table}/fields", add_field, "table:write", "Add a field.",
          takes=wire.FieldSpec, gives=wire.FieldOut, status=201, headers=_MATCH,
          problems=(*_TABLE, "table_in_use", "version_mismatch")),
    route("PATCH", "/v1/tables/{table}/fields/{field}", patch_field, "table:write", "Change a field, if its records fit.",
          takes=wire.PatchField, gives=wire.FieldOut, problems=_FIELD, headers=_MATCH),
    route("DELETE", "/v1/tables/{table}/fields/{field}", delete_field, "table:write", "Remove a field.", does=("remove records",),
          status=204, problems=_FIELD, headers=_MATCH),
    route("GET", "/v1/tables/{table}/records", list_records, "record:read", "List records, oldest first.", gives_way=True,
          query=ListRecords, gives=wire.RecordList, problems=(*_TABLE, *_FAR, "bad_cursor", "invalid_input", "query_too_costly")),
    route("POST", "/v1/tables/{table}/records", insert, "record:write", "Add a record.",
          takes=wire.NewRecord, gives=wire.RecordOut, status=201, problems=_BATCH, headers=_KEYED),
    route("POST", "/v1/tables/{table}/records:batch", insert_batch, "record:write", "Add up to 1,000 records, or none.",
          takes=wire.NewRecords, gives=wire.RecordsOut, status=201, problems=_BATCH, headers=_KEYED),
    route("POST", "/v1/tables/{table}/records:query", query, "record:read", "List records, with the filter in the body.", gives_way=True,
          takes=wire.QueryRecords, gives=wire.RecordList, problems=(*_TABLE, *_FAR, "bad_cursor", "query_too_costly", "damaged")),
    route("POST", "/v1/tables/{table}/records:count", count, "record:read", "Count records.",
          takes=wire.CountRecords, optional=True, gives=wire.RecordCount, problems=(*_TABLE, *_FAR, "query_too_costly")),
    route("POST", "/v1/tables/{table}/records:update", update_batch, "record:write", "Change up to 1,000 records, or none.",
          takes=wire.PatchRecords, gives=wire.RecordsOut, problems=_CHANGE, headers=_KEYED),
    route("POST", "/v1/tables/{table}/records:upsert", upsert, "record:write", "Change records by a unique field, or add them.",
          takes=wire.UpsertRecords, gives=wire.RecordsOut, problems=_BATCH, headers=_KEYED),
    route("POST", "/v1/tables/{table}/records:delete", delete_batch, "record:write", "Delete up to 1,000 records, or none.",
          takes=wire.DeleteRecords, gives=wire.DeletedOut, headers=_KEYED,
          problems=(*_TABLE, *_FAR, "record_not_found", "record_in_use", "conflict", "idempotency_key_reused")),
    route("GET", "/v1/tables/{table}/records/{record}", get_record, "record:read", "Get a record.",
          gives=wire.RecordOut, problems=(*_TABLE, *_FAR, "record_not_found")),
    route("PATCH", "/v1/tables/{table}/records/{record}", patch_record, "record:write", "Change a record.",
          takes=wire.PatchRecord, gives=wire.RecordOut, problems=_CHANGE, headers=(*_MATCH, *_KEYED)),
    route("DELETE", "/v1/tables/{table}/records/{record}", delete_record, "record:write", "Delete a record.",
          status=204, headers=_MATCH,
          problems=(*_TABLE, *_FAR, "record_not_found", "record_in_use", "conflict", "version_mismatch")),
)  # fmt: skip
"""Routes of tables, fields and records."""

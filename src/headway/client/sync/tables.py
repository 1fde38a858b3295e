# Generated from client/aio/tables.py by tools/unasync.py: change that, not this.
"""Tables, their records, and files of records (`client.tables`)."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headway.client import encoding
from headway.client.sync.caller import Caller, decode
from headway.client.sync.handle import RunHandle
from headway.protocol.runs import RunOut
from headway.protocol.tables import (
    DeletedOut,
    FieldOut,
    FileOut,
    RecordCount,
    RecordList,
    RecordOut,
    RecordsOut,
    TableList,
    TableOut,
)

PAGE_SIZE = 200
UPLOAD_S = 600.0


class Tables:
    """Tables of typed fields, and their records.

        client.tables.create("customers", [{"name": "Name"}, {"name": "Age", "type": "number"}])
        client.tables.insert("customers", {"Name": "Ann", "Age": 41})
        for record in client.tables.records("customers", {"field": "Age", "operator": ">", "value": 40}):
            print(record.values["Name"])

    A table or a field is given by its id or its name. Operations on records of an external table can raise
    `external_refused` if its database refuses them, and `external_failed` if it does not answer.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> builtins.list[TableOut]:
        """Return all tables, by name."""
        return (self._caller.get("/v1/tables", TableList)).data

    def get(self, table: str) -> TableOut:
        """Return a table with its fields.

        Raises `table_not_found`.
        """
        return self._caller.get(encoding.path("tables", table), TableOut)

    def create(
        self,
        name: str,
        fields: Iterable[Mapping[str, Any]] = (),
        *,
        description: str = "",
        external: Mapping[str, str] | None = None,
    ) -> TableOut:
        """Make a table; `external` is `{"url": …, "relation": …}` for rows in a database of your own.

        `fields` are dicts with `name`, `type` (default "text") and further options of the API. Raises `conflict`,
        `external_refused` or `external_failed`.
        """
        body = {"name": name, "description": description, "fields": builtins.list(fields)}
        return self._caller.post("/v1/tables", body | ({"external": external} if external else {}), TableOut)

    def update(self, table: str, **changes: str) -> TableOut:
        """Change a table's `name` or `description`.

        Raises `table_not_found`, `conflict` or `version_mismatch`.
        """
        return self._caller.patch(encoding.path("tables", table), changes, TableOut)

    def delete(self, table: str) -> None:
        """Remove a table and its records.

        Raises `table_in_use` if a field of another table connects to it, `table_not_found` or `version_mismatch`.
        """
        self._caller.delete(encoding.path("tables", table))

    def add_field(self, table: str, name: str, type: str = "text", **options: Any) -> FieldOut:  # noqa: A002
        """Add a field; `options` are further members of the API's field.

        Raises `table_not_found`, `table_in_use` or `version_mismatch`.
        """
        body = {"name": name, "type": type, **options}
        return self._caller.post(encoding.path("tables", table, "fields"), body, FieldOut)

    def update_field(self, table: str, field: str, **changes: Any) -> FieldOut:
        """Change a field, if the table's records fit.

        Raises `table_in_use` if they do not, `table_not_found`, `field_not_found` or `version_mismatch`.
        """
        return self._caller.patch(encoding.path("tables", table, "fields", field), changes, FieldOut)

    def delete_field(self, table: str, field: str) -> None:
        """Remove a field and its values.

        Raises `table_not_found`, `field_not_found`, `table_in_use` or `version_mismatch`.
        """
        self._caller.delete(encoding.path("tables", table, "fields", field))

    # -- records -------------------------------------------------------------------------------------------------------

    def records(
        self,
        table: str,
        where: object = None,
        *,
        order_by: str = "",
        page_size: int = PAGE_SIZE,
    ) -> Iterator[RecordOut]:
        """Iterate over the matching records, in order of creation or of an indexed field; `where` is a filter.

        Raises `table_not_found`, `external_refused`, `external_failed`, `bad_cursor`, `query_too_costly` or
        `damaged`.
        """
        token = ""
        while True:
            page = self.page(table, where, order_by=order_by, page_size=page_size, page_token=token)
            yield from page.data
            token = page.next_page_token
            if not token:
                return

    def page(
        self,
        table: str,
        where: object = None,
        *,
        order_by: str = "",
        page_size: int = 50,
        page_token: str = "",
    ) -> RecordList:
        """Return one page of matching records.

        Its `next_page_token` is the `page_token` of the next page; an empty one marks the end. Raises
        `table_not_found`, `external_refused`, `external_failed`, `bad_cursor`, `query_too_costly` or
        `damaged`.
        """
        body = {"filter": where, "order_by": order_by, "page_size": page_size, "page_token": page_token}
        return self._caller.post(encoding.path("tables", table, "records", verb="query"), body, RecordList)

    def count(self, table: str, where: object = None) -> int:
        """Return the number of matching records.

        Raises `table_not_found`, `external_refused`, `external_failed` or `query_too_costly`.
        """
        path = encoding.path("tables", table, "records", verb="count")
        return (self._caller.post(path, {"filter": where}, RecordCount)).count

    def record(self, table: str, record_id: str) -> RecordOut:
        """Return a record.

        Raises `table_not_found`, `external_refused`, `external_failed` or `record_not_found`.
        """
        return self._caller.get(encoding.path("tables", table, "records", record_id), RecordOut)

    def insert(self, table: str, values: Mapping[str, Any]) -> RecordOut:
        """Add a record.

        Raises `table_not_found`, `external_refused`, `external_failed`, `invalid_record`, `storage_full` or
        `overloaded`.
        """
        return self._caller.post(encoding.path("tables", table, "records"), {"values": values}, RecordOut)

    def insert_many(self, table: str, records: Iterable[Mapping[str, Any]]) -> builtins.list[RecordOut]:
        """Add up to 1,000 records, all or none.

        Raises `table_not_found`, `external_refused`, `external_failed`, `invalid_record`, `storage_full` or
        `overloaded`.
        """
        body = {"records": builtins.list(records)}
        path = encoding.path("tables", table, "records", verb="batch")
        return (self._caller.post(path, body, RecordsOut)).data

    def update_record(
        self, table: str, record_id: str, values: Mapping[str, Any], *, version: int | None = None
    ) -> RecordOut:
        """Change some fields of a record; with `version`, only if the record still has that version.

        Raises `table_not_found`, `external_refused`, `external_failed`, `invalid_record`, `storage_full`,
        `overloaded`, `record_not_found` or `version_mismatch`.
        """
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        path = encoding.path("tables", table, "records", record_id)
        return self._caller.patch(path, {"values": values}, RecordOut, headers=headers)

    def update_many(self, table: str, changes: Iterable[Mapping[str, Any]]) -> builtins.list[RecordOut]:
        """Change up to 1,000 records, all or none; each change has `id`, `values` and optionally `version`.

        Raises `table_not_found`, `external_refused`, `external_failed`, `invalid_record`, `storage_full`,
        `overloaded`, `record_not_found` or `version_mismatch`.
        """
        body = {"records": builtins.list(changes)}
        path = encoding.path("tables", table, "records", verb="update")
        return (self._caller.post(path, body, RecordsOut)).data

    def upsert(self, table: str, by: str, records: Iterable[Mapping[str, Any]]) -> RecordsOut:
        """Change the records found by their value in the unique field `by`, and add the others, all or none.

        Raises `table_not_found`, `external_refused`, `external_failed`, `invalid_record`, `storage_full` or
        `overloaded`.
        """
        body = {"by": by, "records": builtins.list(records)}
        return self._caller.post(encoding.path("tables", table, "records", verb="upsert"), body, RecordsOut)

    def delete_records(self, table: str, ids: Iterable[str]) -> int:
        """Delete up to 1,000 records, all or none; return their number.

        Raises `record_in_use` if another record refers to one of them, `record_not_found`, `table_not_found`,
        `conflict`, `external_refused` or `external_failed`.
        """
        body = {"ids": builtins.list(ids)}
        path = encoding.path("tables", table, "records", verb="delete")
        return (self._caller.post(path, body, DeletedOut)).deleted

    # -- files ---------------------------------------------------------------------------------------------------------

    def upload(self, content: bytes, name: str) -> FileOut:
        """Upload a file; the ending of its name is its format: .csv, .json or .jsonl.

        Raises `storage_full` or `draining`.
        """
        path = encoding.path("files", name=name)
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._caller.send("POST", path, content, headers=headers, timeout_s=UPLOAD_S)
        return decode(answer, FileOut)

    def download(self, file_id: str) -> bytes:
        """Return the content of a file.

        Raises `file_not_found`.
        """
        return (self._caller.send("GET", f"{encoding.path('files', file_id)}/content", timeout_s=UPLOAD_S)).body

    def import_file(self, table: str, content: bytes, name: str, **options: Any) -> RunHandle:
        """Upload a file and start the run that imports its rows as records; `options` are those of the API.

        Raises `storage_full`, `draining`, `table_not_found`, `unknown_task`, `task_inactive`, `overloaded` or
        `file_not_found`.
        """
        file = self.upload(content, name)
        path = encoding.path("tables", table, verb="import")
        return RunHandle(self._caller, self._caller.post(path, {"file": file.id, **options}, RunOut))

    def export(self, table: str, **options: Any) -> RunHandle:
        """Start the run that exports records into a file: `client.tables.download(run.result()["file"])`.

        `options` are those of the API. Raises `table_not_found`, `unknown_task`, `task_inactive`, `storage_full`,
        `overloaded` or `draining`.
        """
        path = encoding.path("tables", table, verb="export")
        return RunHandle(self._caller, self._caller.post(path, options, RunOut))

"""Tables and records in the HTTP API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from headway.protocol.runs import Noun, Open, Strict, Text

BATCH_MAX = 1_000
TableName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
FieldName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
RecordId = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
FieldTypeName = Literal[
    "text", "number", "date", "date_time", "boolean", "choice", "multi_choice", "email", "connection"
]
OnDelete = Literal["clear", "cascade", "restrict"]
Values = dict[str, Any]
"""Values by field name or id; null is a blank."""


class FieldSpec(Strict, frozen=True, kw_only=True):
    """Definition of a new field."""

    name: FieldName
    type: FieldTypeName = "text"
    required: bool = False
    unique: bool = False
    indexed: bool = False
    """Whether lists can be ordered by it, and `is` uses an index."""
    default: Any = None
    choices: list[str] = []
    table: str | None = None
    """Target of a connection: id or name of a table, which may be the same one."""
    multiple: bool = False
    """Whether a connection holds any number of records."""
    on_delete: OnDelete = "clear"
    """Policy of a connection for deletion of a target record: clear the connection, delete this record too, or
    refuse.
    """


class ExternalSpec(Strict, frozen=True, kw_only=True):
    """Location of the rows of an external table."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    """postgresql://…, mysql://… or sqlite:///PATH. It is stored encrypted and never shown with its password."""
    relation: Annotated[str, Meta(min_length=1, max_length=200)]
    """Name of the table, which needs a primary key."""
    namespace: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """Schema of the table; default: the database's default."""


class CreateTable(Strict, frozen=True, kw_only=True):
    """POST /v1/tables."""

    name: TableName
    description: Text = ""
    fields: Annotated[list[FieldSpec], Meta(max_length=200)] = []
    external: ExternalSpec | None = None
    """Rows in a database of the user's own, from which the fields are read."""


class PatchTable(Strict, frozen=True, kw_only=True):
    """PATCH /v1/tables/{table}."""

    name: TableName | UnsetType = UNSET
    description: Text | UnsetType = UNSET


class PatchField(Strict, frozen=True, kw_only=True):
    """PATCH /v1/tables/{table}/fields/{field}. Refused if a record has a value that the changed field does not take."""

    name: FieldName | UnsetType = UNSET
    type: FieldTypeName | UnsetType = UNSET
    required: bool | UnsetType = UNSET
    unique: bool | UnsetType = UNSET
    indexed: bool | UnsetType = UNSET
    default: Any | UnsetType = UNSET
    choices: list[str] | UnsetType = UNSET
    on_delete: OnDelete | UnsetType = UNSET


class FieldOut(Noun, frozen=True, kw_only=True):
    """A field as the API shows it."""

    id: str
    name: str
    type: str
    required: bool
    unique: bool
    indexed: bool
    default: Any
    choices: list[str]
    table_id: str | None
    multiple: bool
    on_delete: str
    operators: list[str]
    """Operators of conditions on the field."""


class ExternalOut(Open, frozen=True, kw_only=True):
    """Location of the rows of an external table, without the password."""

    url: str
    relation: str
    namespace: str | None
    key: list[str]
    left_out: dict[str, str] = {}
    """Columns without a field, with the reason, such as: no field takes values of the type JSON."""


class TableOut(Noun, frozen=True, kw_only=True):
    """A table as the API shows it."""

    id: str
    object: str = "table"
    name: str
    description: str
    fields: list[FieldOut]
    records: int | None
    """Number of records; null for an external table."""
    external: ExternalOut | None
    version: int
    created_at: str
    updated_at: str
    url: str


class TableList(Open, frozen=True, kw_only=True):
    """GET /v1/tables."""

    data: list[TableOut]


class FieldList(Open, frozen=True, kw_only=True):
    """GET /v1/tables/{table}/fields."""

    data: list[FieldOut]


class RecordOut(Noun, frozen=True, kw_only=True):
    """A record as the API shows it: every field of its table by name, blanks as null."""

    id: str
    object: str = "record"
    values: dict[str, Any]
    version: int
    created_at: str | None
    updated_at: str | None
    damaged: bool | UnsetType = UNSET
    """true for a record whose values were damaged on the server's disk and are shown as blanks; else absent."""
    invalid: dict[str, str] | UnsetType = UNSET
    """Cells of an external row whose content is no value of their field, with the reason; absent if there are none.
    `values` has the content as a text or a number; filters treat it as no value.
    """


class RecordList(Open, frozen=True, kw_only=True):
    """A page of records. An empty `next_page_token` is the only sign of the end.

    A page may be shorter than requested, even empty: few records may match the filter, and a page examines a limited
    number.
    """

    data: list[RecordOut]
    next_page_token: str
    has_more: bool


class QueryRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:query."""

    filter: Any = None
    """`{"and": […]}`, `{"or": […]}`, or `{"field": "Status", "operator": "is not", "value": "Closed"}`."""
    order_by: Annotated[str, Meta(max_length=120)] = ""
    """`created_at`, or the name of an indexed field; with ` desc` in descending order. Blanks come last."""
    page_size: Annotated[int, Meta(ge=1)] = 50
    page_token: str = ""


class CountRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:count."""

    filter: Any = None


class RecordCount(Open, frozen=True, kw_only=True):
    """Number of matching records."""

    count: int


class NewRecord(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records."""

    values: Values


class NewRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:batch: all records or, if one is refused, none."""

    records: Annotated[list[Values], Meta(min_length=1, max_length=BATCH_MAX)]


class PatchRecord(Strict, frozen=True, kw_only=True):
    """PATCH /v1/tables/{table}/records/{record}; absent fields stay."""

    values: Values


class RecordPatch(Strict, frozen=True, kw_only=True):
    """One change of a batch."""

    id: RecordId
    values: Values
    version: int | None = None
    """Version that the record must still have; default: any."""


class PatchRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:update: all changes or none."""

    records: Annotated[list[RecordPatch], Meta(min_length=1, max_length=BATCH_MAX)]


class UpsertRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:upsert: existing records, found by their value in a unique field, are changed."""

    by: FieldName
    records: Annotated[list[Values], Meta(min_length=1, max_length=BATCH_MAX)]


class DeleteRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:delete: all records or none."""

    ids: Annotated[list[RecordId], Meta(min_length=1, max_length=BATCH_MAX)]


class RecordsOut(Open, frozen=True, kw_only=True):
    """Records after a batch, in the order of the request."""

    data: list[RecordOut]
    created: int
    updated: int


class DeletedOut(Open, frozen=True, kw_only=True):
    """Number of deleted records."""

    deleted: int


Delimiter = Annotated[str, Meta(min_length=1, max_length=1, pattern=r'^[^"\x00\r\n]')]
"""The delimiter of a CSV file: one character, but not a quote, a line break or NUL."""


class ImportFile(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}:import, and the input of `headway.import`."""

    table: str = ""
    """Id or name of the table; by default that of the path."""
    file: str
    """Id of an uploaded file."""
    format: Literal["csv", "json", "jsonl"] | None = None
    """Default: the ending of the file's name."""
    encoding: Literal["utf-8", "windows-1252", "latin-1"] = "utf-8"
    delimiter: Delimiter = ","
    columns: dict[str, str] = {}
    """Fields by column (or member) of the file; other columns go to the field of their name."""
    ignore_unknown: bool = False
    """Whether columns without a field are ignored instead of refused."""
    upsert_by: str = ""
    """A unique field: a record with the value of a row is changed, instead of a second one refused."""
    errors_max: Annotated[int, Meta(ge=0, le=100_000)] = 1_000
    """Number of refused rows, each with its reasons in the run's results, above which the import fails."""
    spreadsheet_safe: bool = True
    """Whether the quote of an export before texts that a spreadsheet may calculate is removed."""


class ExportTable(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}:export, and the input of `headway.export`."""

    table: str = ""
    format: Literal["csv", "json", "jsonl"] = "csv"
    filter: Any = None
    fields: list[str] = []
    """Fields in this order; default: all."""
    delimiter: Delimiter = ","
    bom: bool = False
    """Whether the file begins with a byte order mark, by which spreadsheets recognise UTF-8."""
    spreadsheet_safe: bool = True
    """Whether a quote is put before texts that a spreadsheet may calculate: their first visible sign is = + - or @,
    or a full-width form of one, or they begin with a control character such as a tab or a line feed.
    """


class FileOut(Open, frozen=True, kw_only=True):
    """An uploaded or exported file."""

    id: str
    object: str = "file"
    name: str
    kind: str
    bytes: int
    sha256: str | None
    """null while the file is written."""
    run_id: str | None
    created_at: str
    expires_at: str
    url: str


class FileList(Open, frozen=True, kw_only=True):
    """GET /v1/files."""

    data: list[FileOut]

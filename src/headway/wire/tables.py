"""Tables and records on the wire: what makes and changes them, and how they are shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from headway.wire.runs import Noun, Open, Strict, Text

BATCH_MAX = 1_000
TableName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
FieldName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
RecordId = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
FieldTypeName = Literal[
    "text", "number", "date", "date_time", "boolean", "choice", "multi_choice", "email", "connection"
]
OnDelete = Literal["clear", "cascade", "restrict"]
Values = dict[str, Any]
"""Field (its name or id) → value; null is a blank."""


class FieldSpec(Strict, frozen=True, kw_only=True):
    """A field as it is made."""

    name: FieldName
    type: FieldTypeName = "text"
    required: bool = False
    unique: bool = False
    indexed: bool = False
    """Lists may be ordered by it, and `is` finds at once."""
    default: Any = None
    choices: list[str] = []
    table: str | None = None
    """Of a connection: the id or name of the table whose records it names; may be the table itself."""
    multiple: bool = False
    """Of a connection: whether it names any number of records."""
    on_delete: OnDelete = "clear"
    """Of a connection, when the record that it names is deleted: clear it, delete its own record too, or refuse."""


class ExternalSpec(Strict, frozen=True, kw_only=True):
    """Where the rows of an external table are."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    """postgresql://…, mysql://… or sqlite:///PATH. It is kept encrypted and never shown with its password."""
    relation: Annotated[str, Meta(min_length=1, max_length=200)]
    """The table there; it has a primary key."""
    namespace: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """The schema that it is in, if that is not the default."""


class CreateTable(Strict, frozen=True, kw_only=True):
    """POST /v1/tables."""

    name: TableName
    description: Text = ""
    fields: Annotated[list[FieldSpec], Meta(max_length=200)] = []
    external: ExternalSpec | None = None
    """Rows of a database of the user's own; the fields are read from there."""


class PatchTable(Strict, frozen=True, kw_only=True):
    """PATCH /v1/tables/{table}."""

    name: TableName | UnsetType = UNSET
    description: Text | UnsetType = UNSET


class PatchField(Strict, frozen=True, kw_only=True):
    """PATCH /v1/tables/{table}/fields/{field}. Refused if a record has what the field would not take any more."""

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
    """What conditions can ask of it."""


class ExternalOut(Open, frozen=True, kw_only=True):
    """Where the rows of an external table are, without the password."""

    url: str
    relation: str
    namespace: str | None
    key: list[str]
    left_out: dict[str, str] = {}
    """The columns that are no fields, and why, such as: no field takes values of the type JSON."""


class TableOut(Noun, frozen=True, kw_only=True):
    """A table as the API shows it."""

    id: str
    object: str = "table"
    name: str
    description: str
    fields: list[FieldOut]
    records: int | None
    """How many there are; of an external table it is not known."""
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
    """Only of a record whose values were damaged on the server's disk: they cannot be read, and are shown as blanks."""
    invalid: dict[str, str] | UnsetType = UNSET
    """Only of a row of an external table with cells that hold no value of their field: each such field, and why. `values` has
    what the cell holds, as a text or a number; for filters it is not any value."""


class RecordList(Open, frozen=True, kw_only=True):
    """A page of records. An empty `next_page_token` is the only sign of the end.

    A page may be shorter than asked for, even empty: few records may fit the filter, and a page looks at so many only.
    """

    data: list[RecordOut]
    next_page_token: str
    has_more: bool


class QueryRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:query."""

    filter: Any = None
    """`{"and": […]}`, `{"or": […]}`, or `{"field": "Status", "operator": "is not", "value": "Closed"}`."""
    order_by: Annotated[str, Meta(max_length=120)] = ""
    """`created_at`, or the name of an indexed field; with ` desc` from its end. Blanks come last."""
    page_size: Annotated[int, Meta(ge=1)] = 50
    page_token: str = ""


class CountRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:count."""

    filter: Any = None


class RecordCount(Open, frozen=True, kw_only=True):
    """How many records fit."""

    count: int


class NewRecord(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records."""

    values: Values


class NewRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:batch: all of them or, if one is refused, none."""

    records: Annotated[list[Values], Meta(min_length=1, max_length=BATCH_MAX)]


class PatchRecord(Strict, frozen=True, kw_only=True):
    """PATCH /v1/tables/{table}/records/{record}: fields that are not named stay as they are."""

    values: Values


class RecordPatch(Strict, frozen=True, kw_only=True):
    """One change of a batch."""

    id: RecordId
    values: Values
    version: int | None = None
    """What it was changed from; without it, whatever is there."""


class PatchRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:update: all of them or none."""

    records: Annotated[list[RecordPatch], Meta(min_length=1, max_length=BATCH_MAX)]


class UpsertRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:upsert: records that are there, by their value in a unique field, are changed."""

    by: FieldName
    records: Annotated[list[Values], Meta(min_length=1, max_length=BATCH_MAX)]


class DeleteRecords(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}/records:delete: all of them or none."""

    ids: Annotated[list[RecordId], Meta(min_length=1, max_length=BATCH_MAX)]


class RecordsOut(Open, frozen=True, kw_only=True):
    """Records after a batch, in the order of the request."""

    data: list[RecordOut]
    created: int
    updated: int


class DeletedOut(Open, frozen=True, kw_only=True):
    """What a batch has deleted."""

    deleted: int


Delimiter = Annotated[str, Meta(min_length=1, max_length=1, pattern=r'^[^"\x00\r\n]')]
"""The delimiter of a CSV file: one character, but not a quote, a line break or NUL."""


class ImportFile(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}:import, and the input of `headway.import`."""

    table: str = ""
    """The table's id or name; that of the path, there."""
    file: str
    """The id of an uploaded file."""
    format: Literal["csv", "json", "jsonl"] | None = None
    """Without it, what the file's name ends in."""
    encoding: Literal["utf-8", "windows-1252", "latin-1"] = "utf-8"
    delimiter: Delimiter = ","
    columns: dict[str, str] = {}
    """Column (or member) of the file → field; those without an entry go to the field of their name."""
    ignore_unknown: bool = False
    """Whether columns that are no field are passed over, instead of refused."""
    upsert_by: str = ""
    """A unique field: a record that has the value of a row is changed, instead of a second one refused."""
    errors_max: Annotated[int, Meta(ge=0, le=100_000)] = 1_000
    """Rows that may be refused, each with its reasons in the run's results, before the import fails."""
    spreadsheet_safe: bool = True
    """Whether a quote that an export has put before what a spreadsheet would calculate is taken away again."""


class ExportTable(Strict, frozen=True, kw_only=True):
    """POST /v1/tables/{table}:export, and the input of `headway.export`."""

    table: str = ""
    format: Literal["csv", "json", "jsonl"] = "csv"
    filter: Any = None
    fields: list[str] = []
    """Which, in this order; all, if none are named."""
    delimiter: Delimiter = ","
    bom: bool = False
    """Whether the file begins with a byte order mark, by which spreadsheets know UTF-8."""
    spreadsheet_safe: bool = True
    """Whether a quote is put before texts that a spreadsheet may calculate: their first visible sign is = + - or @, or a
    full-width form of one, or they begin with a control character such as a tab or a line feed."""


class FileOut(Open, frozen=True, kw_only=True):
    """A file that was uploaded or exported."""

    id: str
    object: str = "file"
    name: str
    kind: str
    bytes: int
    sha256: str | None
    """None while it is still being written."""
    run_id: str | None
    created_at: str
    expires_at: str
    url: str


class FileList(Open, frozen=True, kw_only=True):
    """GET /v1/files."""

    data: list[FileOut]

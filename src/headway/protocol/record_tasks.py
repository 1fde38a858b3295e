"""Record tasks in the HTTP API: definition, errors of records, and the mail server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from headway.protocol.runs import Name, Noun, Open, Strict, Text
from headway.protocol.tables import FieldName, TableName

Template = Annotated[str, Meta(max_length=32_768)]
TaskName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/:]+$")]
Header = Annotated[str, Meta(max_length=4_096)]
OnError = Literal["continue", "stop"]
Given = Annotated[dict[FieldName, Any], Meta(min_length=1, max_length=200)]
"""Values by field: a value, `{"field": "Due"}` for the record's value in that field, or `{"template": "Dear {{
record.Name }}"}`.
"""


class UpdateRecord(Strict, frozen=True, kw_only=True, tag_field="action", tag="update"):
    """Change the record."""

    set: Given


class UpdateConnected(Strict, frozen=True, kw_only=True, tag_field="action", tag="update_connected"):
    """Change the records in a connection of the record. Templates know each of them as `target`."""

    connection: FieldName
    set: Given


class InsertRecord(Strict, frozen=True, kw_only=True, tag_field="action", tag="insert"):
    """Add a record to a table, the same or another one."""

    table: TableName
    set: Given


class SendEmail(Strict, frozen=True, kw_only=True, tag_field="action", tag="email"):
    """Send a mail over the organisation's mail server. Every part is a template; values in `html` are escaped."""

    to: Template
    subject: Template
    text: Template = ""
    html: Template = ""
    cc: Template = ""
    bcc: Template = ""


class CallWebhook(Strict, frozen=True, kw_only=True, tag_field="action", tag="webhook"):
    """POST to a URL, in the form of Standard Webhooks."""

    url: Annotated[str, Meta(max_length=2_048)]
    body: Template = ""
    """A template of JSON (`{"name": {{ record.Name | tojson }}}`); without it the whole record is sent."""
    headers: Annotated[dict[str, Header], Meta(max_length=20)] = {}
    """Additional headers. Their values are stored encrypted and never shown."""
    secret: Annotated[str, Meta(max_length=200)] = ""
    """Signing secret: `whsec_` and 24 to 64 bytes in base64. It is stored encrypted and never shown."""


class StartTask(Strict, frozen=True, kw_only=True, tag_field="action", tag="run"):
    """Start a run of another task."""

    task: Name
    input: dict[str, Any] = {}
    """Members as in `set`; none: `{"record": ID}`."""


AnyAction = UpdateRecord | UpdateConnected | InsertRecord | SendEmail | CallWebhook | StartTask
Actions = Annotated[list[AnyAction], Meta(min_length=1, max_length=20)]


class CreateRecordTask(Strict, frozen=True, kw_only=True):
    """POST /v1/record-tasks: a task without code."""

    name: TaskName
    table: TableName
    filter: Any = None
    """Filter of the records, as in POST /v1/tables/{table}/records:query; default: all."""
    actions: Actions
    """Actions for each record, in this order; the changes of a record are made together at the end, or, if one
    action fails, not at all.
    """
    on_error: OnError = "continue"
    """Policy for a failed record: continue with the next one, or fail the run."""
    description: Text = ""
    queue: Name = "records"
    active: bool = True


class PatchRecordTask(Strict, frozen=True, kw_only=True):
    """PATCH /v1/record-tasks/{name}. Runs in progress go on with the earlier definition."""

    table: TableName | UnsetType = UNSET
    filter: Any = UNSET
    actions: Actions | UnsetType = UNSET
    """All actions, with their secrets; others are removed."""
    on_error: OnError | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    queue: Name | UnsetType = UNSET


class RecordTaskOut(Noun, frozen=True, kw_only=True):
    """A record task as the API shows it, without secrets."""

    name: str
    object: str = "record_task"
    table: str
    table_id: str
    filter: Any
    actions: list[dict[str, Any]]
    on_error: str
    description: str
    queue: str
    active: bool
    version: int
    created_at: str
    updated_at: str
    url: str
    task_url: str


class RecordTaskList(Open, frozen=True, kw_only=True):
    """GET /v1/record-tasks."""

    data: list[RecordTaskOut]


class RunOver(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """The input of a record task's run."""

    records: Annotated[list[Annotated[str, Meta(max_length=1000)]], Meta(min_length=1, max_length=1_000)] | None = None
    """Ids of records to process, as far as they match the filter."""
    failed_of: str | None = None
    """Earlier run of the task whose failed records alone are processed, whether they match the filter or not."""


class RecordErrorOut(Open, frozen=True, kw_only=True):
    """Error of a record."""

    record_id: str
    action: int
    """Index of the failed action, from 0."""
    code: str
    message: str
    at: str


class RecordErrorList(Open, frozen=True, kw_only=True):
    """A page of errors, by record id; `after` of the next page is the last record's id."""

    data: list[RecordErrorOut]
    has_more: bool


class MailServerIn(Strict, frozen=True, kw_only=True):
    """PUT /v1/mail-server: the server that takes the organisation's mails."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "plain"] = "starttls"
    username: Annotated[str, Meta(max_length=320, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    password: Annotated[str, Meta(max_length=1_000)] | UnsetType = UNSET
    """Stored encrypted and never shown; absent: unchanged, if host and user name stay the same."""
    sender: Annotated[str, Meta(max_length=320)]
    """Sender address of the mails."""
    sender_name: Annotated[str, Meta(max_length=200)] = ""
    reply_to: Annotated[str, Meta(max_length=320)] = ""


class MailServerOut(Noun, frozen=True, kw_only=True):
    """The mail server, without its password."""

    object: str = "mail_server"
    host: str
    port: int
    security: str
    username: str
    has_password: bool
    sender: str
    sender_name: str
    reply_to: str
    updated_at: str

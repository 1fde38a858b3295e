"""Record tasks: tasks without code, which apply actions to each matching record of a table."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from headway.features.tables.model import FieldId

OnError = Literal["continue", "stop"]
EXECUTOR: Final = "records"
"""Executor name of record tasks, which the server executes."""


class Constant(msgspec.Struct, frozen=True, tag="constant"):
    """Value source: the same value for every record, in normal form; None is a blank."""

    value: Any = None


class FieldCopy(msgspec.Struct, frozen=True, tag="copied"):
    """Value source: another field of the record."""

    field: FieldId


class Rendering(msgspec.Struct, frozen=True, tag="written"):
    """Value source: the text of a rendered template."""

    template: str


Source = Constant | FieldCopy | Rendering
"""Source of a value."""
Sources = dict[str, Source]
"""Sources by field id, or by member of an input."""


class Update(msgspec.Struct, frozen=True, tag="update"):
    """Action: change the record."""

    values: Sources


class UpdateConnected(msgspec.Struct, frozen=True, tag="update_connected"):
    """Action: change the records in a connection of the record."""

    connection: FieldId
    values: Sources


class Insert(msgspec.Struct, frozen=True, tag="insert"):
    """Action: add a record to a table."""

    table_id: str
    values: Sources


class Email(msgspec.Struct, frozen=True, tag="email"):
    """Action: send a mail; every part is a template."""

    to: str
    subject: str
    text: str = ""
    html: str = ""
    cc: str = ""
    bcc: str = ""


class Webhook(msgspec.Struct, frozen=True, tag="webhook"):
    """Action: call a URL."""

    url: str
    body: str = ""
    """Template of JSON; default: the record itself."""
    headers: tuple[str, ...] = ()
    """Names of headers; the values are in `sealed`."""
    signed: bool = False
    sealed: str = ""
    """Encrypted secrets: header values and the signing secret."""


class Start(msgspec.Struct, frozen=True, tag="run"):
    """Action: start a run of another task."""

    task: str
    input: Sources


Action = Update | UpdateConnected | Insert | Email | Webhook | Start


class RecordTask(msgspec.Struct, frozen=True, kw_only=True):
    """Definition of a record task: table, filter and actions."""

    name: str
    """Stored name of the task."""
    organisation: int
    table_id: str
    filter: Any = None
    """Conditions, as `features.tables.rules.conditions` reads them; fields by id."""
    actions: tuple[Action, ...] = ()
    on_error: OnError = "continue"
    connected: bool = False
    """Whether a template uses values of connected records."""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0


class RecordError(msgspec.Struct, frozen=True):
    """Error of a record in a run. Fields in the order of the columns."""

    record_id: str
    action: int
    """Index of the failed action, from 0."""
    code: str
    message: str
    created_at: int

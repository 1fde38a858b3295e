"""The record task: a task without code, which does the same to each record of a table that fits its conditions."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from headway.model.table import FieldId

OnError = Literal["continue", "stop"]
EXECUTOR: Final = "records"
"""Of tasks that the server itself executes, on the records of a table."""


class Constant(msgspec.Struct, frozen=True, tag="constant"):
    """The same value for every record, in normal form; None is a blank."""

    value: Any = None


class FieldCopy(msgspec.Struct, frozen=True, tag="copied"):
    """What the record has in another field."""

    field: FieldId


class Rendering(msgspec.Struct, frozen=True, tag="written"):
    """The text that a template becomes."""

    template: str


Source = Constant | FieldCopy | Rendering
"""Where a value comes from."""
Sources = dict[str, Source]
"""Field (its id) or member of an input → where its value comes from."""


class Update(msgspec.Struct, frozen=True, tag="update"):
    """Change the record."""

    values: Sources


class UpdateConnected(msgspec.Struct, frozen=True, tag="update_connected"):
    """Change the records that the record names in a connection."""

    connection: FieldId
    values: Sources


class Insert(msgspec.Struct, frozen=True, tag="insert"):
    """Add a record to a table."""

    table_id: str
    values: Sources


class Email(msgspec.Struct, frozen=True, tag="email"):
    """Send a mail; every part is a template."""

    to: str
    subject: str
    text: str = ""
    html: str = ""
    cc: str = ""
    bcc: str = ""


class Webhook(msgspec.Struct, frozen=True, tag="webhook"):
    """Call a URL."""

    url: str
    body: str = ""
    """A template of JSON; without it the record itself is sent."""
    headers: tuple[str, ...] = ()
    """Names of headers; their values are in `sealed`."""
    signed: bool = False
    sealed: str = ""
    """What is secret of it: the values of its headers and what it is signed with."""


class Start(msgspec.Struct, frozen=True, tag="run"):
    """Start a run of another task."""

    task: str
    input: Sources


Action = Update | UpdateConnected | Insert | Email | Webhook | Start


class RecordTask(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to which records."""

    name: str
    """As it is kept: the name of its task."""
    organisation: int
    table_id: str
    filter: Any = None
    """Conditions, as `engine.tables.conditions` reads them; fields by id."""
    actions: tuple[Action, ...] = ()
    on_error: OnError = "continue"
    connected: bool = False
    """Whether a template asks for what the records it is connected to have."""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0


class RecordError(msgspec.Struct, frozen=True):
    """Why a record failed in a run; in the order of the columns."""

    record_id: str
    action: int
    """Which of the task's actions it was, from 0."""
    code: str
    message: str
    created_at: int

"""Messages between the server and the child processes that evaluate for it: each is a length and JSON."""

from __future__ import annotations

from typing import Any, Final

import msgspec

LENGTH_BYTES: Final = 4
"""Size of the length prefix of each message."""


class Render(msgspec.Struct, frozen=True, tag="render"):
    """Request for one `RenderAnswer` per row, up to one with `later`."""

    templates: list[tuple[str, bool]]
    """Pairs of source, and whether it is HTML."""
    rows: list[dict[str, Any]]


class Look(msgspec.Struct, frozen=True, tag="look"):
    """Request for one `LookAnswer`."""

    source: str


class Check(msgspec.Struct, frozen=True, tag="check"):
    """Request for a `Verdict`; if the input is invalid, one with the first fault and one with the first few follow."""

    schema: str
    """JSON text."""
    input: str | None = None
    """JSON text; None: only compile the schema."""


Request = Render | Look | Check


class RenderAnswer(msgspec.Struct, frozen=True):
    """Texts of one row, one per template; or an error."""

    texts: list[str] | None = None
    error: str = ""
    slow: bool = False
    """Whether a limit of time, memory or length was exceeded."""
    later: bool = False
    """Whether the request's time was up before this row; this and later rows are not rendered."""


class LookAnswer(msgspec.Struct, frozen=True):
    """Variables and fields of `record` that a template uses; or an error."""

    names: list[str] = []
    fields: list[str] = []
    error: str = ""


class Fault(msgspec.Struct, frozen=True):
    """One violation of a schema."""

    path: str
    """A JSON pointer into the input."""
    code: str
    """The violated keyword."""
    message: str


class Verdict(msgspec.Struct, frozen=True):
    """Whether the input is valid, its first faults, or why the schema cannot be used."""

    valid: bool = False
    faults: list[Fault] = []
    unusable: str = ""

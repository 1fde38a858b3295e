"""Messages between the server and the child processes that evaluate for it: each is a length and JSON."""

from __future__ import annotations

from typing import Any, Final

import msgspec

LENGTH_BYTES: Final = 4
"""The size of the length in front of each message."""


class Render(msgspec.Struct, frozen=True, tag="render"):
    """Asks for one `Rendered` for each row, until one says `later`."""

    templates: list[tuple[str, bool]]
    """(source, whether it is HTML)."""
    rows: list[dict[str, Any]]


class Look(msgspec.Struct, frozen=True, tag="look"):
    """Asks for one `Looked`."""

    source: str


class Check(msgspec.Struct, frozen=True, tag="check"):
    """Asks for a `Verdict`; if it says that the input does not fit, for one with the first fault and one with the first few."""

    schema: str
    """JSON text."""
    input: str | None = None
    """JSON text; None: only compile the schema."""


Request = Render | Look | Check


class Rendered(msgspec.Struct, frozen=True):
    """The texts of one row, one for each template; or why there are none."""

    texts: list[str] | None = None
    error: str = ""
    slow: bool = False
    """Whether a limit was reached: of time, of memory, or of the text's length."""
    later: bool = False
    """Whether the time of the request was over before this row; nothing follows."""


class Looked(msgspec.Struct, frozen=True):
    """What a template refers to: variables, and fields of `record`; or why it cannot be used."""

    names: list[str] = []
    fields: list[str] = []
    error: str = ""


class Fault(msgspec.Struct, frozen=True):
    """One place where an input does not fit its schema."""

    path: str
    """A JSON pointer into the input."""
    code: str
    """The keyword of the schema that refuses it."""
    message: str


class Verdict(msgspec.Struct, frozen=True):
    """Whether the input fits, the first of its faults, or why the schema cannot be used."""

    valid: bool = False
    faults: list[Fault] = []
    unusable: str = ""

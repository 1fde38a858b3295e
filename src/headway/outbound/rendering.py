"""What a server and the children that render its templates say to each other; only the children load Jinja."""

from __future__ import annotations

from typing import Any, Final

import msgspec

LENGTH_BYTES: Final = 4
"""What stands before each message: how long it is."""


class Request(msgspec.Struct, frozen=True):
    """Templates, each as (source, whether it is HTML), and the rows to render all of them with; none: only read them."""

    templates: list[tuple[str, bool]]
    rows: list[dict[str, Any]]


class Rendered(msgspec.Struct, frozen=True):
    """What became of one row: a text for each template, or why not."""

    texts: list[str] | None = None
    error: str = ""
    slow: bool = False
    """Whether it was too much: too long a time or too long a text."""


class Looked(msgspec.Struct, frozen=True):
    """What a template asks for: variables, and fields of `record`; or why it is none."""

    names: list[str] = []
    fields: list[str] = []
    error: str = ""

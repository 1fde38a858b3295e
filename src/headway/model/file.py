"""The file: bytes on their way in, to be imported, or on their way out, to be downloaded."""

from __future__ import annotations

import msgspec


class StoredFile(msgspec.Struct, frozen=True):
    """A file in the store; fields are in the order of the table's columns."""

    id: str
    organisation: int
    name: str
    kind: str
    """Its media type."""
    run_id: str | None
    """The run that has written it."""
    bytes: int
    chunks: int
    sha256: str | None
    """None until it is whole."""
    created_at: int
    expires_at: int

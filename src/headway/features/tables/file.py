"""Files: uploads to import, and exports to download."""

from __future__ import annotations

import msgspec


class StoredFile(msgspec.Struct, frozen=True):
    """A file in the store; fields are in the order of the table's columns."""

    id: str
    organisation: int
    name: str
    kind: str
    """Media type."""
    run_id: str | None
    """Run that wrote the file."""
    bytes: int
    chunks: int
    sha256: str | None
    """Digest; None while the file is written."""
    created_at: int
    expires_at: int

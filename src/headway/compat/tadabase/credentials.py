"""Tadabase's credentials: three headers with the organisation, the key's public id and its secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headway.errors import Unauthenticated
from headway.protocol.keytext import KeyText
from headway.web.surface import Credentials

HEADERS: Final = (b"x-tadabase-app-id", b"x-tadabase-app-key", b"x-tadabase-app-secret")


def read(headers: Mapping[bytes, bytes]) -> tuple[str, KeyText] | None:
    """Return the organisation's id and the key; raise Unauthenticated for a part of the three headers."""
    parts = [headers.get(name) for name in HEADERS]
    if parts == [None, None, None]:
        return None
    application, key_id, secret = (b"" if part is None else part for part in parts)
    if not (application and key_id and secret):
        raise Unauthenticated("send X-Tadabase-App-id, -Key and -Secret together")
    return application.decode("latin-1"), KeyText(key_id.decode("latin-1"), secret.decode("latin-1"))


CREDENTIALS: Final = Credentials(HEADERS, read)

"""Three organisations with their credentials for each surface."""

from __future__ import annotations

from headway.protocol import keytext


def three(party, text=None):
    """The three headers of Tadabase's clients."""
    key = keytext.read(text or party.key)
    return {"x_tadabase_app_id": party.id, "x_tadabase_app_key": key.id, "x_tadabase_app_secret": key.secret}

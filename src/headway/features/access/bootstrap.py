"""Bootstrap key: the first key of a new store, with a text from the environment or a file, as containers need it."""

from __future__ import annotations

import logging
from typing import Final

from headway.config import Settings
from headway.errors import Conflict, Unauthenticated
from headway.features.access.access import Access
from headway.features.access.digests import LOCAL_PREFIX
from headway.features.access.keys import Keys
from headway.kernel.authority import EVERYBODY, GRANTABLE, Origin
from headway.kernel.query import FIRST
from headway.private import key_text
from headway.protocol import keytext
from headway.protocol.access import CreateKey
from headway.protocol.keytext import KeyText
from headway.runs.service import Service
from headway.setting import naming_setting

log = logging.getLogger("headway")

SECRET_MIN: Final = 32
"""Characters of the secret: 192 bits, if they are random."""
DIFFERENT_MIN: Final = 10
"""Least number of different characters of the secret; 32 random ones practically never have fewer."""
NAME: Final = "bootstrap"
_ORIGIN: Final = Origin(organisation=FIRST, actor="the server's settings")


def given(settings: Settings) -> KeyText | None:
    """Return the key of the settings, or None; raise ValueError for a malformed or weak key, without its text."""
    if settings.bootstrap_key and settings.bootstrap_key_file:
        raise ValueError("HEADWAY_BOOTSTRAP_KEY and HEADWAY_BOOTSTRAP_KEY_FILE are both set: leave one of the two out")
    if settings.bootstrap_key:
        with naming_setting(Settings, "bootstrap_key"):
            return _checked(settings.bootstrap_key)
    if settings.bootstrap_key_file:
        with naming_setting(Settings, "bootstrap_key_file"):
            return _checked(key_text(settings.bootstrap_key_file))
    return None


async def bootstrap(service: Service, key: KeyText) -> str | None:
    """Make the first key if there is none, with every scope; return a notice if there are others and it is not valid.

    It is made once: neither a key that was revoked nor one beside others comes by it.
    """
    access = service.part(Access)
    if not access.locked:
        asked = CreateKey(name=NAME, scopes=list(GRANTABLE))
        try:
            await service.of(FIRST).get(Keys).create(asked, EVERYBODY, _ORIGIN, first=key)
        except Conflict:  # another server on the database was faster
            await access.refresh()
        else:
            log.info("keys.bootstrapped id=%s", key.id)
            return None
    try:
        access.authenticate(key)
    except Unauthenticated as error:
        return (
            f"HEADWAY_BOOTSTRAP_KEY is not used: the store has keys already, and this is no valid one of them "
            f"({error.detail}); leave it out, and make keys with  headway keys create"
        )
    return None


def _checked(text: str) -> KeyText:
    key = keytext.read(text.strip())
    if key is None or key.id.startswith(LOCAL_PREFIX):
        raise ValueError("it is not a key, hw_ID_SECRET; make one with  headway keys generate")
    if len(key.secret) < SECRET_MIN or len(set(key.secret)) < DIFFERENT_MIN:
        raise ValueError(
            f"its secret can be guessed: it needs {SECRET_MIN} random characters; make one with  headway keys generate"
        )
    return key

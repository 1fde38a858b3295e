"""Access control: the port to the feature that keeps keys and the audit log."""

from __future__ import annotations

from typing import Final, Protocol

from headway.kernel.authority import Origin, Principal
from headway.protocol.keytext import KeyText
from headway.web.ratelimits import RateLimits

NEVER: Final = 1 << 62


class Caller:
    """An authenticated caller, valid until access changes."""

    __slots__ = ("key_id", "principal", "rates", "until")

    def __init__(self, principal: Principal, until: int = NEVER, rates: RateLimits | None = None) -> None:
        self.principal = principal
        self.key_id = principal.key_id
        self.until = until
        """Time at which the key or its secret expires, in milliseconds."""
        self.rates = rates
        """Request limits; None: requests are not counted."""


class AccessControl(Protocol):
    """Authentication of callers, and the audit log, as requests use them; `Service.part(AccessControl)` is the object."""

    generation: int
    """Raised whenever callers may have changed; callers that were authenticated before are dropped then."""

    @property
    def locked(self) -> bool:
        """Whether requests need a key: from the first key on, even after all are revoked."""
        ...

    def authenticate(self, key: KeyText | None, organisation: str | None = None) -> Caller:
        """Return the caller with this key, of this organisation (a public id) if one is named.

        Raises Unauthenticated, and StorageUnavailable before the keys are loaded.
        """
        ...

    def is_current(self, principal: Principal) -> bool:
        """Whether a principal that was authenticated before would be authenticated now, with the same rights."""
        ...

    def organisation_of(self, public_id: str) -> int | None:
        """Return the number of an organisation, or None if there is none with this public id."""
        ...

    def note_use(self, key_id: str, now_ms: int) -> None:
        """Remember the time at which a key was used; it is written later."""
        ...

    def note_refusal(self, origin: Origin, action: str, noun: str, outcome: str) -> None:
        """Remember a refused request; it is written to the audit log later, and repeated ones as one line."""
        ...

    async def record(self, origin: Origin, action: str, noun: str, outcome: str) -> None:
        """Append a line to the audit log; it is on disk when this returns."""
        ...

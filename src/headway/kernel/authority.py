"""Authority: scopes of routes and keys, principals, and origins of changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from headway.kernel.query import FIRST

Scope = Literal[
    "public", "token", "caller", "ops", "run:read", "run:start", "run:control", "task:read", "task:write", "queue:read",
    "queue:write", "worker:read", "worker:write", "worker:protocol", "schedule:read", "schedule:write", "table:read",
    "table:write", "record:read", "record:write", "mail:read", "mail:write", "key:admin", "organisation:admin", "audit:read",
    "server:read",
]  # fmt: skip
SCOPES: Final[Mapping[Scope, str]] = {
    "public": "Nothing is needed.",
    "token": "Hold the token: the path itself is the credential.",
    "caller": "Any key will do.",
    "ops": "Read the server itself: metrics, documents.",
    "run:read": "Read runs.",
    "run:start": "Start runs.",
    "run:control": "Change, stop, repeat and remove runs.",
    "task:read": "Read tasks.",
    "task:write": "Switch tasks on and off; make and change record tasks, which can send mails and call URLs.",
    "queue:read": "Read queues.",
    "queue:write": "Pause and limit queues.",
    "worker:read": "Read workers.",
    "worker:write": "Drain workers.",
    "worker:protocol": "Be a worker.",
    "schedule:read": "Read schedules.",
    "schedule:write": "Make and change schedules; what starts runs needs run:start too.",
    "table:read": "Read data tables.",
    "table:write": "Make and change data tables; what removes or converts records needs record:write too.",
    "record:read": "Read records.",
    "record:write": "Make, change and remove records.",
    "mail:read": "Read the mail server, without its password.",
    "mail:write": "Set the organisation's mail server.",
    "key:admin": "Make, change and revoke keys and users of the organisation.",
    "organisation:admin": "Make and change organisations, and keys for them; the first organisation's keys only.",
    "audit:read": "Read the log of who did what.",
    "server:read": "Read the servers that share the store; the first organisation's keys only.",
}
"""Scopes of routes with their meaning. The first three are not permissions and cannot be granted."""

UNGRANTED: Final[frozenset[Scope]] = frozenset({"public", "token", "caller"})
GRANTABLE: Final[tuple[Scope, ...]] = tuple(scope for scope in SCOPES if scope not in UNGRANTED)
"""Scopes that a key can have."""
OPERATING: Final[frozenset[Scope]] = frozenset({"organisation:admin", "server:read"})
"""Scopes that concern the whole server: keys of the first organisation alone can have them."""
READING: Final[tuple[Scope, ...]] = tuple(
    scope for scope in GRANTABLE if scope.endswith(":read") and scope != "audit:read" and scope not in OPERATING
)
"""Default scopes of a new key: reading, without access data."""
RESERVED: Final = "headway."
"""Prefix of the names of built-in tasks."""
ANONYMOUS: Final = "anonymous"


class Principal(msgspec.Struct, frozen=True):
    """Authenticated caller; a handler takes identity and scopes from here, never from the request."""

    organisation: int
    key_id: str | None
    """Id of the key; None: no key was needed."""
    secret: int
    """Number of the secret that was used."""
    user_id: str | None
    scopes: frozenset[str]
    queues: tuple[str, ...] | None
    """Queues to which a worker's key is bound; None: all."""
    actor: str
    """Name of the caller in the audit log and in the history of runs."""


class Origin(msgspec.Struct, frozen=True):
    """Origin of a change, as the audit log records it."""

    organisation: int = FIRST
    actor: str = ANONYMOUS
    key_id: str = ""
    ip: str = ""
    agent: str = ""
    request_id: str = ""


EVERYBODY: Final = Principal(
    organisation=FIRST, key_id=None, secret=0, user_id=None, scopes=frozenset(GRANTABLE), queues=None, actor=ANONYMOUS
)
"""Principal of every request from this machine while no key exists."""
LOCAL: Final = replace(EVERYBODY, actor="loopback")
"""The principal of loopback requests without a key, if `loopback_without_key` is set and keys exist."""

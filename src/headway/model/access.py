"""Who asks, and what they may: users, keys, and the log of what was done with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from headway.model.query import FIRST

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
    "ops": "Look at the server itself: metrics, documents.",
    "run:read": "Look at runs.",
    "run:start": "Start runs.",
    "run:control": "Change, stop, repeat and remove runs.",
    "task:read": "Look at tasks.",
    "task:write": "Switch tasks on and off; make and change record tasks, which can send mails and call URLs.",
    "queue:read": "Look at queues.",
    "queue:write": "Pause and limit queues.",
    "worker:read": "Look at workers.",
    "worker:write": "Drain workers.",
    "worker:protocol": "Be a worker.",
    "schedule:read": "Look at schedules.",
    "schedule:write": "Make and change schedules; what starts runs needs run:start too.",
    "table:read": "Look at data tables.",
    "table:write": "Make and change data tables; what removes or converts records needs record:write too.",
    "record:read": "Look at records.",
    "record:write": "Make, change and remove records.",
    "mail:read": "Look at the mail server, without its password.",
    "mail:write": "Say where the organisation's mails are handed over.",
    "key:admin": "Make, change and revoke keys and users of the organisation.",
    "organisation:admin": "Make and change organisations, and keys for them; the first organisation's keys only.",
    "audit:read": "Read the log of who did what.",
    "server:read": "Look at the servers that share the store; the first organisation's keys only.",
}
"""What a route asks for, and what that means. The first three are no rights: nobody is given them."""

UNGRANTED: Final[frozenset[Scope]] = frozenset({"public", "token", "caller"})
GRANTABLE: Final[tuple[Scope, ...]] = tuple(scope for scope in SCOPES if scope not in UNGRANTED)
"""What a key can be given."""
OPERATING: Final[frozenset[Scope]] = frozenset({"organisation:admin", "server:read"})
"""What is about the whole server, not about one organisation: it counts for keys of the first one only."""
READING: Final[tuple[Scope, ...]] = tuple(
    scope for scope in GRANTABLE if scope.endswith(":read") and scope != "audit:read" and scope not in OPERATING
)
"""What a new key is given if nothing is said: to look, and at nothing that is about others."""
RESERVED: Final = "headway."
"""What the names of built-in tasks begin with."""
ANONYMOUS: Final = "anonymous"


class Allowance(msgspec.Struct, frozen=True):
    """How often all keys of an organisation together may ask; None: any number of times. Fields in the order of the columns."""

    organisation: int
    per_minute: int | None = None
    per_day: int | None = None


class User(msgspec.Struct, frozen=True):
    """A person, whose keys work as long as they are active. Fields in the order of the columns."""

    id: str
    organisation: int
    name: str
    email: str
    state: str
    """active, disabled."""
    created_at: int
    updated_at: int


class Key(msgspec.Struct, frozen=True):
    """What a caller shows. Fields in the order of the columns."""

    id: str
    """Public; in lists, logs and the text of the key."""
    organisation: int
    user_id: str | None
    name: str
    scopes: str
    """A JSON list."""
    queues: str | None
    """Of a worker's key: a JSON list of the queues that it may claim from; None: from all of its organisation."""
    per_minute: int | None
    per_day: int | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    """To the minute or so, for people."""


class Secret(msgspec.Struct, frozen=True):
    """One of the secrets of a key; while a key is rotated it has two that work. Fields in the order of the columns."""

    key_id: str
    number: int
    digest: str
    created_at: int
    until: int | None
    """When it ceases to work; None: with the key."""


class Usage(msgspec.Struct, frozen=True):
    """How often something was used in a window of time. Fields in the order of the columns."""

    subject: str
    period: int
    started_at: int
    server_id: str
    count: int


class AuditEvent(msgspec.Struct, frozen=True):
    """One line of the log. It names things and holds nothing of what they contain. Fields in the order of the columns."""

    number: int
    time: int
    organisation: int
    actor: str
    key_id: str
    ip: str
    agent: str
    action: str
    object: str
    outcome: str
    request_id: str
    hash: str
    """Of this line and the hash of the one before."""


class Principal(msgspec.Struct, frozen=True):
    """Who asks. All that a handler knows of a caller comes from here, never from what the caller says."""

    organisation: int
    key_id: str | None
    """None: nobody had to show one."""
    secret: int
    """The number of the secret that was shown."""
    user_id: str | None
    scopes: frozenset[str]
    queues: tuple[str, ...] | None
    """The queues to which a worker is bound; None: it is not."""
    actor: str
    """How the log and the history of runs call them."""


class Origin(msgspec.Struct, frozen=True):
    """Where a change came from, as the log keeps it."""

    organisation: int = FIRST
    actor: str = ANONYMOUS
    key_id: str = ""
    ip: str = ""
    agent: str = ""
    request_id: str = ""


EVERYBODY: Final = Principal(
    organisation=FIRST, key_id=None, secret=0, user_id=None, scopes=frozenset(GRANTABLE), queues=None, actor=ANONYMOUS
)
"""Whoever is on the machine, as long as there are no keys."""
LOCAL: Final = replace(EVERYBODY, actor="loopback")
"""The principal of loopback requests without a key, if `loopback_without_key` is set and keys exist."""

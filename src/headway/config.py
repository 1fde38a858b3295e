"""Every setting once: name, type, default, meaning; and which of them are refused together.

Flags win over the environment, the environment over defaults.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headway.durations import parse_ms
from headway.networks import is_loopback


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a server runs. In the environment each is HEADWAY_ and its name in capitals."""

    store: str = "sqlite:///headway.db"
    """Where everything is kept: sqlite:///PATH (relative, or absolute with four slashes), sqlite:///:memory:, or
    postgresql://USER@HOST/DATABASE, which several servers may share."""
    host: str = "127.0.0.1"
    """The address to listen on. Others than loopback need a key, and `behind_proxy`."""
    port: int = 8006
    """The port to listen on; 0 takes a free one."""
    app: str = ""
    """MODULE:APP of the tasks that local workers execute; without it there are no local workers."""
    workers: int = 1
    """How many local worker processes are started and kept alive."""
    capacity: int = 100
    """How many runs a local worker executes at once."""
    allow_host: tuple[str, ...] = ()
    """Names that may stand in the Host header, besides those of loopback."""
    allow_origin: tuple[str, ...] = ()
    """Origins of web pages that may use the server from another site, such as https://app.example.org."""
    loopback_without_key: bool = False
    """Accept requests of this machine without a key even when keys exist: any local program and user may then do
    everything in the first organisation. Refused together with `host`, `behind_proxy`, `trusted_proxy` and
    `allow_host`."""
    behind_proxy: bool = False
    """Say that a proxy which speaks TLS with the world stands before this server: needed to listen on other addresses."""
    trusted_proxy: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded-For, -Host and -Proto are believed, such as 10.0.0.0/8."""
    key_per_minute: int = 600_000
    """How often a key may ask in a minute, if nothing else is said of it."""
    key_per_day: int = 100_000_000
    """How often a key may ask in a day (UTC), if nothing else is said of it."""
    lease_ms: int = 15_000
    """How long a worker may go unheard before its runs are taken from it."""
    disconnect_ms: int = 1_000
    """How long a worker whose signals connection broke has to come back."""
    body_max: int = 8 * 1024 * 1024
    """The largest request body, in bytes."""
    upload_max: int = 1024 * 1024 * 1024
    """The largest file that can be uploaded to be imported, in bytes."""
    external_allow: tuple[str, ...] = ()
    """Hosts (HOST or HOST:PORT), addresses and networks of external databases that are allowed although they are not
    public; without a port a host is allowed on any."""
    external_ports: tuple[int, ...] = (3306, 5432)
    """Ports of external databases on hosts that are not in `external_allow`."""
    external_folders: tuple[str, ...] = ()
    """Folders whose SQLite files may be opened as external databases."""
    external_timeout_ms: int = 10_000
    """How long an external database may take to answer."""
    input_max: int = 1024 * 1024
    """The largest input of a run, in bytes."""
    output_max: int = 8 * 1024 * 1024
    """The largest output of a run, in bytes."""
    depth_max: int = 100
    """How deep JSON may be nested."""
    query_max_ms: int = 10_000
    """Timeout of a request's query in the database (a list, a filter, a count); one that takes longer is cancelled, and
    the request answered with 422 `query_too_costly`. On PostgreSQL every read ends after 30 seconds at the latest."""
    wait_max_ms: int = 60_000
    """The longest that a request may wait for a change."""
    drain_ms: int = 30_000
    """How long a stopping server lets requests and local runs finish."""
    idempotency_ms: int = 7 * 86_400_000
    """How long replies are kept under their Idempotency-Key."""
    tombstone_ms: int = 90 * 86_400_000
    """How long a removed run answers 410 before it answers 404."""
    slots_ms: int = 30 * 86_400_000
    """How long it is kept what became of a schedule's slots; never longer than `tombstone_ms`. So far back slots can be
    back-filled."""
    reserve_bytes: int = 64 * 1024 * 1024
    """Disk space held back so that runs can finish on a full disk; 0 holds none."""
    streams_max: int = 12_000
    """How many event streams may be open at once. An eighth is reserved for workers. Once keys exist, a key may hold
    half as many as are still free (alone, a third of all), and an organisation twice as many (two thirds)."""
    log_lines_max: int = 10_000
    """How many lines of log a run may have; what comes after is dropped, and said so."""
    secret: str = ""
    """What tokens and cursors are signed with, the same for all servers of a store. If empty it is made once and kept: beside
    a file, readable by its owner only; of PostgreSQL in the database."""
    earlier_secrets: tuple[str, ...] = ()
    """Secrets that this store had before: what they sealed still opens. The content of a `.key` file is one as it stands."""
    outbound_allow: tuple[str, ...] = ()
    """What webhooks and mails may go to although it is not public: hosts (HOST or HOST:PORT, by http too) and networks
    (10.0.0.0/8). By default the server calls nothing inside its own network."""
    outbound_refuse: tuple[str, ...] = ()
    """Networks that are never called, also if a host that is allowed leads there."""
    outbound_ports: tuple[int, ...] = (443,)
    """Ports of public hosts that webhooks may go to."""
    outbound_http: bool = False
    """Whether webhooks may go to public hosts by http, on port 80."""
    accept_loss: bool = False
    """Serve although the database is set to lose acknowledged changes when it crashes (fsync, full_page_writes or
    synchronous_commit off) or fails over (synchronous_commit = local beside synchronous standbys)."""
    cloudcoin_aliases: tuple[str, ...] = ()
    """Further commands of the CloudCoin surface, as `command=task`; `GET command=task` and `PUT command=task` for those that
    are no POST."""
    cloudcoin_loopback_without_key: bool = False
    """Accept requests of this machine on the CloudCoin surface without a key even when keys exist: they may start tasks
    of the first organisation and see the runs started so. Refused together with the same settings as
    `loopback_without_key`."""
    cloudcoin_origins: tuple[str, ...] = ()
    """Origins of web pages that may use the CloudCoin surface from another site, and nothing else."""
    tadabase_origins: tuple[str, ...] = ()
    """Origins of web pages that may use the Tadabase surface from another site, and nothing else."""
    cloudcoin_strict: bool = False
    """Answer errors on the CloudCoin surface with HTTP 200, as the original does."""
    access_log: bool = False
    """Whether each request is logged."""


RENAMED: Final = {
    "anonymous_loopback": "loopback_without_key", "cloudcoin_anonymous": "cloudcoin_loopback_without_key",
}  # fmt: skip
"""Removed settings and where to look instead; they are refused, since the new ones do not mean the same."""
_KEYLESS: Final = ("loopback_without_key", "cloudcoin_loopback_without_key")
_FORWARDING: Final = ("behind_proxy", "trusted_proxy", "allow_host")
"""Settings used behind a proxy, where requests of other machines arrive from loopback."""
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)


def check(settings: Settings, *, locked: bool = True) -> None:
    """Raise ValueError, with what to do, for settings with which no server may run, alone or together.

    `locked` says whether there is a key, which is known when the store is open: others than this machine are never served
    without one.
    """
    host = settings.host
    if not (settings.behind_proxy or is_loopback(host)):
        raise ValueError(
            f"refusing to listen on {host}: keys would go over the network in the clear; put a proxy that speaks TLS "
            f"before it and say --behind-proxy, or listen on 127.0.0.1"
        )
    if not (locked or is_loopback(host)):
        raise ValueError(
            f"refusing to listen on {host}: without keys anyone who reaches it could run tasks; make one with  "
            f"headway keys create admin --scope all --store URL  or listen on 127.0.0.1"
        )
    others = [name for name in _FORWARDING if getattr(settings, name)] + ([] if is_loopback(host) else ["host"])
    for name in keyless(settings):
        if others:
            raise ValueError(
                f"{variable(name)} is for this machine alone: with {variable(others[0])} the requests of others arrive here "
                f"too; leave one of the two out"
            )
    for name in ("allow_origin", "cloudcoin_origins", "tadabase_origins"):
        for origin in getattr(settings, name):
            _check_origin(name, origin)


def keyless(settings: Settings) -> list[str]:
    """Return the names of the settings that are on and let requests of this machine in without a key."""
    return [name for name in _KEYLESS if getattr(settings, name)]


def variable(name: str) -> str:
    """Return the name of a setting's environment variable."""
    return f"HEADWAY_{name.upper()}"


def _check_origin(name: str, origin: str) -> None:
    found = _ORIGIN.fullmatch(origin)
    if found is None or (found["scheme"], found["port"]) in (("http", "80"), ("https", "443")):
        raise ValueError(
            f"{variable(name)}: {origin[:100]!r} is not an origin as browsers write it: scheme://host or scheme://host:port, "
            f"in lower case, without a path or a default port"
        )


def from_environment(environment: Mapping[str, str] = os.environ, **flags: Any) -> Settings:
    """Return the settings; flags that are None are unset. Raise ValueError naming the variable that cannot be read."""
    for old, new in RENAMED.items():
        if variable(old) in environment:
            raise ValueError(f"{variable(old)} is no more: see {variable(new)}, which is off unless it is set")
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        text = environment.get(variable(field.name))
        if text is not None:
            values[field.name] = _read(field, text)
    values.update({name: value for name, value in flags.items() if value is not None})
    return Settings(**values)


def ignore_environment() -> None:
    """Remove every HEADWAY_* variable from this process's environment; for a temporary server and its client."""
    for name in [name for name in os.environ if name.startswith("HEADWAY_")]:
        del os.environ[name]


def _read(field: msgspec.structs.FieldInfo, text: str) -> Any:
    try:
        if field.name.endswith("_ms") and not text.isdigit():
            return parse_ms(text)
        if isinstance(field.default, tuple):
            return msgspec.convert(list(filter(None, text.split(","))), field.type, strict=False)
        return msgspec.convert(text, field.type, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise ValueError(f"{variable(field.name)}: {error}") from None

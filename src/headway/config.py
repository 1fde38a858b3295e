"""Settings, each defined once: type, range, unit, option, default and meaning; and the combinations that are refused.

Options win over the environment, the environment over defaults. `headway.setting` reads and checks the values.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from headway.kinds import (
    EXACT_NETWORK,
    FILE,
    HOST,
    JSON_OBJECT,
    NAMED,
    NETWORK,
    ORIGIN,
    PORT,
    SECRET,
    TARGET,
    Bytes,
    Choice,
    Duration,
    Flag,
    Many,
    Seconds,
    Text,
    Whole,
)
from headway.networks import is_loopback
from headway.setting import (
    LOCAL_ONLY,
    PREFIX,
    PYTHON_ONLY,
    Former,
    check_all,
    read,
    setting,
    settings_of,
    variable_warnings,
    variables_of,
)
from headway.surfaces import SurfaceSettings, tables

S = TypeVar("S", bound=SurfaceSettings)

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
GIB: Final = 1 << 30
WORKERS_MAX: Final = 1_000
CAPACITY: Final = Whole(1, 100_000)
LOOP_BLOCKED: Final = Duration(0, HOUR_MS)
RAY_CAPACITY: Final = Whole(0, 100_000)
LOG_FORMAT: Final = Choice(("text", "json"))
LOG_LEVEL: Final = Choice(("debug", "info", "warning", "error"))
RETRIES: Final = 7
"""Default number of retries: six to ten seconds, as long as a busy machine takes to restart a server."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a server. In the environment each is HEADWAY_ and its name in capitals. Raises ValueError for bad values."""

    store: Annotated[str, Text("the URL of a store", 1, secret=True), "--store"] = "sqlite:///headway.db"
    """URL of the store: sqlite:///PATH (relative, or absolute with four slashes), sqlite:///:memory:, or
    postgresql://USER@HOST/DATABASE, which several servers may share.
    """
    make_folder: Annotated[bool, Flag(), "--make-folder"] = False
    """Make the folder of `store` if it is missing. Without it a server does not start if the folder is missing, as
    it is if a disk is not mounted."""
    host: Annotated[str, Text("an address or a host name", 1, 255), "--host"] = "127.0.0.1"
    """Address to listen on. An address other than loopback needs a key, and `tls_cert` or `behind_proxy`."""
    port: Annotated[int, Whole(0, 65_535), "--port"] = 8006
    """Port to listen on; 0 takes a free one."""
    app: Annotated[str, Text("MODULE:APP"), "MODULE:APP"] = ""
    """MODULE:APP of the tasks that local workers execute; without it there are no local workers."""
    workers: Annotated[int, Whole(0, WORKERS_MAX), "--workers"] = 1
    """Number of local worker processes that are started and kept alive."""
    capacity: Annotated[int, CAPACITY, "--capacity"] = 100
    """Number of runs that a local worker executes at once."""
    reload: Annotated[bool, Flag(), "--reload"] = False
    """Restart local workers when a file of the app changes, for development; their runs are handed back."""
    loop_blocked_ms: Annotated[int, LOOP_BLOCKED] = 1_000
    """Time for which one task may block the event loop of a local worker before the worker reports it; 0: never."""
    allow_host: Annotated[tuple[str, ...], Many(HOST), "--allow-host"] = ()
    """Names that may stand in the Host header, besides those of loopback."""
    allow_origin: Annotated[tuple[str, ...], Many(ORIGIN), "--allow-origin"] = ()
    """Origins of web pages that may use the server from another site, such as https://app.example.org."""
    loopback_without_key: Annotated[
        bool, Flag(), "--loopback-without-key", LOCAL_ONLY, Former("anonymous_loopback")
    ] = False
    """Accept requests of this machine without a key even when keys exist: any local program and user may then do
    everything in the first organisation. Refused together with `host`, `behind_proxy`, `trusted_proxy` and
    `allow_host`."""
    tls_cert: Annotated[str, FILE, "--tls-cert"] = ""
    """File with the server's certificate in PEM, followed by its CA certificates; turns on TLS. It is read
    again on SIGHUP."""
    tls_key: Annotated[str, FILE, "--tls-key"] = ""
    """File with the key of `tls_cert`, readable by the server's user only; default: the file of `tls_cert`."""
    behind_proxy: Annotated[bool, Flag(), "--behind-proxy"] = False
    """Whether a TLS proxy stands before this server, which allows it to listen on other addresses than loopback."""
    trusted_proxy: Annotated[tuple[str, ...], Many(NETWORK), "--trusted-proxy"] = ()
    """Addresses or networks of proxies whose X-Forwarded-For, -Host and -Proto are believed, such as 10.0.0.0/8."""
    key_per_minute: Annotated[int, Whole(1, 10**9)] = 600_000
    """Requests per minute that a key may make, if the key has no limit of its own."""
    key_per_day: Annotated[int, Whole(1, 10**12)] = 100_000_000
    """Requests per day (UTC) that a key may make, if the key has no limit of its own."""
    lease_ms: Annotated[int, Duration(500, DAY_MS), "--lease"] = 15_000
    """Lease of a worker: time without a heartbeat after which its runs are taken from it."""
    disconnect_ms: Annotated[int, Duration(0, HOUR_MS)] = 1_000
    """Time in which a worker whose signals connection broke has to reconnect."""
    body_max: Annotated[int, Bytes(100, GIB)] = 8 * 1024 * 1024
    """The largest request body, in bytes."""
    upload_max: Annotated[int, Bytes(100, 1024 * GIB)] = 1024 * 1024 * 1024
    """The largest file that can be uploaded to be imported, in bytes."""
    external_allow: Annotated[tuple[str, ...], Many(NAMED)] = ()
    """Hosts (HOST or HOST:PORT), addresses and networks of external databases that are allowed although they are not
    public; without a port a host is allowed on any."""
    external_ports: Annotated[tuple[int, ...], Many(PORT)] = (3306, 5432)
    """Ports of external databases on hosts that are not in `external_allow`."""
    external_folders: Annotated[tuple[str, ...], Many(Text("a folder", 1))] = ()
    """Folders whose SQLite files may be opened as external databases."""
    external_timeout_ms: Annotated[int, Duration(100, HOUR_MS)] = 10_000
    """Timeout of an external database."""
    input_max: Annotated[int, Bytes(100, GIB // 4)] = 1024 * 1024
    """The largest input of a run, in bytes."""
    output_max: Annotated[int, Bytes(100, GIB // 4)] = 8 * 1024 * 1024
    """The largest output of a run, in bytes."""
    depth_max: Annotated[int, Whole(1, 500)] = 100
    """Maximum nesting of JSON."""
    query_max_ms: Annotated[int, Duration(10, HOUR_MS)] = 10_000
    """Timeout of a request's query in the database (a list, a filter, a count); a slower query is cancelled, and the
    request answered with 422 `query_too_costly`. On PostgreSQL every read ends after 30 seconds at the latest.
    """
    wait_max_ms: Annotated[int, Duration(0, HOUR_MS)] = 60_000
    """Longest time that a request may wait for a change."""
    drain_ms: Annotated[int, Duration(0, DAY_MS), "--drain"] = 30_000
    """Time in which a stopping server lets requests and local runs finish; local workers have 5 s more to hand back the others."""
    idempotency_ms: Annotated[int, Duration(1_000, 3650 * DAY_MS)] = 7 * 86_400_000
    """Retention of replies under their Idempotency-Key."""
    tombstone_ms: Annotated[int, Duration(0, 3650 * DAY_MS)] = 90 * 86_400_000
    """Time for which a removed run answers 410 before it answers 404."""
    slots_ms: Annotated[int, Duration(0, 3650 * DAY_MS)] = 30 * 86_400_000
    """Retention of the past slots of schedules, at most `tombstone_ms`. Slots can be back-filled that far back."""
    reserve_bytes: Annotated[int, Bytes(0, 1024 * GIB)] = 64 * 1024 * 1024
    """Disk space reserved so that runs can finish on a full disk; 0 reserves none."""
    streams_max: Annotated[int, Whole(1, 1_000_000)] = 12_000
    """Maximum number of open event streams. An eighth is reserved for workers. Once keys exist, a key may hold half
    as many as are still free (alone, a third of all), and an organisation twice as many (two thirds).
    """
    log_lines_max: Annotated[int, Whole(0, 10**9)] = 10_000
    """Maximum number of log lines of a run; further lines are dropped, and the log says so."""
    secret: Annotated[str, SECRET] = ""
    """Secret that signs tokens and cursors, the same for all servers of a store. If empty it is made once and kept:
    beside a file, readable by its owner only; of PostgreSQL in the database.
    """
    earlier_secrets: Annotated[tuple[str, ...], Many(SECRET)] = ()
    """Earlier secrets of this store, to open values sealed with them. The content of a `.key` file is such a secret."""
    ray_runtime_env: Annotated[str, JSON_OBJECT] = ""
    """The [Ray runtime environment](../how-to/ray.md) of local workers' runs, as JSON."""
    bootstrap_key: Annotated[str, Text("a key, hw_ID_SECRET", secret=True)] = ""
    """The text of the first key, which gets every scope, for a store without keys: `headway keys generate` makes one. It
    is used at the first start; later ones warn if it is not a key of the store."""
    bootstrap_key_file: Annotated[str, FILE] = ""
    """A file that holds `bootstrap_key`."""
    outbound_allow: Annotated[tuple[str, ...], Many(TARGET)] = ()
    """Targets of webhooks and mails that are allowed although they are not public: hosts (HOST or HOST:PORT, by http
    too) and networks (10.0.0.0/8). By default the server calls nothing inside its own network.
    """
    outbound_refuse: Annotated[tuple[str, ...], Many(EXACT_NETWORK)] = ()
    """Networks that are never called, also if an allowed host resolves to them."""
    outbound_ports: Annotated[tuple[int, ...], Many(PORT)] = (443,)
    """Ports of public hosts that webhooks may go to."""
    outbound_http: Annotated[bool, Flag()] = False
    """Whether webhooks may go to public hosts by http, on port 80."""
    accept_loss: Annotated[bool, Flag(), "--accept-loss"] = False
    """Serve although the database is set to lose acknowledged changes when it crashes (fsync, full_page_writes or
    synchronous_commit off) or fails over (synchronous_commit = local beside synchronous standbys)."""
    access_log: Annotated[bool, Flag(), "--access-log"] = False
    """Log each request, at any level."""
    log_format: Annotated[str, LOG_FORMAT, "--log-format"] = "text"
    """Format of the log on stderr: lines of text, or a JSON object on each line."""
    log_level: Annotated[str, LOG_LEVEL, "--log-level"] = "info"
    """Lowest level to log."""
    surfaces: tuple[SurfaceSettings, ...] = ()
    """Settings of surfaces, each of its own type; a surface without any has the defaults."""

    def __post_init__(self) -> None:
        check_all(self)

    def of(self, table: type[S]) -> S:
        """Return the settings of the surface that declares the table."""
        return next((each for each in self.surfaces if isinstance(each, table)), None) or table()


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of `headway worker`. Raises ValueError for bad values."""

    app: Annotated[str, Text("MODULE:APP"), "MODULE:APP"] = ""
    """MODULE:APP of the tasks to execute."""
    processes: Annotated[int, Whole(1, WORKERS_MAX), "--processes", "HEADWAY_WORKERS"] = 1
    """Number of worker processes that are started and kept alive."""
    capacity: Annotated[int, CAPACITY, "--capacity"] = 100
    """Runs that each process executes at once."""
    queues: Annotated[tuple[str, ...], Many(Text("a queue", 1, 200)), "--queues"] = ()
    """Queues to claim from; default: all."""
    ray_address: Annotated[str, Text("the address of a Ray cluster"), "--ray-address"] = ""
    """Address of the Ray cluster; default: RAY_ADDRESS, or the cluster of this machine."""
    ray_runtime_env: Annotated[str, JSON_OBJECT] = ""
    """The [Ray runtime environment](../how-to/ray.md) of runs, as JSON."""
    ray_capacity: Annotated[int, RAY_CAPACITY, "--ray-capacity"] = 100
    """Runs on Ray at once; 0 leaves Ray tasks to other workers."""
    name: Annotated[str, Text("a name", 0, 200), "--name", "HEADWAY_WORKER_NAME"] = ""
    """Name for people; default: host and process id."""
    drain_ms: Annotated[int, Duration(0, DAY_MS), "--drain"] = 20_000
    """Time for runs to finish when the worker is stopped."""
    log_format: Annotated[str, LOG_FORMAT, "--log-format"] = "text"
    """Format of the log on stderr: lines of text, or a JSON object on each line."""
    log_level: Annotated[str, LOG_LEVEL, "--log-level"] = "info"
    """Lowest level to log."""
    reload: Annotated[bool, Flag(), "--reload"] = False
    """Restart the worker when a file of the app changes, for development; its runs are handed back."""
    loop_blocked_ms: Annotated[int, LOOP_BLOCKED, "--loop-blocked"] = 1_000
    """Time for which one task may block the event loop before the worker reports it; 0: never."""

    def __post_init__(self) -> None:
        check_all(self)


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of clients, workers and commands. Raises ValueError for bad values."""

    url: Annotated[str, Text("the URL of a server", 0, 65_536), "--url"] = ""
    """URL of the server, http://127.0.0.1:8006 if absent; several on one store with commas between."""
    server: Annotated[str, Text("the URL of a server", 0, 65_536), "--server"] = ""
    """Alias of `url`, which it overrides."""
    key: Annotated[str, Text("a key, hw_…", secret=True)] = ""
    """Key of the client, hw_…, made by a server."""
    key_file: Annotated[str, FILE, "--key-file"] = ""
    """File with the key; `key` overrides it."""
    ca: Annotated[str, FILE, "--ca"] = ""
    """File with the certificates of authorities that are trusted for the server, in place of the system's (PEM)."""
    timeout: Annotated[float, Seconds(0.001, 86_400), PYTHON_ONLY] = 30.0
    """Longest silence of the server, in seconds."""
    retries: Annotated[int, Whole(0, 1_000), PYTHON_ONLY] = RETRIES
    """Number of times that a request is tried again after a failure of the connection or an overloaded server."""

    def __post_init__(self) -> None:
        check_all(self)


_FORWARDING: Final = ("behind_proxy", "trusted_proxy", "allow_host")
"""Settings used behind a proxy, where requests of other machines arrive from loopback."""
SHARED: Final = frozenset({"HEADWAY_URL", "HEADWAY_SERVER", "HEADWAY_CA", "HEADWAY_RAY_RUNTIME_ENV"})
"""Variables that worker processes and user code inherit: the server's address, and Ray's environment."""


def check(settings: Settings, *, locked: bool = True) -> None:
    """Raise ValueError, with advice, for settings that no server may run with, alone or together.

    `locked` is whether a key exists, which is known when the store is open: other machines are never served without
    one.
    """
    host = settings.host
    for own in settings.surfaces:
        own.check()
    if settings.tls_key and not settings.tls_cert:
        raise ValueError(
            "--tls-key (HEADWAY_TLS_KEY) is the key of a certificate: name that with --tls-cert (HEADWAY_TLS_CERT)"
        )
    if not (settings.behind_proxy or settings.tls_cert or is_loopback(host)):
        raise ValueError(
            f"refusing to listen on {host}: keys would go over the network in the clear; give it a certificate with "
            f"--tls-cert and --tls-key, put a proxy that speaks TLS before it and say --behind-proxy, or listen on 127.0.0.1"
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
                f"{name} is for this machine alone: with {variable(others[0])} the requests of others arrive here "
                f"too; leave one of the two out"
            )


def keyless(settings: Settings) -> list[str]:
    """Return the variables of the settings that are on and let requests of this machine in without a key."""
    return [
        each.variable
        for values in (settings, *settings.surfaces)
        for each in settings_of(type(values))
        if each.local_only and getattr(values, each.name)
    ]


def variable(name: str) -> str:
    """Return the name of the environment variable of a server's setting."""
    return setting(Settings, name).variable


def from_environment(environment: Mapping[str, str] = os.environ, **flags: Any) -> Settings:
    """Return a server's settings; flags that are None are unset. Raise ValueError naming the variable that cannot be read."""
    own = (read(table, environment, {}) for table in tables())
    chosen = tuple(values for values in own if values != type(values)())
    return read(Settings, environment, {**flags, "surfaces": chosen})


def worker_from_environment(environment: Mapping[str, str] = os.environ, **flags: Any) -> WorkerSettings:
    """Return a worker's settings, as `from_environment` does a server's."""
    return read(WorkerSettings, environment, flags)


def variables() -> frozenset[str]:
    """Return every environment variable that is a setting, removed ones included."""
    every: tuple[type[msgspec.Struct], ...] = (Settings, WorkerSettings, ClientSettings, *tables())
    return frozenset(name for table in every for name in variables_of(table))


def environment_warnings(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a warning for each environment variable that looks like a setting but is none, or is ignored."""
    return variable_warnings(environment, variables())


def ignore_environment() -> None:
    """Remove every HEADWAY_* variable from this process's environment; for a temporary server and its client."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]

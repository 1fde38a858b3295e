"""Checks of `headway doctor` on PostgreSQL: settings, schema, users, and with `--verify` every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg

from headway.clock import Clock
from headway.ids import Signer
from headway.store import checkup as checkup_of
from headway.store.checkup import Check
from headway.store.database import DatabaseGone
from headway.store.postgres.connection import connect
from headway.store.postgres.dialect import POSTGRES
from headway.store.postgres.open import SECRET, VERSION_LEAST, half_moved, losing
from headway.store.postgres.verify import verify as verify_rows
from headway.store.verify import RowCheck

Connection = psycopg.Connection[tuple[Any, ...]]

ALIVE_MS: Final = 10_000
"""A server says every two seconds that it is there."""
LONG_S: Final = 60
"""An older transaction keeps VACUUM from removing rows that were deleted or changed since its start."""
DEAD_LEAST: Final = 50_000
DEAD_SHARE: Final = 0.5
"""Dead rows per live row from which cleaning does not keep up."""
CROWDED: Final = 0.9
CLOCKS_APART_MS: Final = 2_000

_STANDBYS: Final = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
# In pg_stat_activity are all databases; those of others matter to neither our rows' cleaning nor our doctor.
_OLDEST: Final = """
SELECT 'process ' || pid || coalesce(nullif(' (' || application_name || ')', ' ()'), ''),
       extract(epoch FROM clock_timestamp() - xact_start)::bigint, 'SELECT pg_terminate_backend(' || pid || ')'
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND xact_start < clock_timestamp() - make_interval(secs => %(long)s)
UNION ALL
SELECT 'prepared transaction ' || gid, extract(epoch FROM clock_timestamp() - prepared)::bigint,
       'ROLLBACK PREPARED ' || quote_literal(gid)
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => %(long)s)
ORDER BY 2 DESC LIMIT 1
"""
_SLOTS: Final = """
SELECT slot_name, greatest(age(xmin), age(catalog_xmin))::bigint FROM pg_replication_slots
WHERE NOT active AND coalesce(xmin, catalog_xmin) IS NOT NULL ORDER BY 2 DESC LIMIT 1
"""
_DEAD: Final = """
SELECT relname, n_dead_tup, n_live_tup, pg_total_relation_size(relid) FROM pg_stat_user_tables
WHERE relid = ANY(ARRAY['runs', 'events', 'counters']::regclass[]::oid[]) ORDER BY n_dead_tup DESC LIMIT 1
"""
_CONNECTIONS: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
"""


def checkup(
    url: str,
    clock: Clock,
    *,
    verify: bool,
    checks: Sequence[RowCheck] = (),
    secret: str = "",
    earlier: Sequence[bytes] = (),
) -> Iterator[Check]:
    """Check a store without changing it, also while servers use it. An invalid URL raises ValueError.

    Secrets are those that settings name, if any.
    """
    try:
        connection = connect(url)
    except DatabaseGone as error:
        yield "store", False, str(error)
        return
    try:
        yield from _server(connection, clock)
        yield from _contents(connection, clock, secret, earlier, verify=verify, checks=checks)
    except psycopg.Error as error:
        yield "store", False, f"the database cannot be read: {' '.join(str(error).split())}"
    finally:
        connection.close()


def _server(connection: Connection, clock: Clock) -> Iterator[Check]:
    version = connection.info.server_version
    new = version >= VERSION_LEAST * 10_000
    advice = "" if new else f"; Headway needs {VERSION_LEAST} or newer"
    yield "postgresql", new, f"{version // 10_000}.{version % 10_000}{advice}"
    encoding = _one(
        connection, "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    )
    yield "encoding", encoding == "UTF8", encoding if encoding == "UTF8" else f"{encoding}; make a database with UTF8"
    yield _durability(connection)
    yield _standby(connection)
    yield _transactions(connection)
    yield _connections(connection)
    yield _clocks(connection, clock)


def _durability(connection: Connection) -> Check:
    if found := losing(connection):
        return "durability", False, f"{' and '.join(found)}: what was acknowledged can be lost; set it to on"
    return "durability", True, "a commit that is acknowledged is on disk"


def _standby(connection: Connection) -> Check:
    """Say whether there is a second place; that is a choice, and nothing that is wrong."""
    if not _one(connection, "SHOW synchronous_standby_names"):
        return "standby", True, "none that commits wait for: what is acknowledged is on one machine"
    count = int(_one(connection, _STANDBYS))
    return "standby", True, f"commits wait for a synchronous standby; {count} connected, as far as this user may see"


def _transactions(connection: Connection) -> Check:
    for who, seconds, end in connection.execute(_OLDEST, {"long": LONG_S}):
        return (
            "transactions",
            False,
            (
                f"{who} has one open for {seconds:,} s, and until it ends nothing that was deleted or changed since is cleaned "
                f"away: end what holds it, or  {end}"
            ),
        )
    for name, age in connection.execute(_SLOTS):
        return (
            "transactions",
            False,
            (
                f"the replication slot {name} is not in use and holds back {age:,} transactions: start its standby, or "
                f"SELECT pg_drop_replication_slot('{name}')"
            ),
        )
    return "transactions", True, f"none is open for more than {LONG_S} s"


def _connections(connection: Connection) -> Check:
    used, most = connection.execute(_CONNECTIONS).fetchone() or (0, 1)
    crowded = used >= most * CROWDED
    advice = "; raise max_connections, or run fewer servers (each has about eight)" if crowded else ""
    return "connections", not crowded, f"{used:,} of {most:,} are used{advice}"


def _clocks(connection: Connection, clock: Clock) -> Check:
    """Compare this machine's clock with the database's; the answer was made somewhere between asking and hearing."""
    before = clock.now_ms()
    there = int(_one(connection, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"))
    after = clock.now_ms()
    apart = max(before - there, there - after, 0)
    if apart > CLOCKS_APART_MS:
        return (
            "clocks",
            False,
            f"this machine's and the database's are {apart / 1000:,.1f} s apart: look at NTP on both",
        )
    return (
        "clocks",
        True,
        f"this machine's and the database's are less than {max(apart, after - before) + 1:,} ms apart",
    )


def _signers(connection: Connection, secret: str, earlier: Sequence[bytes]) -> list[Signer]:
    kept = connection.execute("SELECT value FROM store WHERE name = %s", (SECRET,)).fetchone()
    in_store = None if kept is None else bytes.fromhex(str(kept[0]))
    return checkup_of.signers(secret.encode() if secret else in_store, earlier)


def _contents(
    connection: Connection,
    clock: Clock,
    secret: str,
    earlier: Sequence[bytes],
    *,
    verify: bool,
    checks: Sequence[RowCheck],
) -> Iterator[Check]:
    if not _one(connection, "SELECT coalesce(to_regclass('migrations')::text, '')"):
        yield "schema", False, "there is no store in this database; `headway serve` makes one"
        return
    check, readable = checkup_of.schema(
        POSTGRES, {row[0] for row in connection.execute("SELECT number FROM migrations")}
    )
    yield check
    if not readable:
        return
    if half_moved(connection):
        yield "store", False, "a store is being moved into it: `headway migrate-store` goes on where it was"
    yield checkup_of.runs(connection.execute(checkup_of.STATES))
    yield _servers(connection, clock)
    yield _dead(connection)
    if verify:
        signers = _signers(connection, secret, earlier)
        yield from checkup_of.rows(lambda: verify_rows(connection, signers, checks), psycopg.Error)


def _servers(connection: Connection, clock: Clock) -> Check:
    """Say who serves it; `heard_at` is by each server's own clock, so it is for people."""
    found = connection.execute("SELECT host, pid, heard_at FROM servers ORDER BY created_at").fetchall()
    alive = [f"{host}:{pid}" for host, pid, heard_at in found if clock.now_ms() - heard_at <= ALIVE_MS]
    silent = len(found) - len(alive)
    more = f"; {silent} silent, whose place the next server clears" if silent else ""
    return "servers", True, (f"{len(alive)} alive: {', '.join(alive)}" if alive else "none is alive") + more


def _dead(connection: Connection) -> Check:
    name, dead, live, size = connection.execute(_DEAD).fetchone() or ("runs", 0, 0, 0)
    many = dead >= DEAD_LEAST and dead >= live * DEAD_SHARE
    advice = f"; cleaning does not keep up: VACUUM {name}, and look at autovacuum" if many else ""
    return "dead rows", not many, f"{name} has {dead:,} dead to {live:,} live, {size // 2**20:,} MiB{advice}"


def _one(connection: Connection, query: str) -> str:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])

"""Faults of a connection, in a sentence with advice, without the password of the URL."""

from __future__ import annotations

import re
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from headway.store.database import DatabaseGone
from headway.store.location import shown


class LoginRefused(DatabaseGone):
    """The database answers and refuses the login, which a wait does not change."""


_PASSWORD: Final = re.compile(r"password authentication failed|no password supplied")
_DATABASE: Final = re.compile(r'database "([^"]*)" does not exist')
_ROLE: Final = re.compile(r'role "([^"]*)" does not exist|role "([^"]*)" is not permitted to log in')
_ACCESS: Final = re.compile(r"no pg_hba\.conf entry|pg_hba\.conf rejects|permission denied for database")
_NO_HOST: Final = re.compile(r"failed to resolve host|could not translate host name")
_SILENT: Final = re.compile(
    r"Connection refused|No such file or directory|timeout|timed out|unreachable|No route to host|closed the connection"
)
_STARTING: Final = re.compile(r"the database system is (starting up|shutting down|not yet accepting|in recovery mode)")
_CROWDED: Final = re.compile(r"too many clients|remaining connection slots|too many connections")
_STANDBY: Final = re.compile(r"session is read-only|server is in hot standby")
_OPTION: Final = re.compile(
    r'connection is bad: (?:invalid integer value .* for connection option "(\w+)"|invalid (port) number|invalid (\w+) value: )'
    r"|Servname not supported"
)
"""Errors in a URL that the driver finds only when it connects; trying again is of no use."""


def no_connection(url: str, error: psycopg.DatabaseError) -> Exception:
    """Return why there is no connection: ValueError if there can never be one with this URL, else DatabaseGone."""
    return unwritable(url, error) if _OPTION.search(str(error)) else gone(url, error)


def unwritable(url: str, error: psycopg.Error) -> ValueError:
    """Return the fault of a URL that the driver cannot read. Its own words may quote the password."""
    text = str(error).strip()
    why = f" ({text})" if text.startswith("invalid URI query parameter") else ""
    if found := _OPTION.search(text):
        why = f" (look at its {next(filter(None, found.groups()), 'port')})"
    return ValueError(
        f"{shown(url)} is not the URL of a database{why}; write postgresql://USER:PASSWORD@HOST:5432/DATABASE, "
        f"and what is no letter or digit of a password as %XX"
    )


def gone(url: str, error: psycopg.DatabaseError) -> DatabaseGone:
    """Return why there is no connection; of several hosts, what each of them has said."""
    asked = conninfo_to_dict(url)
    text = str(error).partition("\n")[0]  # what follows are guesses, or what other hosts have said
    host, port = str(asked.get("host") or "this machine"), asked.get("port") or 5432
    host = host.rpartition("@")[2]  # an @ that stood in a password ought to have been written as %40
    if "," in host:
        each = dict.fromkeys(_said(line) for line in str(error).splitlines() if " failed: " in line)
        return DatabaseGone(f"none of {shown(url)} takes writes: {'; '.join(each) or text}")
    user, where = asked.get("user") or "this user", f"PostgreSQL at {host}, port {port},"
    if _PASSWORD.search(text):
        return LoginRefused(
            f"{where} refuses the password of {user}: put the right one into the URL, or into PGPASSWORD"
        )
    if found := _DATABASE.search(text):
        return LoginRefused(f'{where} has no database "{found[1]}": make it with  createdb {found[1]}  or name another')
    if found := _ROLE.search(text):
        return LoginRefused(
            f'{where} lets no user "{found[1] or found[2]}" in: make it with  createuser  or name another'
        )
    if _ACCESS.search(text):
        return LoginRefused(f"{where} does not let {user} in from this machine: {_said(text)}")
    if _NO_HOST.search(text):
        return DatabaseGone(f"there is no host {host}: look at the URL's spelling, and at DNS")
    if _STARTING.search(text):
        return DatabaseGone(f"{where} is not ready yet: {_said(text)}")
    if _CROWDED.search(text):
        return DatabaseGone(f"{where} has no connection left: raise max_connections, or end what holds them")
    if _STANDBY.search(text):
        return DatabaseGone(f"{where} is a standby, which takes no writes: name the primary, or all hosts with commas")
    if _SILENT.search(text):
        return DatabaseGone(
            f"{where} cannot be reached: is it running, and does a firewall stand between? ({_said(text)})"
        )
    return DatabaseGone(f"{where} cannot be used: {_said(text)}")


def _said(text: str) -> str:
    """Return the end of what the driver says: the part that is the server's or the system's own."""
    return text.rpartition(" failed: ")[2].removeprefix("FATAL:").strip()

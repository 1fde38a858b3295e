"""Checks of `headway doctor` that SQLite and PostgreSQL share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from headway.ids import Signer
from headway.store.statements import Dialect, migrations

Check = tuple[str, bool, str]
"""Name of the check, whether it passed, and its result with advice."""

FINDINGS_MAX: Final = 50
"""Findings that are shown; further ones would change no decision."""


def schema(dialect: Dialect, done: set[int]) -> tuple[Check, bool]:
    """Return the check of the migrations, and whether the tables can be read."""
    known = {number for number, _, _ in migrations(dialect)}
    if not done:
        return ("schema", False, "it is a database, but not a store of Headway"), False
    if done - known:
        return ("schema", False, f"it was written by a newer Headway (migration {max(done)}); install that"), False
    missing = known - done
    more = f"; {len(missing)} more when a server starts" if missing else ""
    return ("schema", True, f"migration {max(done)}{more}"), not missing


def signers(secret: bytes | None, earlier: Iterable[bytes]) -> list[Signer]:
    """Return the signers that verify seals of the store; none if its secret is not known."""
    return [] if secret is None else [Signer(one) for one in (secret, *earlier)]


def runs(states: Iterable[Sequence[object]]) -> Check:
    """Return how many runs are in which state."""
    return "runs", True, ", ".join(f"{count:,} {state}" for state, count in states) or "none yet"


def rows(findings: Callable[[], Iterable[object]], broken: type[Exception]) -> Iterator[Check]:
    """Yield the findings about rows; the driver's error `broken` is raised in the caller."""
    found = list(_all(findings, broken))
    for finding in found[:FINDINGS_MAX]:
        yield "verify", False, finding
    if not found:
        yield "verify", True, "every row agrees with every other"


def _all(findings: Callable[[], Iterable[object]], broken: type[Exception]) -> Iterator[str]:
    try:
        yield from map(str, findings())
    except broken:
        raise
    except Exception as error:  # noqa: BLE001 - what stands in a damaged row may break anything
        yield f"a row cannot be read: {type(error).__name__}: {error}"


STATES: Final = (
    "SELECT state, CAST(sum(count) AS bigint) FROM counters GROUP BY state HAVING sum(count) > 0 ORDER BY state"
)

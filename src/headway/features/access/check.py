"""Check of the stored keys, users and secrets, and of the audit log, for `headway doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from headway.features.access.model import AuditEvent
from headway.features.access.rules import breaks
from headway.features.access.store import SEAL, VERSION, head_of, unsealed
from headway.store.verify import Finding, Read


def findings(read: Read) -> Iterator[Finding]:
    """Yield the faults of keys, users, secrets and the audit log."""
    for what, name in read("verify_keys"):
        yield Finding(what, f"{name} is of something that is not there")
    yield from _log(read)


def _log(read: Read) -> Iterator[Finding]:
    """Compare the audit log with its head, its seal, and the rows that only an audited action can have made.

    The seal is checked if the store's secrets are known.
    """
    head, sealed = head_of(read("verify_audit_head")), None
    if read.signers:
        seal = next((str(value) for (value,) in read("read_fact", name=SEAL)), "")
        sealed = unsealed(seal, read.signers)
        if seal and sealed is None:
            yield Finding("audit_events", "the log's seal was not made with this store's secret")
        elif not seal and head.number:
            yield Finding(
                "audit_events", "the log is not sealed: a server does so when it starts, or somebody has removed it"
            )
    for number, message in breaks((AuditEvent(*row) for row in read("verify_audit")), head, sealed):
        yield Finding("audit_events", f"line {number}: {message}")
    for what, name in read("verify_audited"):
        yield Finding("audit_events", f"nothing tells who has made the {what} {name}: lines are gone")
    changes = next((int(value) for (value,) in read("read_fact", name=VERSION)), 0)
    told = next(count for (count,) in read("verify_audit_changes"))
    if told < changes:
        yield Finding(
            "audit_events", f"keys, users and organisations were changed {changes} times, and {told} lines tell of it"
        )

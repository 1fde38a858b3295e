"""Check of the stored errors of records, for `headway doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from headway.store.verify import Finding, Read


def findings(read: Read) -> Iterator[Finding]:
    """Yield runs that are not there, but have errors of records."""
    for (run_id,) in read("verify_record_errors"):
        yield Finding(run_id, "a record-error of it is left, but it is not there")

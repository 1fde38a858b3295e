"""Seeded bugs that the tests of engine, service and storage have to find: `python -m tests.kernel.mutants [NAME …]`."""

import sys

from tests.mutation import Mutant, main

MUTANTS = (
    Mutant(
        "an attempt that waited is not given back", "_waiting",
        "run.attempt - (run.worker_id is not None)", "run.attempt",
        "tests/kernel/test_lifecycle.py",
    ),
    Mutant(
        "a claim does not raise the epoch", "_claimed",
        "run.epoch + 1", "max(run.epoch, 1)",
        "tests/kernel/test_lifecycle.py",
    ),
    Mutant(
        "reports are not fenced by the epoch", "ApplyReports.apply",
        "run is None or run.epoch != report.epoch or run.worker_id != self.worker_id",
        "run is None or run.worker_id != self.worker_id",
        "tests/runs/test_reporting.py",
    ),
    Mutant(
        "a save forgets a column", "sql:save_finished",
        "crashes = r.crashes, worker_id = NULL", "worker_id = NULL",
        "tests/store/test_oracle.py",
    ),
    Mutant(
        "copies of leased runs are those of a transaction that failed", "UnitOfWork.save",
        "self._runs[run_id] = self._for_cache[run_id] = run",
        "self._runs[run_id] = self._for_cache[run_id] = self._cache[run_id] = run",
        "tests/store/test_writer.py",
    ),
    Mutant(
        "broken storage is asked again, one by one", "Writer._one_by_one",
        "self.broken is not None", "False",
        "tests/store/test_writer.py",
    ),
    Mutant(
        "leases of an undone transaction are handed out", "Writer._transact",
        "command.result = None", "pass",
        "tests/store/test_writer.py",
    ),
    Mutant(
        "an idempotency key is forgotten at the next flush", "UnitOfWork.remember",
        "self._replies[key] = (fingerprint, reply)", "pass",
        "tests/runs/test_starting.py",
    ),
    Mutant(
        "a lost worker's claim goes on waiting", "Sessions.may_claim",
        "session.draining or session.over or self.draining", "session.draining or self.draining",
        "tests/runs/test_sessions.py",
    ),
    Mutant(
        "a run that leaves the queue keeps the slot it was let through for", "pass_on_key",
        "free_key(uow, run)", "pass",
        "tests/runs/test_claiming.py",
    ),
    Mutant(
        "what is behind the heads of a lane is passed over", "_find_ready",
        "if not deep:\n    break", "break",
        "tests/runs/test_claiming.py",
    ),
    Mutant(
        "a child that has ended before the wait is not looked at", "_suspend",
        "after.state is State.SUSPENDED", "False",
        "tests/runs/test_waiting.py",
    ),
    Mutant(
        "protection is not looked at when runs expire", "sql:find_expired",
        "WHERE expires_at IS NOT NULL AND protected = 0 AND expires_at <= :now_ms\nORDER",
        "WHERE expires_at IS NOT NULL AND expires_at <= :now_ms\nORDER",
        "tests/store/test_statements.py",
    ),
    Mutant(
        "removable does not look at protection either", "removable",
        "run.final and (not run.protected) and (run.expires_at is not None) and (run.expires_at <= now_ms)",
        "run.final and run.expires_at is not None and (run.expires_at <= now_ms)",
        "tests/kernel/test_retention.py",
    ),
    Mutant(
        "a watch begins after the snapshot has been taken twice", "History.watch",
        "run.seq if after is None else after", "run.seq",
        "tests/runs/test_watching.py",
    ),
    Mutant(
        "counters are not moved with the queue", "UnitOfWork.save",
        "run.state is not before.state or run.queue != before.queue", "run.state is not before.state",
        "tests/runs/test_keeping.py",
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(MUTANTS))

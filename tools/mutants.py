"""Seed one-line bugs and see that the tests find them: `python tools/mutants.py [NUMBER …]`.

Each mutant is applied to a copy of src/, and the tests named beside it are run on that copy: they must fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent


class Mutant(NamedTuple):
    """One bug."""

    what: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS: Final = (
    Mutant("an attempt that waited is not given back", "engine/lifecycle.py",
           "attempt=run.attempt - (run.worker_id is not None),", "attempt=run.attempt,", "tests/engine/test_lifecycle.py"),
    Mutant("a claim does not raise the epoch", "engine/lifecycle.py",
           "epoch=run.epoch + 1,", "epoch=max(run.epoch, 1),", "tests/engine/test_lifecycle.py"),
    Mutant("reports are not fenced by the epoch", "service/reporting.py",
           "run.epoch != report.epoch or ", "", "tests/service/test_reporting.py"),
    Mutant("a save forgets a column", "storage/sql/runs.sql",
           "crashes = r.crashes, worker_id = NULL", "worker_id = NULL", "tests/storage/test_oracle.py tests/storage/test_statements.py"),
    Mutant("copies of leased runs are those of a transaction that failed", "storage/unit.py",
           "        self._runs[run_id] = self._kept[run_id] = run\n",
           "        self._runs[run_id] = self._kept[run_id] = self._cache[run_id] = run\n", "tests/storage/test_writer.py"),
    Mutant("broken storage is asked again, one by one", "storage/writer.py",
           "            if self.broken is not None:\n                return done", "            if False:\n                return done",
           "tests/storage/test_writer.py"),
    Mutant("leases of an undone transaction are handed out", "storage/writer.py",
           "                command.result = None  # of a transaction that was undone\n", "                pass\n", "tests/storage/test_writer.py"),
    Mutant("an idempotency key is forgotten at the next flush", "storage/unit.py",
           "        self._replies[key] = (fingerprint, reply)\n        self._rem", "        self._rem", "tests/service/test_starting.py"),
    Mutant("a lost worker's claim goes on waiting", "service/workers.py",
           "session.draining or session.over or self.draining", "session.draining or self.draining", "tests/service/test_sessions.py"),
    Mutant("a run that leaves the queue keeps the slot it was let through for", "service/transitions.py",
           "        passed_on(unit, run)\n    if after", "        pass\n    if after", "tests/service/test_claiming.py"),
    Mutant("what is behind the heads of a lane is passed over", "service/claiming.py",
           "        if not deep:\n            break", "        break", "tests/service/test_claiming.py"),
    Mutant("a child that has ended before the wait is not looked at", "service/reporting.py",
           "if after.state is State.SUSPENDED and _has_come", "if False and _has_come", "tests/service/test_waiting.py"),
    Mutant("protection is not looked at when runs expire", "storage/sql/runs.sql",
           "WHERE expires_at IS NOT NULL AND protected = 0 AND expires_at <= :now_ms\nORDER", "WHERE expires_at IS NOT NULL AND expires_at <= :now_ms\nORDER",
           "tests/storage/test_statements.py"),
    Mutant("removable does not look at protection either", "engine/retention.py",
           "run.final and not run.protected and", "run.final and", "tests/engine/test_retention.py"),
    Mutant("a watch begins after the snapshot has been taken twice", "service/history.py",
           "seen = run.seq if after is None else after", "seen = run.seq", "tests/service/test_watching.py"),
    Mutant("counters are not moved with the queue", "storage/unit.py",
           "run.state is not before.state or run.queue != before.queue", "run.state is not before.state", "tests/service/test_keeping.py"),
)  # fmt: skip


def survives(mutant: Mutant) -> bool:
    """Tell whether the tests do not fail although the bug is there."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", ".mypy_cache"))
        shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        file = copy / "src/headway" / mutant.file
        text = file.read_text(encoding="utf-8")
        if mutant.old not in text:
            raise SystemExit(f"{mutant.file} has changed: {mutant.old!r} is not there")
        file.write_text(text.replace(mutant.old, mutant.new, 1), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "--timeout",
            "20",
            *mutant.tests.split(),
        ]
        environment = {**os.environ, "PYTHONPATH": "src"}
        ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        lines = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        found = ran.returncode == 1 and bool(lines)  # 2 to 5: the tests were not run at all
        print(f"{'found' if found else 'SURVIVES'}: {mutant.what}  {lines[0][:150] if lines else ran.stdout[-150:]}")
        return not found


def main() -> int:
    """Try all, or those whose numbers are given."""
    wanted = [MUTANTS[int(number)] for number in sys.argv[1:]] or MUTANTS
    return sum([survives(mutant) for mutant in wanted])


if __name__ == "__main__":
    sys.exit(main())

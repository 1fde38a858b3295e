"""Judges a store by the ledger kept outside it, and by its own invariants."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import apsw
import psycopg
from tests.faults import results
from tests.faults.server import Deployment
from tests.rows import verify, verify_postgres

FINAL = ("succeeded", "failed", "terminated")


class StoreContents:
    """All runs and events of a store that nobody uses any more, and the ledger's lines."""

    def __init__(self, deployment: Deployment) -> None:
        """Read everything."""
        self.deployment = deployment
        columns = "id, task, state, attempt, crashes, epoch, seq, input, output, run_type"
        names = columns.split(", ")
        self.events: dict[str, list[tuple[int, str, int, dict[str, Any]]]] = defaultdict(list)
        with opened(deployment) as connection:
            rows = connection.execute(f"SELECT {columns} FROM runs").fetchall()
            self.runs: dict[str, dict[str, Any]] = {row[0]: dict(zip(names, row, strict=True)) for row in rows}
            for run_id, seq, kind, time, data in connection.execute(
                "SELECT run_id, seq, type, time, data FROM events ORDER BY run_id, seq"
            ):
                self.events[run_id].append((seq, kind, time, json.loads(data)))
            # The pages of a database are its own affair.
            of_file = isinstance(connection, apsw.Connection)
            self.integrity = connection.execute("PRAGMA integrity_check").fetchall() if of_file else [("ok",)]
        self.acknowledged = deployment.ledger.lines("acknowledged")
        self.effects = deployment.ledger.lines("effect")
        self.steps = deployment.ledger.lines("step")

    @property
    def lost(self) -> list[dict[str, Any]]:
        """What was acknowledged and is not there."""
        return [line for line in self.acknowledged if line["run_id"] not in self.runs]

    @property
    def doubled(self) -> int:
        """How many starts have made several runs, or runs come to several ends."""
        ends = [sum(data.get("state") in FINAL for _, _, _, data in events) for events in self.events.values()]
        return len(self._numbers_twice()) + sum(count > 1 for count in ends)

    def hold(self, *, kills: int, finished: bool = True, fault: str = "", tries: int | None = None) -> None:
        """Assert everything that a fault must not change; if the fault has a name, note first what was seen."""
        if fault:
            results.note(
                fault, self.deployment.kind, tries=kills if tries is None else tries, acknowledged=len(self.acknowledged),
                lost=len(self.lost), doubled=self.doubled,
            )  # fmt: skip
        self._is_whole()
        self._nothing_is_lost(finished=finished)
        self._starts_happened_once()
        self._histories_are_straight()
        self._effects_agree(kills)
        self._steps_were_not_done_again()
        assert clean(self.deployment) == []

    def _is_whole(self) -> None:
        assert self.integrity == [("ok",)]

    def _nothing_is_lost(self, *, finished: bool) -> None:
        assert self.lost == [], f"{len(self.lost)} acknowledged runs are lost"
        if finished:
            states = Counter(self.runs[line["run_id"]]["state"] for line in self.acknowledged)
            assert set(states) <= {"succeeded"}, states

    def _starts_happened_once(self) -> None:
        assert self._numbers_twice() == {}, "one Idempotency-Key, several runs"
        ids = defaultdict(set)
        for line in self.acknowledged:
            ids[line["n"]].add(line["run_id"])
        assert all(len(found) == 1 for found in ids.values()), "one Idempotency-Key, several ids"
        assert len({line["run_id"] for line in self.acknowledged}) == len(ids), "one id, several Idempotency-Keys"

    def _numbers_twice(self) -> dict[int, int]:
        numbers = Counter(json.loads(run["input"]).get("n") for run in self.runs.values() if run["run_type"] == "api")
        return {n: count for n, count in numbers.items() if n and count > 1}

    def _histories_are_straight(self) -> None:
        for run_id, run in self.runs.items():
            events = self.events[run_id]
            assert [seq for seq, *_ in events] == list(range(1, run["seq"] + 1)), (run, events)
            ends = [data["state"] for _, kind, _, data in events if kind == "run.state" and data["state"] in FINAL]
            assert ends == ([run["state"]] if run["state"] in FINAL else []), (run, events)

    def _effects_agree(self, kills: int) -> None:
        """At least once, each time under a higher epoch, and not more often than there was a reason for."""
        epochs: dict[str, list[int]] = defaultdict(list)
        for line in self.effects:
            epochs[line["run_id"]].append(line["epoch"])
        for run_id, run in self.runs.items():
            found = epochs.get(run_id, [])
            if run["state"] == "succeeded" and run["task"].startswith("effect"):
                assert found, f"{run} has succeeded and nothing was done"
                assert max(found) <= run["epoch"], (run, found)
            assert len(set(found)) == len(found), f"one lease, executed twice: {run}, {found}"
            assert run["attempt"] <= 1 + kills, run

    def _steps_were_not_done_again(self) -> None:
        """The epoch that a step has returned is the last in which it was done: a recorded step is never repeated."""
        done: dict[tuple[str, int], list[int]] = defaultdict(list)
        for line in self.steps:
            done[line["run_id"], line["number"]].append(line["epoch"])
        for run_id, run in self.runs.items():
            if run["task"] == "steps" and run["state"] == "succeeded":
                for number, epoch in enumerate(json.loads(run["output"])):
                    assert epoch == max(done[run_id, number]), (run, number, done[run_id, number])


def clean(deployment: Deployment) -> list[str]:
    """Return what `headway doctor --verify` finds wrong in a store."""
    with opened(deployment) as connection:
        look: Any = verify if isinstance(connection, apsw.Connection) else verify_postgres
        return [str(finding) for finding in look(connection)]


@contextlib.contextmanager
def opened(deployment: Deployment) -> Iterator[Any]:
    """Give a connection to a place's store, of the driver's own."""
    if deployment.kind == "postgres":
        connection: Any = psycopg.connect(deployment.store_url, autocommit=True)
    else:
        connection = apsw.Connection(str(deployment.store))
    try:
        yield connection
    finally:
        connection.close()

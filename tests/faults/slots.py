"""Judges schedules by what every slot has to have come to: one row each, and as many runs as rows that say so."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.faults.server import Deployment, Server
from tests.faults.verdict import clean, opened

from headway.protocol.times import to_text

SECOND_MS = 1_000
POLICIES = ("latest", "all", "skip")


def schedules(server: Server, number: int, **said: Any) -> None:
    """Make schedules that fire every second, a third of each catch-up policy."""
    for n in range(number):
        body = {"name": f"s{n}", "task": "job", "occurrence": "every 1s", "overlap": "allow"}
        server.post("/v1/schedules", {**body, "catch_up": POLICIES[n % 3], "late_after": "900ms", **said})


def decided(deployment: Deployment) -> int:
    """Return how many slots are decided."""
    with opened(deployment) as connection:
        (row,) = connection.execute("SELECT count(*) FROM slots").fetchall()
        return int(row[0])


def fired(deployment: Deployment) -> int:
    """Return of how many schedules a slot is decided."""
    with opened(deployment) as connection:
        (row,) = connection.execute("SELECT count(DISTINCT schedule_id) FROM slots").fetchall()
        return int(row[0])


def judged(deployment: Deployment) -> Counter[tuple[str, str]]:
    """Assert that every slot was decided once, and has its one run or none; return (policy, outcome) → how many."""
    with opened(deployment) as connection:
        known = connection.execute("SELECT id, created_at, last_slot, definition FROM schedules").fetchall()
        rows = connection.execute("SELECT schedule_id, nominal, until, outcome, why, run_id FROM slots").fetchall()
        runs = connection.execute("SELECT id, schedule_id, labels FROM runs WHERE run_type = 'schedule'").fetchall()
    assert clean(deployment) == []
    outcomes: Counter[tuple[str, str]] = Counter()
    for schedule_id, created_at, last_slot, definition in known:
        mine = {nominal: (outcome, why) for of, nominal, _, outcome, why, _ in rows if of == schedule_id}
        first = (created_at // SECOND_MS + 1) * SECOND_MS
        assert sorted(mine) == list(range(first, last_slot + 1, SECOND_MS)), "a slot is not decided"
        policy = json.loads(definition)["catch_up"]
        for outcome, why in mine.values():
            outcomes[policy, outcome] += 1
            assert (outcome, why) in _POSSIBLE[policy], (policy, outcome, why)
    said = Counter((schedule_id, json.loads(labels)["slot"]) for _, schedule_id, labels in runs)
    assert [deployment for deployment, times in said.items() if times > 1] == [], "a slot has two runs"
    ran = {(of, to_text(nominal)): run_id for of, nominal, _, outcome, _, run_id in rows if outcome == "ran"}
    assert set(said) == set(ran), "runs and slots do not agree"
    assert {run_id for run_id, *_ in runs} == set(ran.values())
    return outcomes


_POSSIBLE = {
    "latest": {("ran", "due"), ("ran", "caught_up"), ("missed", "newer")},
    "all": {("ran", "due"), ("ran", "caught_up")},
    "skip": {("ran", "due"), ("missed", "newer"), ("missed", "late")},
}

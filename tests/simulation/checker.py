"""What must be so, whatever fails: held against every transaction as the disk has it, and against every answer.

The books read each committed line of history and know nothing of the engine. What a worker says carries its epoch, so
each line tells under which lease it was said.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import apsw
from tests.harness import COUNTERS
from tests.rows import verify

FINAL = frozenset({"succeeded", "failed", "terminated"})
LEASED = frozenset({"running", "stopping"})
GIVEN_BACK = frozenset({"suspended", "slept", "released", "held"})
"""The ends of an attempt that does not count."""
OUTCOMES = frozenset({"succeeded", "errored", "suspended", "slept", "released", "stopped"})
SAID_BY_CODE = frozenset({"run.log", "run.result", "run.step"})
SLOTS_OF_KEY = {"keyed": 1}
SLOTS_OF_TASK = {"few": 2}
SLOTS_OF_QUEUE = {"narrow": 2}
ATTEMPTS_MAX, CRASHES_MAX = 3, 3


class PromiseBroken(AssertionError):
    """A promise that was not kept."""


class RunHistory:
    """One run, as its committed history tells it."""

    def __init__(self, row: tuple[Any, ...]) -> None:
        self.id, self.task, self.key, self.run_type, self.parent_id, self.previous_id, text = row
        self.input: dict[str, Any] = json.loads(text)
        self.states: list[str] = []
        """The state after each line of history."""
        self.worker: str | None = None
        self.holders: list[str] = []
        """Who had the lease of each epoch."""
        self.queue = ""
        """Where it was claimed from."""
        self.ends: dict[int, str] = {}
        """How the lease of each epoch ended."""
        self.attempts = 0
        """Those that count: waiting is not failing, and is given back."""
        self.causes: Counter[str] = Counter()
        self.steps: dict[str, int] = {}
        """The epoch under which each step was recorded."""
        self.time = 0
        """When its last line was written, by a clock that may be set back."""
        self.held = False
        """Whether a person has suspended it."""

    @property
    def state(self) -> str:
        """Return where it is."""
        return self.states[-1] if self.states else ""

    @property
    def seq(self) -> int:
        """Return the number of its last line."""
        return len(self.states)

    @property
    def epoch(self) -> int:
        """Return the number of its last lease."""
        return len(self.holders)


class HistoryChecker:
    """Everything that was committed, and everything that was answered."""

    def __init__(self, connection: apsw.Connection, say: Any) -> None:
        self._connection, self._say = connection, say
        self._position = 0
        self.stories: dict[str, RunHistory] = {}
        self.running: dict[str, RunHistory] = {}
        self.started: dict[str, str] = {}
        """Idempotency key of a start → the id that it was answered with."""
        self.asked: dict[str, set[tuple[str, str]]] = defaultdict(set)
        """Run → (what, key) of the changes that were asked for, each under its own key."""
        self.taken: dict[str, set[tuple[str, str]]] = defaultdict(set)
        """Run → (what, key) of the changes that were acknowledged."""
        self.effects: dict[tuple[str, str], list[int]] = defaultdict(list)
        """(Run, step) → the epochs under which it was done."""
        self.executing: dict[tuple[str, int], Any] = {}
        """(Run, epoch) → the worker that executes it now."""
        self.given_away: set[tuple[str, int]] = set()
        """Leases that were taken for such as have never arrived."""
        self.kept: dict[str, bool] = {}
        """Runs of which somebody has the word that they are not removed."""

    # -- what is committed ---------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """Read what the transaction has added, and hold it against what there was."""
        rows = self._connection.execute(
            "SELECT position, run_id, seq, type, time, data FROM events WHERE position > ? ORDER BY position",
            (self._position,),
        ).fetchall()
        for position, run_id, seq, kind, time, data in rows:
            self._position = position
            self._say("wrote", run_id, seq, kind, data)
            self._line(run_id, seq, kind, json.loads(data))
            story = self.stories[run_id]
            hold(time >= story.time, run_id, f"line {seq} is of {time}, an earlier one of {story.time}")
            story.time = time
        if rows:
            self._limits()

    def _line(self, run_id: str, seq: int, kind: str, data: dict[str, Any]) -> None:
        story = self.stories.get(run_id)
        if story is None:
            found = self._connection.execute(
                "SELECT id, task, key, run_type, parent_id, previous_id, input FROM runs WHERE id = ?", (run_id,)
            ).fetchall()
            hold(found != [], run_id, "it has a history and is not there")
            story = self.stories[run_id] = RunHistory(found[0])
        hold(seq == story.seq + 1, run_id, f"line {seq} follows {story.seq}")
        if kind == "run.state":
            self._state(story, data)
            story.states.append(data["state"])
        else:
            hold(kind == "run.changed" or story.state not in FINAL, run_id, f"{kind} after its end")
            if kind in SAID_BY_CODE:
                self._said(story, kind, data)
            story.states.append(story.state)

    def _state(self, story: RunHistory, data: dict[str, Any]) -> None:
        state, cause = data["state"], data["cause"]
        hold(story.state not in FINAL, story.id, f"{cause} after its end in {story.state}")
        story.causes[cause] += 1
        hold(story.causes["errored"] <= ATTEMPTS_MAX, story.id, "more failures than it has attempts")
        hold(story.causes["crashed"] <= CRASHES_MAX, story.id, "more crashes than poison has")
        story.held = cause == "held"
        if cause == "claimed":
            hold(story.state == "queued", story.id, f"claimed while it was {story.state}")
            story.holders.append(data["worker_id"])
            story.attempts += 1
            hold(data["epoch"] == story.epoch, story.id, f"claim {story.epoch} has epoch {data['epoch']}")
            story.worker = data["worker_id"]
            ((story.queue,),) = self._connection.execute("SELECT queue FROM runs WHERE id = ?", (story.id,))
            self.running[story.id] = story
            return
        if cause in OUTCOMES:
            hold(story.worker is not None, story.id, f"{cause} without a lease")
        if data.get("note") == "never delivered":
            lease = (story.id, story.epoch)
            hold(lease not in self.executing, story.id, f"epoch {story.epoch} never arrived, and is being executed")
            self.given_away.add(lease)
        if state not in LEASED and story.worker is not None:
            story.ends[story.epoch] = cause
            story.attempts -= cause in GIVEN_BACK and state != "terminated"
            story.worker = None
            self.running.pop(story.id, None)
        if state == "succeeded" and story.input.get("script") is not None:
            ((output,),) = self._connection.execute("SELECT output FROM runs WHERE id = ?", (story.id,))
            said = json.loads(output)
            hold(said == story.epoch, story.id, f"the outcome of epoch {said} was taken under {story.epoch}")
        if cause == "errored" and state != "terminated" and data["error"]["code"] == "exception":
            said = int(data["error"]["message"])
            hold(said == story.epoch, story.id, f"the failure of epoch {said} was taken under {story.epoch}")

    def _said(self, story: RunHistory, kind: str, data: dict[str, Any]) -> None:
        """What code says is said under a lease, and under that which is live."""
        if kind == "run.step":
            name = data["name"]
            if name.startswith("child-result:") or story.input.get("script") is None:
                return
            ((value,),) = self._connection.execute(
                "SELECT value FROM steps WHERE run_id = ? AND name = ?", (story.id, name)
            )
            said = json.loads(value)
            if isinstance(said, str):  # a child's id
                return
            story.steps[name] = said
        elif kind == "run.log":
            if not data["message"].isdigit():
                return
            said = int(data["message"])
        else:
            said = data["value"]
        hold(story.worker is not None, story.id, f"{kind} without a lease")
        hold(said == story.epoch, story.id, f"{kind} of epoch {said} was taken under {story.epoch}")

    def _limits(self) -> None:
        keys = Counter((one.task, one.key) for one in self.running.values() if one.task in SLOTS_OF_KEY and one.key)
        for (task, key), count in keys.items():
            hold(count <= SLOTS_OF_KEY[task], f"{task} {key}", f"{count} run at once")
        tasks = Counter(one.task for one in self.running.values())
        for task, most in SLOTS_OF_TASK.items():
            hold(tasks[task] <= most, task, f"{tasks[task]} run at once")
        queues = Counter(one.queue for one in self.running.values())
        for queue, most in SLOTS_OF_QUEUE.items():
            hold(queues[queue] <= most, queue, f"{queues[queue]} run at once")

    # -- what is answered ----------------------------------------------------------------------------------------------

    def seen(self, run: Any, floor: int = 0) -> None:
        """Take in a run that was answered: it is as it was committed, and not older than when it was asked for."""
        story = self.stories.get(run.id)
        hold(story is not None, run.id, "it was answered and is not there")
        assert story is not None
        if run.seq > story.seq and self._has_stone(run.id):
            return  # it was changed and removed in one transaction, whose lines are nowhere
        hold(run.seq <= story.seq, run.id, f"line {run.seq} was answered, {story.seq} is committed")
        hold(run.seq >= floor, run.id, f"line {run.seq} was answered, {floor} was committed before it was asked for")
        state = story.states[run.seq - 1]
        hold(run.state == state, run.id, f"{run.state} was answered at line {run.seq}, where it was {state}")

    def _has_stone(self, run_id: str) -> bool:
        return bool(self._connection.execute("SELECT 1 FROM tombstones WHERE run_id = ?", (run_id,)).fetchall())

    def floor(self, run_id: str) -> int:
        """Return how far the run is now; an answer to what is asked from now on says no less."""
        story = self.stories.get(run_id)
        return 0 if story is None else story.seq

    def start_answered(self, key: str, run_id: str) -> None:
        """Take in a start that was acknowledged: it is there, and it is the only one of its key."""
        hold(run_id in self.stories, run_id, "its start was acknowledged and it is not there")
        known = self.started.setdefault(key, run_id)
        hold(known == run_id, run_id, f"the key {key} has started {known} as well")

    def stop_answered(self, run_id: str) -> None:
        """Take in a stop that was acknowledged: from here on the run is not executed again."""
        state = self.stories[run_id].state
        hold(state in {"stopping", "terminated"}, run_id, f"its stop was acknowledged and it is {state}")

    def changed(self, run_id: str, seen: int, after: int) -> None:
        """Take in a change of just the version that was seen: it was the next change, or it was lost on another."""
        hold(seen < after <= seen + 2, run_id, f"a change of version {seen} has led to {after}")

    def gone(self, run_id: str) -> None:
        """Take in that a run was removed."""
        story = self.stories[run_id]
        hold(story.state in FINAL, run_id, f"it was removed while it was {story.state}")
        hold(not self.kept.get(run_id), run_id, "it was removed and is protected")

    def missing(self, run_id: str) -> None:
        """Take in that the server has never heard of a run."""
        hold(False, run_id, "it was there, and is not known any more")

    def lie_answered(self, run_id: str, epoch: int, *, taken: bool) -> None:
        """Take in what became of a report under a lease that is over, or another's."""
        hold(not taken, run_id, f"a report under the epoch {epoch} was taken from one who had not that lease")

    def begun(self, worker: Any, run_id: str, epoch: int) -> None:
        """Take in that a worker executes what it has claimed."""
        hold((run_id, epoch) not in self.given_away, run_id, f"epoch {epoch} never arrived, and is executed")
        self.executing[run_id, epoch] = worker

    def over(self, worker: Any, run_id: str, epoch: int) -> None:
        """Take in that it does so no more."""
        if self.executing.get((run_id, epoch)) is worker:
            del self.executing[run_id, epoch]

    def nobody_executes(self, worker: Any) -> None:
        """Take in that the worker's process is a new one."""
        self.executing = {lease: by for lease, by in self.executing.items() if by is not worker}

    def outcome_taken(self, run_id: str, epoch: int, causes: tuple[str, ...]) -> None:
        """Take in an outcome that the server has accepted."""
        ended = self.stories[run_id].ends.get(epoch)
        hold(ended in causes, run_id, f"{causes} was accepted for epoch {epoch}, which has ended by {ended}")

    # -- at the end ----------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[RunHistory]:
        """Return the runs that have not ended."""
        return [story for story in self.stories.values() if story.state not in FINAL]

    def close(self, definitions: Any) -> None:
        """Hold the whole store against itself, against what was committed, and against what was answered."""
        findings = verify(self._connection)
        hold(not findings, "store", "; ".join(map(str, findings)))
        rows = {
            row[0]: row for row in self._connection.execute("SELECT id, state, seq, epoch, attempt, crashes FROM runs")
        }
        stones = {row[0] for row in self._connection.execute("SELECT run_id FROM tombstones")}
        kept = {(t, q, s): n for t, q, s, n in self._connection.execute(COUNTERS) if n}
        counted = {place: n for place, n in definitions.counters.counts.items() if n}
        hold(kept == counted, "definitions", f"it says {counted}, the store {kept}")
        hold(set(rows) <= set(self.stories), "store", "there are runs without a history")
        for run_id, story in self.stories.items():
            if run_id in rows:
                told = (story.id, story.state, story.seq, story.epoch, story.attempts, story.causes["crashed"])
                hold(rows[run_id] == told, run_id, f"the store has {rows[run_id]}, its history {told}")
            else:
                hold(run_id in stones, run_id, "it is gone and left no tombstone")
                hold(story.state in FINAL, run_id, f"it was removed while it was {story.state}")
                hold(not self.kept.get(run_id), run_id, "it was removed and is protected")
        self._keys()
        self._changes(rows.keys())
        self._effects()

    def _keys(self) -> None:
        """No two runs of one idempotency key, and no two children of one step."""
        for what, made in (
            ("key", Counter(s.input["key"] for s in self.stories.values() if s.run_type == "api" and "key" in s.input)),
            ("child", Counter((s.parent_id, s.input["child"]) for s in self.stories.values() if s.run_type == "child")),
        ):
            twice = {key: count for key, count in made.items() if count > 1}
            hold(not twice, what, f"several runs of one: {twice}")

    def _changes(self, there: Any) -> None:
        """What was asked for under a key has happened at most once; what was acknowledged, once."""
        retried = Counter(story.previous_id for story in self.stories.values() if story.run_type == "retry")
        for run_id, asked in self.asked.items():
            for what, found in (
                ("retry", retried[run_id]),
                ("signal", self._signals(run_id) if run_id in there else None),
            ):
                least = sum(kind == what for kind, _ in self.taken[run_id])
                most = sum(kind == what for kind, _ in asked)
                if found is not None:
                    hold(
                        least <= found <= most, run_id, f"{what}: {most} asked, {least} acknowledged, {found} happened"
                    )

    def _signals(self, run_id: str) -> int:
        ((count,),) = self._connection.execute(
            "SELECT count(*) FROM events WHERE run_id = ? AND type = 'run.signal'", (run_id,)
        )
        return int(count)

    def _effects(self) -> None:
        """A recorded step is not done again: it was recorded under the last epoch that has done it."""
        for (run_id, name), epochs in self.effects.items():
            recorded = self.stories[run_id].steps.get(name)
            if recorded is not None:
                hold(recorded == max(epochs), run_id, f"{name} is of epoch {recorded}, and was done again: {epochs}")


def hold(so: bool, about: str, message: str) -> None:
    """Raise Broken unless it is so."""
    if not so:
        raise PromiseBroken(f"{about}: {message}")

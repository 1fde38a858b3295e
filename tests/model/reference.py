"""What Headway does, said a second time: dictionaries and plain rules, without a line of the engine.

Every verb returns None if it is taken, or the code of the error that refuses it.
"""

from __future__ import annotations

FINAL = {"succeeded", "failed", "terminated"}
LEASED = {"running", "stopping"}
LEASE_MS, BACKOFF_MS, GRACE_MS, ABANDON_MS, KEEP_MS = 15_000, 2_000, 1_000, 10_000, 60_000
MAX_ATTEMPTS, MAX_CRASHES = 2, 2
SLOTS = {"keyed": 1}
"""Runs of one key that may run at once, by task."""
TIMEOUT_MS = {"timed": 20_000}


class Reference:
    """Runs, workers and a clock."""

    def __init__(self, now):
        self.now = now
        self.runs = {}
        self.gone = set()
        self.workers = {}
        self.paused = set()

    # -- small words -------------------------------------------------------------------------------------------------

    def line(self, run, **changes):
        """Change the run and add a line to its history."""
        run.update(changes, seq=run["seq"] + 1)

    def end(self, run, state):
        self.line(run, state=state, worker=None, waits=set(), deadline=None, ended=self.now)
        parent = self.runs.get(run["parent"])
        if parent is not None and parent["state"] not in FINAL:
            parent["told"].add(run["id"])
            if parent["seq"] == 1:
                self.line(parent)
            self.unblock(parent, ("run", run["id"]))

    def unblock(self, run, what):
        if run["state"] == "suspended" and what in run["waits"]:
            run["waits"].discard(what)
            if run["waits"]:
                self.line(run)
            else:
                self.queue(run)

    def queue(self, run):
        self.line(run, state="queued", waits=set(), deadline=None, run_at=self.now)

    def crash(self, run):
        run["crashes"] += 1
        if run["state"] == "stopping":
            self.end(run, "terminated")
        elif run["crashes"] >= MAX_CRASHES:
            self.end(run, "failed")
        else:
            self.line(run, state="queued", worker=None, deadline=None)

    def leave(self, run, state, **changes):
        """Let go of the worker to wait: the attempt is given back."""
        if run["worker"] is not None:
            run["attempt"] -= 1
        self.line(run, state=state, worker=None, **({"deadline": None} | changes))

    # -- people ------------------------------------------------------------------------------------------------------

    def start(self, run_id, task, priority, key, delay, parent=None):
        if parent is not None and self.runs[parent]["state"] in ("stopping", "terminated"):
            return "invalid_state"
        self.runs[run_id] = {
            "id": run_id, "task": task, "state": "scheduled" if delay else "queued", "priority": priority, "key": key,
            "run_at": self.now + delay, "attempt": 0, "crashes": 0, "epoch": 0, "seq": 1, "worker": None, "waits": set(),
            "deadline": None, "ended": None, "protected": 0, "parent": parent, "signals": {}, "told": set(), "queue": "default",
        }  # fmt: skip
        return None

    def terminate(self, run_id, *, cascade=True, first=True):
        run = self.runs[run_id]
        if first and run["state"] in ("succeeded", "failed"):
            return "invalid_state"
        if run["state"] == "running":
            self.line(run, state="stopping", deadline=self.now + GRACE_MS + ABANDON_MS)
        elif run["state"] not in FINAL | {"stopping"}:
            self.end(run, "terminated")
        if cascade:
            for child in [one["id"] for one in self.runs.values() if one["parent"] == run_id]:
                if self.runs[child]["state"] not in FINAL:
                    self.terminate(child, first=False)
        return None

    def hold(self, run_id):
        run = self.runs[run_id]
        if ("hold",) in run["waits"]:
            return None
        if run["state"] not in ("scheduled", "queued", "running"):
            return "invalid_state"
        self.leave(run, "suspended", waits={("hold",)})
        return None

    def resume(self, run_id):
        if self.runs[run_id]["state"] != "suspended":
            return "invalid_state"
        self.queue(self.runs[run_id])
        return None

    def signal(self, run_id, name):
        run = self.runs[run_id]
        if run["state"] in FINAL:
            return "invalid_state"
        number = run["signals"][name] = run["signals"].get(name, 0) + 1
        self.line(run)
        self.unblock(run, ("signal", name, number))
        return None

    def retry(self, run_id, new_id):
        run = self.runs[run_id]
        if run["state"] not in ("failed", "terminated"):
            return "invalid_state"
        return self.start(new_id, run["task"], run["priority"], run["key"], 0) or self.runs[new_id].update(
            queue=run["queue"], signals={**run["signals"]}, told={*run["told"]}
        )

    def protect(self, run_id, protected):
        if self.runs[run_id]["protected"] != protected:
            self.line(self.runs[run_id], protected=protected)

    def delete(self, run_id):
        run = self.runs[run_id]
        if run["state"] not in FINAL:
            return "invalid_state"
        if run["protected"]:
            return "protected"
        self.remove(run_id)
        return None

    def remove(self, run_id):
        del self.runs[run_id]
        self.gone.add(run_id)

    def prioritise(self, run_id, priority):
        if self.runs[run_id]["state"] not in ("scheduled", "queued", "suspended"):
            return "invalid_state"
        self.line(self.runs[run_id], priority=priority)
        return None

    def move(self, run_id, queue):
        if self.runs[run_id]["state"] not in ("scheduled", "queued", "suspended"):
            return "invalid_state"
        self.line(self.runs[run_id], queue=queue)
        return None

    def reschedule(self, run_id, run_at):
        run = self.runs[run_id]
        if run["state"] not in ("scheduled", "queued"):
            return "invalid_state"
        self.line(run)
        if run_at != run["run_at"]:
            self.line(run, run_at=run_at, state="scheduled" if run_at > self.now else "queued")
        return None

    # -- workers -----------------------------------------------------------------------------------------------------

    def claim(self, worker, most):
        """Return the ids of the runs that the worker gets, in order."""
        self.workers[worker] = self.now
        taken = []
        ready = [run for run in self.runs.values() if run["state"] == "queued" and run["queue"] not in self.paused]
        for run in sorted(ready, key=lambda run: (-run["priority"], run["run_at"], run["id"])):
            if len(taken) == most:
                break
            if run["task"] in SLOTS and run["key"] is not None:
                same = [one for one in self.runs.values() if (one["task"], one["key"]) == (run["task"], run["key"])]
                if sum(one["worker"] is not None for one in same) >= SLOTS[run["task"]]:
                    continue
            limit = TIMEOUT_MS.get(run["task"])
            deadline = None if limit is None else self.now + limit + GRACE_MS + ABANDON_MS
            self.line(
                run,
                state="running",
                worker=worker,
                attempt=run["attempt"] + 1,
                epoch=run["epoch"] + 1,
                deadline=deadline,
            )
            taken.append(run["id"])
        return taken

    def report(self, worker, run_id, epoch, kind, **given):
        if worker not in self.workers:
            return "worker_not_found"
        self.workers[worker] = self.now
        run = self.runs.get(run_id)
        if run is None or (run["worker"], run["epoch"]) != (worker, epoch):
            return "lease_lost"
        if kind == "stopped" and run["state"] == "running":
            return "invalid_state"
        if run["state"] == "stopping":
            if kind == "crash":
                self.crash(run)
            else:
                self.end(run, "terminated")
            return "run_stopping" if kind == "succeed" else None
        getattr(self, f"_{kind}")(run, **given)
        return None

    def _succeed(self, run):
        self.end(run, "succeeded")

    def _fail(self, run, *, retryable=True):
        if not retryable or run["attempt"] - run["crashes"] >= MAX_ATTEMPTS:
            self.end(run, "failed")
        else:
            self.line(run, state="scheduled", worker=None, deadline=None, run_at=self.now + BACKOFF_MS)

    def _crash(self, run):
        self.crash(run)

    def _release(self, run):
        self.leave(run, "queued")

    def _sleep(self, run, until):
        self.leave(run, "scheduled", run_at=max(until, self.now))

    def _suspend(self, run, waits, timeout):
        self.leave(run, "suspended", waits=set(waits), deadline=None if timeout is None else self.now + timeout)
        for what in waits:
            if run["state"] == "suspended" and self.has_come(run, what):
                self.unblock(run, what)

    def has_come(self, run, what):
        if what[0] == "signal":
            return run["signals"].get(what[1], 0) >= what[2]
        return what[1] not in self.runs or self.runs[what[1]]["state"] in FINAL

    def step(self, run_id):
        self.line(self.runs[run_id])

    # -- time --------------------------------------------------------------------------------------------------------

    def tick(self):
        for run in self.runs.values():
            if run["state"] == "scheduled" and run["run_at"] <= self.now:
                self.line(run, state="queued")
        for worker, heard in list(self.workers.items()):
            if heard + LEASE_MS <= self.now:
                del self.workers[worker]
                for run in [run for run in self.runs.values() if run["worker"] == worker]:
                    self.crash(run)
        for run in sorted(self.runs.values(), key=lambda run: run["deadline"] or 0):
            if run["deadline"] is not None and run["deadline"] <= self.now:
                match run["state"]:
                    case "running":
                        self._fail(run)
                    case "stopping":
                        self.end(run, "terminated")
                    case "suspended":
                        self.queue(run)
        for run in list(self.runs.values()):
            if run["state"] in FINAL and not run["protected"] and run["ended"] + KEEP_MS <= self.now:
                self.remove(run["id"])

    def restart(self):
        self.workers = dict.fromkeys(self.workers, self.now)

"""Figures and state of servers during outages."""

import threading
import urllib.request
from contextlib import contextmanager

import msgspec
from tests.faults.load import Load
from tests.faults.server import Server, WorkerProcess
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_end, until

DRAIN_S = 5


TASKS = ["effect", "effect_in_thread", "steps"]


class Stream:
    """A stream of events over one connection, read by a thread until it ends: nobody comes back if it breaks."""

    def __init__(self, deployment, path):
        self.events = []
        self.broken = None
        self._answer = urllib.request.urlopen(
            urllib.request.Request(deployment.url + path, headers={"Accept": "text/event-stream"}), timeout=60
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        fields = {}
        try:
            for line in self._answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                    continue
                if "event" in fields:
                    self.events.append((fields.get("id"), fields["event"], msgspec.json.decode(fields["data"])))
                fields = {}
        except Exception as error:  # noqa: BLE001 - whatever it is, the stream has broken
            self.broken = error

    @property
    def numbered(self):
        """The ids of what is history."""
        return [int(number) for number, kind, _ in self.events if number and kind not in {"snapshot", "begin"}]

    def ended(self, within_s=30):
        """Wait for its end, which has to be one."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "the stream goes on"
        assert self.broken is None
        return self


class Service:
    """Two servers and two workers that know both, streams at the second, and a load on both."""

    def __init__(self, deployments):
        self.deployments = self.first, self.second = deployments
        self.servers = tuple(
            Server(deployment, "--lease", "5s", "--drain", f"{DRAIN_S}s") for deployment in deployments
        )
        for server in self.servers:
            server.start()
        self.workers = [
            WorkerProcess(deployment, "--capacity", "20", others=[other])
            for deployment, other in (deployments, deployments[::-1])
        ]
        for server in self.servers:
            server.knows("effect")
        self.load = Load(*deployments, tasks=TASKS, rate=60)
        self.feed = Stream(self.second, "/v1/events?after=0")
        self.long = self.servers[0].started("gated", name="after")
        until(lambda: self.first.ledger.lines("begun"), 20, "the long run has begun")
        self.watch = Stream(self.second, f"/v1/runs/{self.long}/events?after=0")

    def until_back(self):
        """Wait until a start is acknowledged that was not before this."""
        self.first.ledger.note("up")
        until(lambda: self.back_ms("up")[-1] is not None, 40, f"a start is acknowledged\n{self.first.logged()[-3000:]}")

    def back_ms(self, since):
        """Return how many milliseconds after each such line the next start was acknowledged."""
        acknowledged = [line["at"] for line in self.first.ledger.lines("acknowledged")]
        return [
            min((at - line["at"] for at in acknowledged if at > line["at"]), default=None)
            for line in self.first.ledger.lines(since)
        ]  # fmt: skip

    def finish(self, *, outages, fault):
        """Let everything come to its end, and see that it is as it should be."""
        self.first.open_gate("after")
        server = self.servers[1]
        for one in self.servers:
            all_end(one)
        final = server.run(self.long)
        assert (final["state"], final["attempt"]) == ("succeeded", 1)
        watched = self.watch.ended()
        assert (watched.events[0][1], watched.events[-1][1]) == ("snapshot", "end")
        assert watched.numbered == list(range(1, server.get(f"/v1/runs/{self.long}/events")["data"][-1]["seq"] + 1))
        assert [one.stop() for one in self.servers] == [0, 0]
        for worker in self.workers:
            worker.kill()
        books = StoreContents(self.first)
        books.hold(kills=outages, fault=fault)
        self._fed(books)
        assert self.load.odd == []
        logged = self.first.logged()
        assert "Traceback" not in logged, logged[logged.index("Traceback") - 500 :][:3000]
        return books

    def _fed(self, books):
        """The feed has told of every event of every run once, in order, over one connection."""
        told = [
            (event["run_id"], event["seq"]) for _, kind, event in self.feed.ended().events if kind.startswith("run.")
        ]
        assert len(told) == len(set(told)), "something was told twice"
        there = {(run_id, seq) for run_id, events in books.events.items() for seq, *_ in events}
        assert there == {one for one in told if one in there}, f"{len(there - set(told))} events were not told"
        assert self.feed.numbered == sorted(set(self.feed.numbered))


@contextmanager
def served(deployments):
    service = Service(deployments)
    with service.load:
        yield service


def figures(what, back_ms, service, books):
    """Print what was seen, for who looks (pytest -s)."""
    print(f"{what} {back_ms}; {len(books.acknowledged)} acknowledged, put off: {dict(service.load.later)}")

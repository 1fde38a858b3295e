"""A worker that knows two servers of one store, against real ones: it goes on with the second when the first is gone.

Two servers cannot have one SQLite file at the same time, so the second comes up on the file when the first has gone.
"""

import sys
import threading
import time

import pytest
from tests.client.server import Answer, serving
from tests.faults.server import APP, Deployment, Process, Server
from tests.faults.verdict import StoreContents
from tests.faults.waiting import until

import headway

SOON_S = 2.5
"""Sooner than a heartbeat would tell, which comes every 5 s."""


@pytest.fixture
def places(tmp_path):
    first = Deployment(tmp_path)
    second = Deployment(tmp_path, first.store)
    yield first, second
    first.clean_up()
    second.clean_up()


@pytest.fixture
def servers(places):
    return tuple(Server(place, "--drain", "2s") for place in places)


def worker(places):
    """Start one that is not supervised and knows both."""
    known = ",".join(place.url for place in places)
    return Process(places[0], [sys.executable, "-m", "headway.worker", known, APP])


def begun(place, runs=1):
    until(lambda: len(place.ledger.lines("begun")) == runs, 20, "all have begun")


def heard_by(server):
    """Return the ids of the workers, as the server knows them, that have tasks of ours."""
    return [
        one["id"] for one in server.get("/v1/workers")["data"] if "gated" in one["tasks"] and one["state"] != "gone"
    ]


ENDS = {"killed": Server.kill, "told to go": Server.stop}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_run_in_progress_is_finished_at_the_other_server(places, servers, end):
    first, second = servers
    first.start()
    works = worker(places)
    first.knows("gated")
    ids = [first.started("gated", name="end") for _ in range(3)]
    begun(places[0], 3)
    known = heard_by(first)
    end(first)
    second.start()
    assert heard_by(second) == known
    places[0].open_gate("end")
    runs = [second.final(run_id) for run_id in ids]
    assert [(run["state"], run["attempt"], run["crashes"]) for run in runs] == [("succeeded", 1, 0)] * 3
    assert second.final(second.started("effect", n=7))["output"] == 7
    assert heard_by(second) == known
    works.send(15)
    assert works.wait(20) == 0
    assert second.stop() == 0
    StoreContents(places[1]).hold(kills=0)


def test_what_was_reported_while_no_server_was_there_is_not_lost(places, servers):
    first, second = servers
    first.start()
    worker(places)
    first.knows("gated")
    run_id = first.started("gated", name="end")
    begun(places[0])
    first.kill()
    places[0].open_gate("end")
    until(lambda: places[0].ledger.lines("effect"), 10, "its code has ended")
    second.start()
    run = second.final(run_id)
    assert (run["state"], run["attempt"], run["crashes"], run["output"]) == ("succeeded", 1, 0, 1)
    lines = second.get(f"/v1/runs/{run_id}/logs")["data"]
    assert [line["message"] for line in lines] == ["epoch 1"]


def test_a_stop_reaches_a_run_that_began_under_the_other_server(places, servers):
    first, second = servers
    first.start()
    worker(places)
    first.knows("polite")
    run_id = first.started("polite")
    until(lambda: first.run(run_id)["state"] == "running", 10, "it runs")
    first.kill()
    second.start()
    began_s = time.monotonic()
    second.post(f"/v1/runs/{run_id}:terminate", {})
    assert second.final(run_id)["state"] == "terminated"
    assert time.monotonic() - began_s < SOON_S


def test_a_worker_is_with_the_other_server_within_a_second(places, servers):
    """The second is from a script here, since a file has one server: what counts is when it is asked for what."""
    first, _ = servers
    first.start()
    asked, all_asked = set(), threading.Event()

    def handle(request):
        asked.add(request.path.rpartition("/")[2])
        if asked >= {"leases:claim", "signals"}:
            all_asked.set()
        return Answer(drop=True)

    with serving(handle) as fake:
        places[1].url = fake.url
        worker(places)
        first.knows("effect")
        first.final(first.started("effect", n=7))  # so it listens and claims; one that has just come does not at once
        assert asked == set()
        first.kill()
        assert all_asked.wait(1.0), asked


def test_clients_notice_nothing_but_the_time_that_the_other_server_takes_to_start(places, servers):
    first, second = servers
    first.start()
    worker(places)
    first.knows("effect")
    known = [place.url for place in places]
    with headway.Client(known) as client:
        waiting = client.runs.start("gated", {"name": "end"})
        followed = client.runs.start("chatty", lines=100, ms=10)
        with Following(followed) as following:
            begun(places[0])
            until(lambda: following.seen > 20, 10, "it is followed")
            first.kill()
            second.start()
            places[0].open_gate("end")
            assert waiting.result(30) == 1
            assert client.runs.start("effect", n=5).result(30) == 5
        assert following.failures == []
        assert following.numbers == [event.seq for event in followed.history()]
        assert client.url == places[1].url
        assert followed.refresh().attempt == 1


class Following:
    """A reader of a run's events in a thread."""

    def __init__(self, run):
        self.numbers, self.failures = [], []
        self._thread = threading.Thread(target=self._follow, args=(run,))

    @property
    def seen(self):
        return len(self.numbers)

    def _follow(self, run):
        try:
            for event in run.events():
                if event.type not in {"snapshot", "run.progress"}:
                    self.numbers.append(event.seq)
        except Exception as error:  # noqa: BLE001 - whatever a user sees is a failure
            self.failures.append(str(error))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(30)
        assert not self._thread.is_alive()

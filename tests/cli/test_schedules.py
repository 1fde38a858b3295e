"""`headway schedules` and `client.schedules`, against a real server."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import Deployment, Server

from headway.client.sync.client import Client
from headway.errors import InvalidSchedule, ScheduleBusy, ScheduleExists, ScheduleNotFound, VersionMismatch


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("schedules"))
    server = Server(deployment).start()
    schema = {"type": "object", "properties": {"folder": {"type": "string"}, "level": {"type": "integer"}}}
    ProtocolWorker(server, {"name": "backup", "input_schema": schema})
    yield server
    server.kill()
    deployment.clean_up()


def test_a_schedule_is_made_looked_at_changed_and_removed(headway, there):
    def run(*words):
        return headway("schedules", *words, "--url", there.deployment.url)

    code, out, err = run("create", "nightly", "30 2 * * *", "backup", "folder=/srv", "level=9", "-z", "Europe/Berlin",
                         "--overlap", "queue", "-l", "customer=7", "--jitter", "10m")  # fmt: skip
    assert (code, err) == (0, "")
    assert out.startswith("nightly fires every day at 02:30, Europe/Berlin; next: ")
    shown = json.loads(run("show", "nightly", "--json")[1])
    assert (shown["input"], shown["labels"]) == ({"folder": "/srv", "level": 9}, {"customer": "7"})
    assert (shown["overlap"], shown["jitter"]) == ("queue", "10m")
    assert "nightly\tactive\tbackup\t30 2 * * *\tEurope/Berlin\t" in run("list")[1]
    assert "queue, up to 100" in run("show", "nightly")[1]
    assert run("edit", "nightly", "--occurrence", "Daily", "level=3", "--jitter", "0s")[0] == 0
    edited = json.loads(run("show", "nightly", "--json")[1])
    assert (edited["occurrence"], edited["input"], edited["version"]) == ("Daily", {"level": 3}, 2)
    assert run("pause", "nightly")[1] == "nightly is paused\n"
    assert "next: 20" in run("resume", "nightly", "--catch-up", "skip")[1]
    code, out, _ = run("trigger", "nightly", "-m", "now", "--json")
    assert json.loads(out)["schedule_id"] == shown["id"]
    code, out, _ = run("trigger", "nightly", "--overlap", "skip")
    assert code == 6
    assert len(run("preview", "nightly", "-n", "3")[1].splitlines()) == 4
    assert run("slots", "nightly")[1] == "slot\toutcome\trun\twhy\n"
    week = datetime.now(UTC) - timedelta(days=3)
    code, out, _ = run("backfill", "nightly", "--from", week.isoformat(), "--to", datetime.now(UTC).isoformat())
    assert len(out.splitlines()) == 4
    assert len(json.loads(run("slots", "nightly", "--outcome", "ran", "--json")[1])["data"]) == 3
    assert run("delete", "nightly")[1] == "nightly is removed\n"
    assert run("show", "nightly")[0] == 5


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "x", "61 * * * *", "backup"], 2, "occurrence, minute: "),
        (["create", "x", "Daily", "backup", "level=much"], 2, "input.level: "),
        (["create", "x", "Daily", "nothing"], 2, "no worker has declared"),
        (["edit", "x"], 2, "nothing to change; see --help"),
        (["preview", "0 9 * * *", "-z", "Mars"], 2, "timezone: "),
        (["pause", "nobody"], 5, "there is no schedule 'nobody'"),
    ],
)
def test_what_is_wrong_is_said_and_has_its_exit_code(headway, there, words, code, said):
    ended, _, err = headway("schedules", *words, "--url", there.deployment.url)
    assert ended == code
    assert said in err


def test_an_occurrence_can_be_tried_without_a_schedule(headway, there):
    _, out, _ = headway(
        "schedules", "preview", "FREQ=WEEKLY;BYDAY=MO", "-z", "UTC", "-n", "2", "--json", "--url", there.deployment.url
    )
    found = json.loads(out)
    assert found["explanation"] == "every Monday at 00:00, UTC"
    assert len(found["data"]) == 2


def test_the_client_says_the_same_in_python(there):
    with Client(there.deployment.url) as client:
        schedules = client.schedules
        starts = datetime(2040, 1, 1, 4, 30, tzinfo=UTC)
        made = schedules.create("a", "backup", "Daily", {"folder": "/a"}, starts_at=starts, jitter=timedelta(minutes=5),
                                priority=7, paused=True)  # fmt: skip
        assert (made.state, made.jitter, made.starts_at) == ("paused", "5m", "2040-01-01T04:30:00.000Z")
        with pytest.raises(ScheduleExists):
            schedules.create("a", "backup", "Daily")
        with pytest.raises(InvalidSchedule) as caught:
            schedules.create("b", "backup", "sometimes")
        assert caught.value.errors[0]["pointer"] == "/occurrence"
        changed = schedules.update("a", version=1, priority=None, starts_at=None, late_after=90)
        assert (changed.priority, changed.starts_at, changed.late_after) == (None, None, "90s")
        with pytest.raises(VersionMismatch):
            schedules.update("a", version=1, description="x")
        assert schedules.resume(made.id).state == "active"
        assert [schedule.name for schedule in schedules.list(task="backup")] == ["a"]
        run = schedules.trigger("a")
        with pytest.raises(ScheduleBusy):
            schedules.trigger("a")
        assert schedules.trigger("a", overlap="queue").state == "suspended"
        first = datetime.now(UTC) - timedelta(days=2)
        planned = schedules.backfill("a", first, datetime.now(UTC), dry_run=True)
        filled = schedules.backfill("a", first, datetime.now(UTC))
        assert [slot.slot for slot in planned] == [slot.slot for slot in filled]
        assert [slot.run_id for slot in filled] == [slot.run_id for slot in reversed(list(schedules.slots("a")))]
        assert schedules.coming("a", 2).data[0].slot == schedules.get("a").next_slot_at
        assert schedules.preview("every 90m", count=3).explanation.startswith("every 90m")
        assert run.run.schedule_id == made.id
        schedules.delete("a")
        with pytest.raises(ScheduleNotFound):
            schedules.get("a")

"""The Tadabase surface, in the words of its contract."""

from __future__ import annotations

import base64

import msgspec
import pytest
from tests.web.access_kit import first_key, second
from tests.web.kit import NOBODY

from headway.compat.tadabase import fields
from headway.compat.tadabase.settings import TadabaseSettings
from headway.compat.tadabase.words import WORDS, wall_time
from headway.errors import BadParameter
from headway.features.schedules.scheduler import Scheduler
from headway.kernel.run import State
from headway.protocol import workers as wire
from headway.protocol.times import from_text
from headway.protocol.workers import RegisterWorker
from headway.store.postgres.connection import PostgresDatabase
from headway.store.sqlite.connection import SqliteDatabase

RUN = "/api/v1/tasks/run/backup"
ENTRY = {
    "task_queue_id", "task_id", "total_records", "total_record_proceed", "start_at", "run_type", "status",
    "task_name", "end_at", "error",
}  # fmt: skip
FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=XX"
FIELDS = (
    b"".join(
        b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % field
        for field in ((b"n", b"7"), (b"name", b"7"), (b"to[]", b"a"), (b"to[]", b"b"))
    )
    + b"--XX--\r\n"
)


async def entry(server, run_id):
    answer = await server.get(f"/api/v1/tasks/status/queue/{run_id}")
    assert (answer.status, answer.json["type"], answer.json["total_tasks"]) == (200, "success", 1)
    (found,) = answer.json["tasks"]
    return found


async def progress(server, run_id, done, total):
    run = await server.service.of(1).runs.get(run_id)
    await server.report(wire.ProgressReport(run_id=run_id, epoch=run.epoch, done=done, total=total))


# -- tasks -------------------------------------------------------------------------------------------------------------


async def test_tasks_are_listed_as_active_and_inactive_without_the_servers_own(serving):
    async with serving("backup", "join", "headway.bulk") as server:
        await server.post("/v1/tasks/join:deactivate")
        answer = await server.get("/api/v1/tasks")
        assert (answer.status, answer.json["type"], answer.json["total_tasks"]) == (200, "success", 2)
        assert [(task["task_id"], task["status"]) for task in answer.json["tasks"]] == [
            ("backup", "Active"), ("join", "Inactive"),
        ]  # fmt: skip
        wanted = {"task_id", "name", "status", "data_table_id", "occurrence", "next_run_at", "type"}
        assert all(wanted <= set(task) for task in answer.json["tasks"])


async def test_a_task_goes_by_its_title_if_it_has_one(serving):
    async with serving() as server:
        await server.declare("join", title="Join all coins")
        found = await shown_tasks(server)
        assert {task_id: task["name"] for task_id, task in found.items()} == {
            "backup": "backup",
            "join": "Join all coins",
        }
        ids = [await server.start(task="join"), await server.start()]
        listed = (await server.get("/api/v1/tasks/status")).json["tasks"]
        assert [(task["task_id"], task["task_name"]) for task in listed] == [
            ("backup", "backup"),
            ("join", "Join all coins"),
        ]
        assert (await entry(server, ids[0]))["task_name"] == "Join all coins"
        assert (await server.get("/v1/tasks/join")).json["title"] == "Join all coins"


async def shown_tasks(server, **headers):
    answer = await server.get("/api/v1/tasks", **headers)
    assert answer.status == 200, answer.body
    return {task["task_id"]: task for task in answer.json["tasks"]}


async def scheduled(server, name, occurrence, task="backup", headers=None, **more):
    asked = {"name": name, "task": task, "occurrence": occurrence, **more}
    answer = await server.post("/v1/schedules", asked, **(headers or {}))
    assert answer.status == 201, answer.body
    return answer.json


def timing(task):
    return task["type"], task["occurrence"], task["next_run_at"]


@pytest.mark.parametrize(
    ("occurrence", "word"),
    [
        ("every minute", "Every Minute"), ("hourly", "Hourly"), ("Daily", "Daily"), ("weekly", "Weekly"),
        ("monthly", "Monthly"), ("quarterly", "Quarterly"), ("annually", "Yearly"), ("0 9 * * MON-FRI", "Advanced"),
        ("FREQ=MONTHLY;BYDAY=-1FR", "Advanced"), ("every 90m", "Advanced"),
    ],
)  # fmt: skip
async def test_a_scheduled_task_says_how_often_it_runs_and_when_next(occurrence, word, in_memory):
    async with in_memory("backup", "join") as server:
        schedule = await scheduled(server, "s", occurrence)
        found = await shown_tasks(server)
        said = from_text(schedule["next_slot_at"])
        assert timing(found["backup"]) == ("Schedule", word, wall_time(said, "UTC"))
        assert timing(found["join"]) == ("API", None, None)


async def test_of_several_schedules_that_counts_which_comes_next(serving):
    async with serving("backup", "join") as server:
        await scheduled(server, "a", "Yearly")
        soon = await scheduled(server, "b", "Hourly")
        await scheduled(server, "c", "Weekly")
        await scheduled(server, "d", "Monthly", "join", paused=True)
        found = await shown_tasks(server)
        assert timing(found["backup"]) == ("Schedule", "Hourly", wall_time(from_text(soon["next_slot_at"]), "UTC"))
        assert timing(found["join"]) == ("Schedule", "Monthly", None)
        await server.post("/v1/schedules/b:pause")
        assert timing(await only(server, "backup"))[:2] == ("Schedule", "Weekly")
        for name in "abc":
            await server.post(f"/v1/schedules/{name}:pause")
        assert timing(await only(server, "backup")) == ("Schedule", "Yearly", None)
        for name in "abc":
            await server.ask("DELETE", f"/v1/schedules/{name}")
        assert timing(await only(server, "backup")) == ("API", None, None)


async def only(server, name):
    return (await shown_tasks(server))[name]


async def test_the_next_run_is_told_with_its_jitter(in_memory):
    async with in_memory() as server:
        schedule = await scheduled(server, "s", "Daily", jitter="6h")
        coming = (await server.get("/v1/schedules/s/preview?count=1")).json["data"][0]
        assert coming["run_at"] > schedule["next_slot_at"]
        assert (await only(server, "backup"))["next_run_at"] == wall_time(from_text(coming["run_at"]), "UTC")


async def test_each_organisation_sees_its_own_schedules_by_its_own_clock(serving):
    async with serving() as server:
        party = await first_key(server)
        other = await second(server, party, zone="Asia/Kathmandu")
        asked = RegisterWorker(name="w", tasks=[wire.TaskDeclaration(name="backup")])
        await server.service.of(2).workers.register(asked)
        await scheduled(server, "s", "Weekly", headers=party.headers)
        there = await scheduled(server, "s", "0 9 * * *", headers=other.headers, timezone="Asia/Kathmandu")
        ours, theirs = [(await shown_tasks(server, **who.headers))["backup"] for who in (party, other)]
        assert ours["occurrence"] == "Weekly"
        at = wall_time(from_text(there["next_slot_at"]), "Asia/Kathmandu")
        assert at.endswith(" 09:00:00")
        assert timing(theirs) == ("Schedule", "Advanced", at)


async def test_a_record_task_names_the_table_it_works_on(serving):
    async with serving("backup") as server:
        asked = {"name": "Customers", "fields": [{"name": "Name"}, {"name": "Sent", "type": "boolean"}]}
        table = (await server.post("/v1/tables", asked)).json
        made = await server.post(
            "/v1/record-tasks",
            {"name": "mark", "table": "Customers", "actions": [{"action": "update", "set": {"Sent": True}}]},
        )
        assert made.status == 201, made.body
        found = await shown_tasks(server)
        assert (found["mark"]["data_table_id"], found["backup"]["data_table_id"]) == (table["id"], None)
        listed = (await server.get("/api/v1/data-tables")).json["data_tables"]
        assert listed == [{"id": table["id"], "name": "Customers"}]
        assert (await server.get(f"/api/v1/data-tables/{found['mark']['data_table_id']}/fields")).status == 200


async def test_a_list_of_a_hundred_scheduled_tasks_asks_as_much_as_one_of_a_single_task(serving, monkeypatch):
    asked: list[str] = []
    for kind in (SqliteDatabase, PostgresDatabase):

        def counted(self, name, /, _rows=kind.rows, **binds):
            asked.append(name)
            return _rows(self, name, **binds)

        monkeypatch.setattr(kind, "rows", counted)

    async def statements(server):
        asked.clear()
        found = await shown_tasks(server)
        return len(found), sorted(asked)

    async with serving() as server:
        await scheduled(server, "s", "Daily")
        one, few = await statements(server)
        names = [f"t{n}" for n in range(99)]
        await server.declare(*names)
        for name in names:
            await scheduled(server, name, "Daily", name)
        many, still = await statements(server)
        assert (one, many) == (1, 100)
        assert still == few == ["read_record_tasks", "read_soonest_schedules"]


async def test_who_started_a_run_is_a_schedule_or_somebody(serving):
    async with serving() as server:
        await scheduled(server, "s", "Every Minute")
        by_hand = await server.start()
        server.clock.advance(60_000)
        assert await server.service.part(Scheduler).settle_due() == 1
        kinds = {}
        for path in ("status", "status/task/backup"):
            listed = (await server.get(f"/api/v1/tasks/{path}")).json["tasks"]
            kinds = {task["task_queue_id"]: task["run_type"] for task in listed}
            assert sorted(kinds.values()) == ["API", "Schedule"], path
            assert kinds[by_hand] == "API"
        for lease in await server.claim():
            await server.fail(lease.run_id)
        listed = (await server.get("/api/v1/tasks/history")).json["tasks"]
        assert {task["task_queue_id"]: task["run_type"] for task in listed} == kinds
        (by_schedule,) = kinds.keys() - {by_hand}
        assert (await entry(server, by_schedule))["run_type"] == "Schedule"
        again = (await server.post(f"/v1/runs/{by_schedule}:retry")).json["id"]
        assert (await entry(server, again))["run_type"] == "API", "somebody wanted it"


async def test_a_task_is_run_without_body_and_content_type_and_seen_at_once(serving):
    async with serving() as server:
        answer = await server.post(RUN)
        run_id = answer.json["task_queue_id"]
        assert (answer.status, answer.json) == (
            200, {"type": "success", "task_queue_id": run_id, "msg": "Task started successfully"},
        )  # fmt: skip
        found = await entry(server, run_id)
        assert (found["status"], found["total_records"], found["total_record_proceed"]) == ("start", 1, 0)
        assert set(found) == ENTRY
        assert (await server.get(f"/v1/runs/{run_id}")).json["state"] == "queued"


SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer"},"to":{"type":"array"}},"additionalProperties":true}'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"n":7,"name":"7","to":["a","b"]}'),
        (FORM, b"n=7&name=7&to[]=a&to[]=b"),
        (FORM, b"n=7&name=7&to%5B1%5D=b&to%5B0%5D=a"),
        (PARTS, FIELDS),
    ],
)
async def test_a_body_of_any_kind_is_the_input(kind, body, serving):
    async with serving() as server:
        await server.declare("mail", input_schema=msgspec.Raw(SCHEMA))
        run_id = (await server.ask("POST", "/api/v1/tasks/run/mail", body, content_type=kind)).json["task_queue_id"]
        run = (await server.get(f"/v1/runs/{run_id}")).json
        assert run["input"] == {"n": 7, "name": "7", "to": ["a", "b"]}


async def test_a_run_with_an_idempotency_key_is_started_once(serving):
    async with serving() as server:
        first, again = [await server.post(RUN, idempotency_key="k") for _ in range(2)]
        assert first.json == again.json


# -- executions --------------------------------------------------------------------------------------------------------


async def test_every_state_has_its_word_and_ended_ones_stay(serving):
    async with serving() as server:
        states = {State.SCHEDULED: await server.start(delay="1h"), State.TERMINATED: await server.start()}
        await server.post(f"/api/v1/tasks/terminate/queue/{states[State.TERMINATED]}")
        states[State.SUCCEEDED] = await server.finished()
        for state in (State.FAILED, State.STOPPING, State.RUNNING, State.SUSPENDED):
            states[state] = await server.running()
        await server.fail(states[State.FAILED])
        await server.post(f"/api/v1/tasks/terminate/queue/{states[State.STOPPING]}")
        await server.post(f"/v1/runs/{states[State.SUSPENDED]}:suspend")
        states[State.QUEUED] = await server.start()
        assert set(states) == set(State) == set(WORDS)
        for state, run_id in states.items():
            assert (await server.get(f"/v1/runs/{run_id}")).json["state"] == state
            assert (await entry(server, run_id))["status"] == WORDS[state]
    assert set(WORDS.values()) == {"start", "complete", "failed", "terminated"}


async def test_records_are_never_none_and_never_run_ahead(in_memory):
    async with in_memory() as server:
        run_id = await server.running()
        seen = []
        for done, total in ((0, None), (5, None), (5, 10), (10, 10)):
            await progress(server, run_id, done, total)
            found = await entry(server, run_id)
            seen.append((found["total_record_proceed"], found["total_records"]))
        assert seen == [(0, 1), (5, 6), (5, 10), (10, 10)]
        empty = await server.running()
        await progress(server, empty, 0, 0)
        await server.succeed(empty)
        found = await entry(server, empty)
        assert (found["total_record_proceed"], found["total_records"]) == (0, 1)
        silent = await entry(server, await server.finished())
        assert (silent["total_record_proceed"], silent["total_records"]) == (1, 1)


async def test_times_are_naive_and_an_end_says_why(in_memory):
    async with in_memory() as server:
        run_id = await server.running()
        start = wall_time(server.clock.now_ms(), "UTC")
        server.clock.advance(90_000)
        error = wire.FunctionError(message="no address", retryable=False)
        await server.report(wire.ErroredReport(run_id=run_id, epoch=1, error=error))
        found = await entry(server, run_id)
        assert (found["start_at"], found["end_at"]) == (start, wall_time(server.clock.now_ms(), "UTC"))
        assert (found["status"], found["error"]) == ("failed", "no address")


def test_wall_time_is_that_of_the_zone():
    assert wall_time(1_706_349_600_999, "UTC") == "2024-01-27 10:00:00"
    assert wall_time(1_706_349_600_000, "America/New_York") == "2024-01-27 05:00:00"
    assert wall_time(1_706_349_600_000, "Asia/Kathmandu") == "2024-01-27 15:45:00"


async def test_lists_have_what_goes_on_what_a_task_did_and_what_is_over(serving):
    async with serving("backup", "join") as server:
        over = [await server.finished(task="join"), await server.finished()]
        goes_on = [await server.start(), await server.start(task="join")]

        async def listed(path):
            answer = (await server.get(f"/api/v1/tasks/{path}")).json
            assert answer["total_tasks"] == len(answer["tasks"])
            assert all(set(found) == ENTRY for found in answer["tasks"])
            return [found["task_queue_id"] for found in answer["tasks"]]

        assert await listed("status") == goes_on[::-1]
        assert sorted(await listed("history")) == sorted(over)
        assert await listed("status/task/join") == [goes_on[1], over[0]]
        assert await listed("history?task_id=join&status=complete") == over[:1]
        assert await listed("history?status=failed") == []


async def test_lists_come_in_pages(serving):
    async with serving() as server:
        ids = [await server.start() for _ in range(5)]
        found, cursor = [], ""
        for size in (2, 2, 1):
            page = (await server.get(f"/api/v1/tasks/status?limit=2&cursor={cursor}")).json
            assert (len(page["tasks"]), page["total_tasks"]) == (size, 5)
            found += [task["task_queue_id"] for task in page["tasks"]]
            cursor = page["next_cursor"]
        assert (found, cursor) == (ids[::-1], "")
        first = (await server.get("/api/v1/tasks/status?limit=2")).json["next_cursor"]
        for path in (f"history?cursor={first}", f"status/task/backup?cursor={first}", f"status?cursor={first}x"):
            assert (await server.get(f"/api/v1/tasks/{path}")).status in (400, 422), path


async def test_status_shows_all_that_are_active_and_says_where_it_goes_on_if_they_are_very_many(serving):
    async with serving() as server:
        for size in (999, 2):
            asked = {"runs": [{"task": "backup"} for _ in range(size)]}
            assert (await server.post("/v1/runs:batch", asked)).status == 200
        for path in ("/api/v1/tasks/status", "/api/v1/tasks/status/task/backup"):
            found = (await server.get(path)).json
            assert (len(found["tasks"]), found["total_tasks"]) == (1000, 1001)
            rest = (await server.get(f"{path}?cursor={found['next_cursor']}")).json
            assert (len(rest["tasks"]), rest["next_cursor"]) == (1, "")
            assert (await server.get(f"{path}?page=2")).json["tasks"] == rest["tasks"]
        assert len((await server.get("/api/v1/tasks/status?limit=5")).json["tasks"]) == 5


async def test_pages_of_the_history_are_counted(serving):
    async with serving("backup", "join") as server:
        ids = [await server.finished(task=("backup", "join")[n % 2]) for n in range(7)][::-1]

        async def listed(query):
            answer = await server.get(f"/api/v1/tasks/history?{query}")
            assert answer.status == 200, answer.body
            return [task["task_queue_id"] for task in answer.json["tasks"]]

        assert await listed("limit=3&page=1") == await listed("limit=3") == ids[:3]
        assert [await listed(f"limit=3&page={page}") for page in (2, 3, 4)] == [ids[3:6], ids[6:], []]
        assert [await listed(f"limit=2&page={page}&task_id=join") for page in (1, 2)] == [ids[1:5:2], ids[5:6]]
        second = (await server.get("/api/v1/tasks/history?limit=3&page=2")).json
        assert await listed(f"limit=3&cursor={second['next_cursor']}") == ids[6:]
        for query in (
            "page=0",
            "page=x",
            "page=-1",
            "page=101",
            f"page=00000001{'0' * 5000}",
            "limit=1000&page=11",
            "page=2&cursor=" + second["next_cursor"],
        ):
            refused = await server.get(f"/api/v1/tasks/history?{query}")
            assert (refused.status, list(refused.json["errors"])) == (422, ["page"]), query


async def test_a_cursor_shows_nothing_of_what_is_inside(serving):
    async with serving() as server:
        ids = [await server.finished() for _ in range(3)]
        found = (await server.get("/api/v1/tasks/history?limit=1")).json
        token = found["next_cursor"]
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        for part in (
            b"history",
            b"succeeded",
            *(run_id.encode() for run_id in ids),
            *(b"%d" % n for n in range(100, 200)),
        ):
            assert part not in raw
        native = (await server.get("/v1/runs?page_size=1")).json["next_page_token"]
        raw = base64.urlsafe_b64decode(native + "=" * (-len(native) % 4))
        assert not any(run_id.encode() in raw for run_id in ids)


async def test_terminating_ends_one_or_all_of_a_task(serving):
    async with serving("backup", "join") as server:
        one, two, three = await server.start(), await server.start(), await server.start()
        other = await server.start(task="join")
        done = {"type": "success", "msg": "Task terminated successfully"}
        for _ in range(2):
            answer = await server.post(f"/api/v1/tasks/terminate/queue/{one}")
            assert (answer.status, answer.json) == (200, done)
        assert (await entry(server, two))["status"] == "start"
        answer = await server.post("/api/v1/tasks/terminate/task/backup")
        assert (answer.status, answer.json) == (200, done)
        assert [(await entry(server, run_id))["status"] for run_id in (two, three)] == ["terminated"] * 2
        assert (await entry(server, other))["status"] == "start"
        assert (await server.post("/api/v1/tasks/terminate/task/backup")).json == done


# -- errors ------------------------------------------------------------------------------------------------------------


async def test_errors_have_type_msg_and_status(serving):
    async with serving() as server:
        over, removed = await server.finished(), await server.finished()
        await server.declare("idle", "mail", input_schema=msgspec.Raw(b'{"type":"object","required":["to"]}'))
        await server.post("/v1/tasks/idle:deactivate")
        await server.ask("DELETE", f"/v1/runs/{removed}")
        cases = (
            ("POST", "run/nobodys", 404), ("POST", "run/idle", 412), ("POST", "run/mail", 422),
            ("GET", f"status/queue/{NOBODY}", 404), ("GET", "status/queue/undefined", 404),
            ("GET", f"status/queue/{removed}", 410), ("GET", "status/task/nobodys", 404),
            ("POST", f"terminate/queue/{NOBODY}", 404), ("POST", "terminate/task/nobodys", 404),
            ("POST", f"terminate/queue/{over}", 409), ("GET", "run/backup", 405), ("GET", "status/nothing", 404),
            ("GET", "history?status=start", 422), ("GET", "history?limit=0", 422), ("GET", "history?limit=x", 422),
            ("GET", "history?task_id[]=a", 422),
        )  # fmt: skip
        for method, path, status in cases:
            answer = await server.ask(method, f"/api/v1/tasks/{path}")
            said = answer.json
            assert (answer.status, said["type"], said["status"]) == (status, "error", status), (path, said)
            assert said["msg"]
            assert answer.headers["content-type"] == "application/json"
            assert ("errors" in said) == (status == 422), said


async def test_a_validation_names_the_fields(in_memory):
    async with in_memory() as server:
        schema = b'{"type":"object","properties":{"to":{"type":"string"},"n":{"type":"integer"}}}'
        await server.declare("mail", input_schema=msgspec.Raw(schema))
        said = (await server.post("/api/v1/tasks/run/mail", {"to": 7, "n": "x"})).json
        assert {name: len(texts) for name, texts in said["errors"].items()} == {"to": 1, "n": 1}
        assert (await server.get("/api/v1/tasks/history?limit=-1")).json["errors"].keys() == {"limit"}


async def test_a_run_that_does_not_exist_ends_the_wait_of_who_looks_at_tasks_only(in_memory):
    async with in_memory() as server:
        said = (await server.get("/api/v1/tasks/status/queue/undefined")).json
        assert (said["type"], said["tasks"][0]["status"], said["tasks"][0]["total_records"]) == ("error", "failed", 1)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"[]", 422),
        ("application/json", b'{"a":1,"a":2}', 400),
        ("application/json", b'{"a":' * 5000, 422),
        ("text/plain", b"a=1", 415),
        ("application/xml", b"<a/>", 415),
        (FORM, b"a=%ff", 422),
        (FORM, b"a[b=1", 422),
        (FORM, b"a=1&a[b]=2", 422),
        (FORM, b"a=1&a=2", 422),
        (FORM, b"a" + b"[x]" * 20 + b"=1", 422),
        (FORM, b"&".join(b"a%d=1" % n for n in range(1001)), 422),
        (PARTS, b"no parts", 422),
        (PARTS, b'--XX\r\nContent-Disposition: form-data; name=a; filename="/etc/passwd"\r\n\r\nx\r\n--XX--\r\n', 415),
        (PARTS, b"--XX\r\n\r\nx\r\n--XX--\r\n", 415),
        ("multipart/form-data", b"--XX\r\n\r\nx\r\n--XX--\r\n", 422),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_and_starts_nothing(kind, body, status, in_memory):
    async with in_memory() as server:
        answer = await server.ask("POST", RUN, body, content_type=kind)
        assert (answer.status, answer.json["type"]) == (status, "error"), answer.body
        assert (await server.get("/v1/runs:count")).json["total"] == 0


async def test_limits_and_drains_come_in_the_surfaces_words_too(in_memory):
    async with in_memory(body_max=1000) as server:
        server.api.drain()
        for answer, status in (
            (await server.post(RUN), 503),
            (await server.post(RUN, b"x" * 1001), 413),
            (await server.get("/api/v1/tasks", host="evil.example"), 421),
            (await server.get(f"/api/v1/tasks/history?{'x' * 17000}"), 414),
            (await server.post(RUN, origin="https://evil.example"), 403),
        ):
            assert (answer.status, answer.json["type"], answer.json["status"]) == (status, "error", status)
        assert (await server.post(RUN)).headers["retry-after"] == "1"
        assert (await server.post(RUN, origin="https://evil.example")).json["msg"] == "Permission Denied"


async def test_what_no_route_takes_is_answered_by_prefix_and_credential(in_memory):
    async with in_memory() as server:
        keys = {"x_tadabase_app_id": "a", "x_tadabase_app_key": "k", "x_tadabase_app_secret": "s"}
        for path in ("/api/v1/nothing", "/api/v1/tasks/nothing", "/api/v1/x/y", "/api/x"):
            for method in ("GET", "POST", "DELETE"):
                assert (await server.ask(method, path, **keys)).json["type"] == "error", (method, path)
        assert (await server.get("/api/v1/tasks/status/nothing")).json["type"] == "error"
        assert (await server.get("/api/v1/nothing")).json["status"] == "error"
        assert (await server.get("/nothing", **keys)).json["code"] == "route_not_found"
        assert (await server.get("/v1/nothing")).headers["content-type"] == "application/problem+json"


# -- web pages ---------------------------------------------------------------------------------------------------------

PAGE = "https://app.example"
THREE = "x-tadabase-app-id, x-tadabase-app-key, x-tadabase-app-secret"


async def test_a_page_of_a_listed_origin_may_use_this_surface_with_its_three_headers(in_memory):
    async with in_memory(surfaces=(TadabaseSettings(origins=(PAGE,)),)) as server:
        page = {"origin": PAGE, "sec_fetch_site": "cross-site"}
        asking = {**page, "access_control_request_method": "POST", "access_control_request_headers": THREE}
        preflight = await server.ask("OPTIONS", RUN, **asking)
        assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, PAGE)
        allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
        assert {"content-type", "x-tadabase-queue-equation", *THREE.split(", ")} <= set(allowed)
        for answer in (await server.post(RUN, **page), await server.get("/api/v1/tasks/status/queue/none", **page)):
            assert (answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (PAGE, "origin")
        assert (await server.post(RUN, origin="https://evil.example")).status == 403


async def test_a_listed_origin_may_nothing_on_other_surfaces(in_memory):
    async with in_memory(surfaces=(TadabaseSettings(origins=(PAGE,)),)) as server:
        for method, path in (("POST", "/v1/runs"), ("POST", "/api/v1/backup"), ("GET", f"/api/v1/tasks/{NOBODY}")):
            assert (await server.ask(method, path, origin=PAGE)).status == 403, path
            asked = await server.ask("OPTIONS", path, origin=PAGE, access_control_request_method=method)
            assert "access-control-allow-origin" not in asked.headers, path


def test_brackets_are_objects_and_lists():
    pairs = [
        ("filters[items][0][field_id]", "a"),
        ("filters[items][0][val]", "1"),
        ("filters[condition]", "AND"),
        ("x[]", "y"),
    ]
    assert fields.nested(pairs) == {
        "filters": {"items": [{"field_id": "a", "val": "1"}], "condition": "AND"}, "x": ["y"],
    }  # fmt: skip
    assert fields.nested([("a[1]", "x")]) == {"a": {"1": "x"}}
    assert fields.nested([(f"a[{n}]", str(n)) for n in range(12)]) == {"a": [str(n) for n in range(12)]}
    for name in ("[a]", "a]", "a[", "a[b]c", ""):
        with pytest.raises(BadParameter):
            fields.nested([(name, "1")])


async def test_metrics_name_the_routes_of_the_surface(in_memory):
    async with in_memory() as server:
        await server.get("/api/v1/tasks")
        text = (await server.get("/metrics")).body.decode()
        assert 'headway_http_requests_total{route="GET /api/v1/tasks",status="200"}' in text

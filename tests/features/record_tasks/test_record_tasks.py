"""Record tasks: what they may say, what they do to records, and what they send; with real receivers, on both stores."""

import asyncio
import base64
import json
import sqlite3

import msgspec
import pytest
from tests.features.record_tasks.harness import RecordTaskHarness, allow, update
from tests.features.tables.tables import field, fill, table, values
from tests.harness import declare
from tests.outbound.receivers import Raw, leading_to

from headway.errors import (
    Conflict,
    ExternalFailed,
    ExternalRefused,
    HeadwayError,
    InvalidInput,
    InvalidState,
    LeaseLost,
    NotFound,
    RecordFailed,
    RecordTaskNotFound,
    TargetRefused,
    TargetUnreachable,
    VersionMismatch,
)
from headway.features.record_tasks import executor as records
from headway.features.record_tasks import patch as patches
from headway.features.record_tasks import sending
from headway.features.record_tasks.service import RecordTasks
from headway.features.tables.external.database import ExternalDatabases
from headway.kernel.namespace import Namespace
from headway.kernel.run import Reason
from headway.outbound.egress import EgressPolicy
from headway.protocol import record_tasks as wire
from headway.protocol import tables as table_wire
from headway.protocol.runs import Terminate
from headway.runs.built_in.worker import BuiltInWorker

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def record_harness(harness, monkeypatch):
    monkeypatch.setattr(sending, "WAIT_S", (0.0, 0.0))
    allow(harness, EgressPolicy(["127.0.0.1"]))
    return RecordTaskHarness(harness)


def template(text):
    return {"template": text}


async def people(harness, count=3, **more):
    await table(
        harness, field("Name"), field("Age", "number"), field("Status", "choice", choices=["new", "old"]),
        field("Mail", "email", **more), field("Since", "date"),
    )  # fmt: skip
    records_ = [{"Name": f"p{n}", "Age": n, "Mail": f"p{n}@example.com", "Since": "2026-01-01"} for n in range(count)]
    for at in range(0, count, 1000):
        await fill(harness, *records_[at : at + 1000])


# -- what they may say -----------------------------------------------------------------------------------------------------


async def test_a_record_task_is_a_task_like_others(record_harness):
    harness = record_harness.harness
    await people(harness)
    kept = await record_harness.make(update(Status="old"), description="d", queue="nightly")
    assert await record_harness.tasks.get("T") == kept
    assert await record_harness.tasks.list() == [kept]
    task = harness.tasks.get("T")
    assert (task.executor, task.description, task.queue, task.active) == ("records", "d", "nightly", True)
    run = await record_harness.begin()
    assert run.queue == "nightly"
    assert await record_harness.execute(run) == {"total": 3, "done": 3, "failed": 0}
    run = await harness.runs.get(run.id)
    assert (run.state, run.progress_done, run.progress_total) == ("succeeded", 3, 3)
    await harness.tasks.activate("T", active=False)
    with pytest.raises(HeadwayError, match="not active"):
        await harness.start("T")


@pytest.mark.parametrize(
    ("action", "pointer", "said"),
    [
        (update(Nmae="x"), "/actions/0/set/Nmae", "is not a field of 'things'; it has 'Name'"),
        (update(Age="many"), "/actions/0/set/Age", "takes a number"),
        (update(Status="gone"), "/actions/0/set/Status", "it takes one of 'new', 'old'"),
        (update(Mail=None), "/actions/0/set/Mail", "is required"),
        (update(Name="x", field_1="y"), "/actions/0/set/field_1", "twice"),
        (update(Name={"x": 1}), "/actions/0/set/Name", "it takes a value"),
        (update(Name={"field": "Nmae"}), "/actions/0/set/Name", "is not a field"),
        (update(Name=template("{{ record.Nmae }}")), "/actions/0/set/Name", "record.Nmae, which is not a field"),
        (update(Name=template("{{ recrod.Name }}")), "/actions/0/set/Name", "uses 'recrod'"),
        (update(Name=template("{% if %}")), "/actions/0/set/Name", "line 1"),
        (update(Name=template("{{ target.Name }}")), "/actions/0/set/Name", "uses 'target'"),
        ({"action": "update_connected", "connection": "Name", "set": {"Name": "x"}}, "/actions/0/connection", "not a connection"),
        ({"action": "insert", "table": "things", "set": {"Name": "x"}}, "/actions/0/set", "'Mail' of 'things' is required"),
        ({"action": "run", "task": "nothing"}, "/actions/0/task", "there is no task 'nothing'"),
        ({"action": "email", "to": "a@b.c", "subject": "x"}, "/actions/0", "a mail needs to, subject, and text or html"),
        ({"action": "email", "to": "a@b.c", "subject": "{{ x", "text": "t"}, "/actions/0/subject", "cannot be read"),
        ({"action": "webhook", "url": "http://10.0.0.1/"}, "/actions/0/url", "https"),
        ({"action": "webhook", "url": "https://localhost/"}, "/actions/0/url", "not the full name of a public host"),
        ({"action": "webhook", "url": "https://a.example/", "secret": "x"}, "/actions/0/secret", "24 to 64"),
        ({"action": "webhook", "url": "https://a.example/", "headers": {"A": "b\r\nC: d"}}, "/actions/0/headers", "line break"),
        ({"action": "webhook", "url": "https://a.example/", "body": "{{ x }}"}, "/actions/0/body", "uses 'x'"),
    ],
)  # fmt: skip
async def test_what_cannot_work_is_refused_when_it_is_said_with_its_place(record_harness, action, pointer, said):
    await people(record_harness.harness, required=True)
    allow(record_harness.harness, EgressPolicy(resolve=leading_to("8.8.8.8")))
    with pytest.raises(InvalidInput) as refused:
        await record_harness.make(action)
    assert [error["pointer"] for error in refused.value.errors] == [pointer]
    assert said in refused.value.detail
    assert await record_harness.tasks.list() == []


async def test_a_webhook_whose_name_leads_inside_is_refused_when_it_is_said(record_harness):
    await people(record_harness.harness)
    allow(record_harness.harness, EgressPolicy(resolve=leading_to("169.254.169.254")))
    with pytest.raises(TargetRefused):
        await record_harness.make({"action": "webhook", "url": "https://evil.example/"})


async def test_names_are_unique_and_those_of_code_are_taken(record_harness):
    harness = record_harness.harness
    await people(harness)
    await harness.worker(declare("code"))
    with pytest.raises(Conflict, match="which workers execute"):
        await record_harness.make(update(Status="old"), name="code")
    with pytest.raises(InvalidInput, match="are reserved"):
        await record_harness.make(update(Status="old"), name="headway.x")
    await record_harness.make(update(Status="old"))
    with pytest.raises(Conflict, match="there is a record task"):
        await record_harness.make(update(Status="old"))
    with pytest.raises(InvalidInput, match="the server executes itself"):
        await harness.worker(declare("T"))


async def test_a_record_task_can_be_changed_and_removed(record_harness):
    harness = record_harness.harness
    await people(harness)
    await record_harness.make(update(Status="old"), filter=[{"field": "Age", "operator": "is", "value": 1}])
    changed = await record_harness.tasks.patch(
        "T", wire.PatchRecordTask(filter=None, description="new", on_error="stop"), 1
    )
    assert (changed.version, changed.filter, changed.on_error) == (2, None, "stop")
    assert harness.tasks.get("T").description == "new"
    with pytest.raises(VersionMismatch):
        await record_harness.tasks.patch("T", wire.PatchRecordTask(on_error="continue"), 1)
    left = await harness.start("T")
    with pytest.raises(VersionMismatch):
        await record_harness.tasks.delete("T", 1)
    await record_harness.tasks.delete("T")
    with pytest.raises(RecordTaskNotFound):
        await record_harness.tasks.get("T")
    with pytest.raises(HeadwayError, match="not active"):
        await harness.start("T")
    assert await harness.state(left.id) == "queued"
    await record_harness.make(update(Age=1))
    assert await record_harness.execute(await record_harness.claim(left.id)) == {"total": 3, "done": 3, "failed": 0}


async def test_a_field_may_be_renamed_under_a_task(record_harness):
    harness = record_harness.harness
    await people(harness)
    await record_harness.make(
        update(Status="old", Name={"field": "Mail"}), filter={"field": "Age", "operator": "at least", "value": 1}
    )
    await harness.tables.patch_field("things", "Age", table_wire.PatchField(name="Years"))
    await harness.tables.patch_field("things", "Status", table_wire.PatchField(name="State"))
    assert await record_harness.run() == {"total": 2, "done": 2, "failed": 0}
    assert [(each.get("State"), each["Name"]) for each in await values(harness)] == [
        (None, "p0"), ("old", "p1@example.com"), ("old", "p2@example.com"),
    ]  # fmt: skip


async def test_a_task_that_does_not_fit_its_table_any_more_fails_its_run_in_words(record_harness):
    harness = record_harness.harness
    await people(harness)
    await record_harness.make(update(Status="old"))
    await harness.tables.patch_field("things", "Status", table_wire.PatchField(choices=["new"]))
    with pytest.raises(Conflict, match="'Status' of 'things' does not take 'old' any more"):
        await record_harness.run()


async def test_secrets_are_sealed_and_never_shown(record_harness):
    harness = record_harness.harness
    await people(harness)
    hook = {"action": "webhook", "url": "http://127.0.0.1:9/x", "secret": SECRET, "headers": {"X-Key": "canary-1"}}
    kept = await record_harness.make(hook)
    await record_harness.mail.set(
        wire.MailServerIn(host="127.0.0.1", security="plain", username="u", password="canary-2", sender="a@b.example")
    )
    everything = json.dumps(harness.dump())
    for secret in ("canary", SECRET[6:]):
        assert secret not in everything
    assert record_harness.tasks.secrets(kept, kept.actions[0]).headers == {"X-Key": "canary-1"}
    elsewhere = msgspec.structs.replace(kept.actions[0], url="http://127.0.0.1:9/mine")
    with pytest.raises(Conflict, match="changed or moved"):
        record_harness.tasks.secrets(kept, elsewhere)


# -- what they do to records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [False, True])
async def test_all_records_that_fit_are_updated_and_no_others(record_harness, indexed):
    harness = record_harness.harness
    await people(harness, 1_234)
    if indexed:
        await harness.tables.patch_field("things", "Status", table_wire.PatchField(indexed=True))
    await record_harness.make(update(Status="old"), filter={"field": "Age", "operator": "less", "value": 1_000})
    run = await record_harness.begin()
    await fill(harness, {"Name": "late", "Age": 1, "Mail": "late@example.com"})
    assert await record_harness.execute(run) in ({"total": n, "done": n, "failed": 0} for n in (1_000, 1_001))
    found = {each["Name"]: each.get("Status") for each in await values_all(harness)}
    assert [name for name, status in found.items() if status != "old" and name != "late"] == [
        f"p{n}" for n in range(1_000, 1_234)
    ]
    versions = harness.sql("SELECT version, count(*) FROM records GROUP BY version ORDER BY version")
    assert versions[0][1] + versions[1][1] == 1_235
    assert [version for version, _ in versions] == [1, 2]


async def values_all(harness, name="things"):
    made = await harness.tables.get(name)
    found, after = [], ""
    while True:
        page, after = await harness.records.page(made, after=after, size=1000)
        found += [{each.name: record.values.get(each.id) for each in made.fields} for record in page]
        if not after:
            return found


async def test_values_come_from_the_record_and_from_templates_in_the_order_of_actions(record_harness):
    harness = record_harness.harness
    await people(harness)
    await record_harness.make(
        update(Name=template("{{ record.Name | upper }}-{{ record.Age + 1 }}"), Age=template("{{ record.Age * 2 }}")),
        update(Mail=template("{{ record.Name[:2] }}{{ record.Age }}@x.org"), Since=template("{{ today }}")),
    )
    assert await record_harness.run() == {"total": 3, "done": 3, "failed": 0}
    assert [(each["Name"], each["Age"], each["Mail"]) for each in await values(harness)] == [
        ("P0-1", 0, "p00@x.org"), ("P1-2", 2, "p12@x.org"), ("P2-3", 4, "p24@x.org"),
    ]  # fmt: skip
    assert {each["Since"] for each in await values(harness)} == {"2027-01-15"}


async def test_a_record_that_fails_is_noted_and_the_others_go_on(record_harness):
    harness = record_harness.harness
    await people(harness, 5)
    await record_harness.make(update(Age=template("{{ 10 / record.Age }}"), Status="old"))
    run = await record_harness.begin()
    assert await record_harness.execute(run) == {"total": 5, "done": 5, "failed": 1}
    assert await record_harness.errors(run) == [
        (0, "template", "the template failed: ZeroDivisionError: division by zero")
    ]
    assert [each.get("Status") for each in await values(harness)] == [None, "old", "old", "old", "old"]
    shown = await harness.runs.get(run.id)
    assert (shown.progress_done, shown.progress_message) == (5, "1 failed")


async def test_nothing_of_a_record_that_fails_is_written(record_harness):
    harness = record_harness.harness
    await people(harness, 3)
    await table(harness, field("What", unique=True), name="log")
    await fill(harness, {"What": "p1"}, name="log")
    await harness.worker(declare("other"))
    await record_harness.make(
        update(Status="old"), {"action": "insert", "table": "log", "set": {"What": {"field": "Name"}}},
        {"action": "run", "task": "other"},
    )  # fmt: skip
    run = await record_harness.begin()
    assert await record_harness.execute(run) == {"total": 3, "done": 3, "failed": 1}
    ((_, code, message),) = await record_harness.errors(run)
    assert (code, message) == ("value", "What is unique, and another record has this value")
    assert [each.get("Status") for each in await values(harness)] == ["old", None, "old"]
    assert sorted(each["What"] for each in await values(harness, "log")) == ["p0", "p1", "p2"]
    started = [json.loads(given)["record"] for (given,) in harness.sql("SELECT input FROM runs WHERE task = 'other'")]
    ids = [each_id for (each_id,) in harness.sql("SELECT id FROM records ORDER BY id")]
    assert len(started) == 2
    assert ids[1] not in started


async def test_a_task_that_stops_does_so_at_the_first_failure(record_harness):
    harness = record_harness.harness
    await people(harness, 6)
    await record_harness.make(update(Age=template("{{ 10 / (record.Age - 3) }}")), on_error="stop")
    run = await record_harness.begin()
    with pytest.raises(RecordFailed, match=r"^record .* failed: "):
        await record_harness.execute(run)
    assert [each["Age"] for each in await values(harness)][3:] == [3, 4, 5]
    assert (await harness.runs.get(run.id)).progress_done == 4
    assert len(await record_harness.errors(run)) == 1


async def test_records_that_failed_are_run_again_alone(record_harness):
    harness = record_harness.harness
    await people(harness, 6)
    await record_harness.make(update(Name=template("{{ 10 // (record.Age % 3) }}")), on_error="continue")
    run = await record_harness.begin()
    with pytest.raises(InvalidState):
        await record_harness.tasks.run_failed(run.id)
    assert (await record_harness.execute(run))["failed"] == 2
    await record_harness.tasks.patch(
        "T", wire.PatchRecordTask(actions=msgspec.convert([update(Name="mended")], wire.Actions))
    )
    again = (await record_harness.tasks.run_failed(run.id)).run
    assert await record_harness.execute(await record_harness.claim(again.id)) == {"total": 2, "done": 2, "failed": 0}
    assert [each["Name"] for each in await values(harness)] == ["mended", "10", "5", "mended", "10", "5"]
    with pytest.raises(Conflict, match="no record failed"):
        await record_harness.tasks.run_failed(again.id)


async def test_only_the_records_that_are_named_are_done_if_they_fit(record_harness):
    harness = record_harness.harness
    await people(harness, 4)
    ids = [each_id for (each_id,) in harness.sql("SELECT id FROM records ORDER BY id")]
    await record_harness.make(update(Status="old"), filter={"field": "Age", "operator": "at most", "value": 2})
    assert (await record_harness.run(given={"records": [ids[3], ids[1].replace("-", ""), "none"]}))["done"] == 1
    assert [each.get("Status") for each in await values(harness)] == [None, "old", None, None]
    with pytest.raises(InvalidInput):
        await harness.start("T", {"recrods": []})


async def test_connected_records_are_updated_each_time_one_names_them(record_harness):
    harness = record_harness.harness
    await table(harness, field("Name"), field("Balance", "number", default=0), name="customers")
    one, two = await fill(harness, {"Name": "one"}, {"Name": "two"}, name="customers")
    await table(harness, field("Sum", "number"), field("Customer", "connection", table="customers"), name="orders")
    await fill(harness, *[{"Sum": n, "Customer": (one, two)[n % 2].id} for n in range(40)], {"Sum": 9}, name="orders")
    await record_harness.make(
        {"action": "update_connected", "connection": "Customer", "set": {
            "Balance": template("{{ target.Balance + record.Sum }}"), "Name": template("{{ connected.Customer.Name }}!"),
        }},
        on="orders",
    )  # fmt: skip
    assert await record_harness.run() == {"total": 41, "done": 41, "failed": 0}
    assert [(each["Name"], each["Balance"]) for each in await values(harness, "customers")] == [
        ("one" + "!" * 20, 380), ("two" + "!" * 20, 400),
    ]  # fmt: skip


async def test_a_task_may_insert_into_its_own_table_without_end_being_lost_sight_of(record_harness):
    harness = record_harness.harness
    await people(harness, 4)
    await record_harness.make(
        {"action": "insert", "table": "things", "set": {"Name": template("copy of {{ record.Name }}")}}
    )
    assert await record_harness.run() == {"total": 4, "done": 4, "failed": 0}
    assert len(await values(harness)) == 8


async def test_another_task_is_started_once_for_each_record(record_harness):
    harness = record_harness.harness
    await people(harness, 3)
    await harness.worker(declare("other", input_schema={"type": "object", "required": ["who"]}))
    await record_harness.make({"action": "run", "task": "other", "input": {"who": {"field": "Name"}, "n": 7}})
    run = await record_harness.begin()
    assert await record_harness.execute(run) == {"total": 3, "done": 3, "failed": 0}
    rows = harness.sql("SELECT input, run_type, labels FROM runs WHERE task = 'other' ORDER BY id")
    assert [json.loads(given) for given, _, _ in rows] == [{"who": f"p{n}", "n": 7} for n in range(3)]
    assert {kind for _, kind, _ in rows} == {"record"}
    assert {json.loads(labels)["record_run"] for _, _, labels in rows} == {run.id}


async def test_what_was_read_and_has_changed_is_read_again(record_harness, monkeypatch):
    """Between reading a page and writing it somebody changes a record, and another one so that it does not fit any more."""
    harness = record_harness.harness
    await people(harness, 4)
    await record_harness.make(
        update(Name=template("{{ record.Name }}+{{ record.Age }}")),
        filter={"field": "Age", "operator": "less", "value": 50},
    )
    ids = [each_id for (each_id,) in harness.sql("SELECT id FROM records ORDER BY id")]
    render = harness.service.gateway.templates.render
    meddling = [{"id": ids[1], "values": {"Age": 7}}, {"id": ids[2], "values": {"Age": 99}}]

    async def meddled(*given):
        done = await render(*given)
        if meddling:
            patches = msgspec.convert(meddling, list[table_wire.RecordPatch])
            meddling.clear()
            await harness.records.update("things", patches)
        return done

    monkeypatch.setattr(harness.service.gateway.templates, "render", meddled)
    await record_harness.run()
    assert [each["Name"] for each in await values(harness)] == ["p0+0", "p1+7", "p2", "p3+3"]


async def test_a_run_goes_on_where_an_attempt_that_lost_its_lease_has_stood(record_harness, monkeypatch):
    harness = record_harness.harness
    monkeypatch.setattr(patches, "PATCH_SIZE", 100)
    monkeypatch.setattr(records, "PATCH_SIZE_FIRST", 100)
    await people(harness, 1_000)
    await record_harness.make(update(Status="old"))
    first = await record_harness.begin()
    patch = records.RecordRun.patch

    async def three_times(self, *more):
        if self.checkpoint.number == 3:
            await harness.service.leases.lapse(harness.sessions.get(record_harness.worker))
        return await patch(self, *more)

    monkeypatch.setattr(records.RecordRun, "patch", three_times)
    with pytest.raises(LeaseLost):
        await record_harness.execute(first)
    monkeypatch.setattr(records.RecordRun, "patch", patch)
    again = await record_harness.claim(first.id)
    assert again.epoch == 2
    with pytest.raises(LeaseLost):
        await records.execute(harness.service, first)
    assert await record_harness.execute(again) == {"total": 1_000, "done": 1_000, "failed": 0}
    assert harness.sql("SELECT version, count(*) FROM records GROUP BY version") == [(2, 1_000)]


async def test_a_run_that_is_stopped_or_suspended_changes_nothing_more(record_harness):
    harness = record_harness.harness
    await people(harness, 10)
    await record_harness.make(update(Name=template("x")))
    for stop in (harness.runs.terminate, harness.runs.suspend):
        run = await record_harness.begin()
        await stop(run.id, Terminate() if stop == harness.runs.terminate else Reason(code="suspended"))
        with pytest.raises(LeaseLost):
            await records.execute(harness.service, run)
    assert [each["Name"] for each in await values(harness)] == [f"p{n}" for n in range(10)]


# -- what they send --------------------------------------------------------------------------------------------------------


async def serve_mail(record_harness, mailbox, **more):
    await record_harness.mail.set(
        wire.MailServerIn(
            host="127.0.0.1", port=mailbox.port, security="plain", sender="reports@headway.example", **more
        )
    )


MAIL = {"action": "email", "to": "{{ record.Mail }}", "subject": "Hello {{ record.Name }}", "text": "You are {{ record.Age }}.",
        "html": "<p>{{ record.Name }}</p>"}  # fmt: skip


async def test_a_mail_arrives_for_each_record_and_then_it_is_marked(record_harness, mailbox):
    harness = record_harness.harness
    await people(harness, 40)
    await serve_mail(record_harness, mailbox)
    await record_harness.make(MAIL, update(Status="old"), filter={"field": "Age", "operator": "less", "value": 30})
    assert await record_harness.run() == {"total": 30, "done": 30, "failed": 0}
    got = {message["To"]: message for _, _, message in mailbox.mails}
    assert len(got) == len(mailbox.mails) == 30
    assert got["p7@example.com"]["Subject"] == "Hello p7"
    assert got["p7@example.com"].get_body(("plain",)).get_content().strip() == "You are 7."
    assert len({message["Message-ID"] for message in got.values()}) == 30
    assert sum(each.get("Status") == "old" for each in await values(harness)) == 30


async def test_a_mail_that_is_sent_again_has_the_same_name(record_harness, mailbox, monkeypatch):
    """The server died after the mails had gone, and before that was written down."""
    harness = record_harness.harness
    await people(harness, 5)
    await serve_mail(record_harness, mailbox)
    await record_harness.make(MAIL)
    run = await record_harness.begin()
    commit = records.RecordRun.commit

    async def dies(self, jobs):
        await harness.service.leases.lapse(harness.sessions.get(record_harness.worker))
        return await commit(self, jobs)

    monkeypatch.setattr(records.RecordRun, "commit", dies)
    with pytest.raises(LeaseLost):
        await records.execute(harness.service, run)
    monkeypatch.setattr(records.RecordRun, "commit", commit)
    await record_harness.execute(await record_harness.claim(run.id))
    names = [message["Message-ID"] for _, _, message in mailbox.mails]
    assert len(names) == 10
    assert sorted(names[:5]) == sorted(names[5:])
    assert len(set(names)) == 5


async def test_no_value_of_a_record_breaks_out_of_a_header(record_harness, mailbox):
    harness = record_harness.harness
    await table(harness, field("Name"), field("Mail"))
    await fill(
        harness, {"Name": "a\r\nBcc: eve@example.com", "Mail": "a@example.com"}, {"Name": "b", "Mail": "b@example.com\nCc: eve@example.com"},
        {"Name": "<script>", "Mail": "c@example.com"}, {"Name": "d"},
    )  # fmt: skip
    await serve_mail(record_harness, mailbox)
    await record_harness.make({**MAIL, "text": "x"})
    run = await record_harness.begin()
    assert await record_harness.execute(run) == {"total": 4, "done": 4, "failed": 3}
    assert [message for _, _, message in await record_harness.errors(run)] == [
        "subject has a line break or a control character in it", "to has a line break or a control character in it",
        "the mail has no recipient",
    ]  # fmt: skip
    ((_, recipients, message),) = mailbox.mails
    assert recipients == ["c@example.com"]
    assert message.get_body(("html",)).get_content().strip() == "<p>&lt;script&gt;</p>"


async def test_a_value_of_a_record_that_looks_encoded_arrives_as_it_was_typed(record_harness, mailbox):
    harness, typed = record_harness.harness, "=?utf-8?q?a=0D=0ABcc:_e@x.org?="
    await table(harness, field("Name"), field("Mail"))
    await fill(harness, {"Name": typed, "Mail": "ann@example.com"})
    await serve_mail(record_harness, mailbox, sender_name=typed, reply_to="help@headway.example")
    await record_harness.make(
        {**MAIL, "to": "{{ record.Name | quoted }} <{{ record.Mail }}>", "text": "{{ record.Name }}"}
    )
    assert (await record_harness.execute(await record_harness.begin()))["failed"] == 0
    ((_, recipients, message),) = mailbox.mails
    assert recipients == ["ann@example.com"]
    assert "Bcc" not in message
    assert message["Subject"] == f"Hello {typed}"
    assert [each.display_name for each in (*message["To"].addresses, *message["From"].addresses)] == [typed, typed]
    assert message.get_body(("plain",)).get_content().strip() == typed


async def test_without_a_mail_server_the_run_fails_in_words(record_harness):
    await people(record_harness.harness)
    await record_harness.make(MAIL)
    with pytest.raises(NotFound, match="`headway mail-server set` sets one"):
        await record_harness.run()


async def test_a_mail_server_keeps_its_password_only_for_the_same_host_and_user(record_harness):
    first = wire.MailServerIn(host="127.0.0.1", security="plain", username="u", password="pw", sender="a@b.example")
    assert (await record_harness.mail.set(first)).has_password
    kept = wire.MailServerIn(host="127.0.0.1", security="plain", username="u", sender="c@b.example")
    assert (await record_harness.mail.set(kept)).has_password
    assert (await record_harness.mail.open()).password == "pw"
    with pytest.raises(InvalidInput, match="the password is needed again"):
        await record_harness.mail.set(
            wire.MailServerIn(host="127.0.0.1", security="plain", username="v", sender="a@b.example")
        )
    with pytest.raises(TargetRefused):
        await record_harness.mail.set(wire.MailServerIn(host="10.0.0.1", sender="a@b.example"))
    with pytest.raises(InvalidInput, match="does not begin with an e-mail address"):
        await record_harness.mail.set(wire.MailServerIn(host="127.0.0.1", sender="nobody"))
    await record_harness.mail.forget()
    with pytest.raises(NotFound):
        await record_harness.mail.get()


async def test_a_webhook_is_called_for_each_record(record_harness, site):
    harness = record_harness.harness
    await people(harness, 20)
    await record_harness.make(
        {"action": "webhook", "url": site.url, "secret": SECRET, "headers": {"X-Key": "k"}},
        {"action": "webhook", "url": site.url, "body": '{"who": {{ record.Name | tojson }}, "n": {{ record.Age }}}'},
    )
    run = await record_harness.begin()
    assert await record_harness.execute(run) == {"total": 20, "done": 20, "failed": 0}
    whole = [json.loads(body) for _, _, headers, body in site.calls if "webhook-signature" in headers]
    own = [json.loads(body) for _, _, headers, body in site.calls if "webhook-signature" not in headers]
    assert sorted(each["record"]["values"]["Age"] for each in whole) == list(range(20))
    assert {(each["task"], each["run"]) for each in whole} == {("T", run.id)}
    assert sorted(each["n"] for each in own) == list(range(20))
    assert len({headers["webhook-id"] for _, _, headers, _ in site.calls}) == 40


async def test_a_call_that_fails_is_tried_again_under_the_same_name(record_harness, site):
    harness = record_harness.harness
    await people(harness, 1)
    answers = [503, 429, 200]
    site.answer = lambda request: answers.pop(0)
    await record_harness.make({"action": "webhook", "url": site.url})
    assert await record_harness.run() == {"total": 1, "done": 1, "failed": 0}
    assert len({headers["webhook-id"] for _, _, headers, _ in site.calls}) == 1
    assert len(site.calls) == 3


async def test_a_record_that_failed_is_sent_under_the_same_name_when_it_is_run_again(record_harness, site):
    harness = record_harness.harness
    await people(harness, 2)
    site.answer = 400
    await record_harness.make({"action": "webhook", "url": site.url})
    run = await record_harness.begin()
    assert (await record_harness.execute(run))["failed"] == 2
    assert await record_harness.errors(run) == [(0, "http_400", "127.0.0.1 answered 400")] * 2
    site.answer = 200
    again = (await record_harness.tasks.run_failed(run.id)).run
    assert (await record_harness.execute(await record_harness.claim(again.id)))["failed"] == 0
    names = [headers["webhook-id"] for _, _, headers, _ in site.calls]
    assert sorted(names[:2]) == sorted(names[2:])


async def test_a_body_that_is_no_json_fails_its_record(record_harness, site):
    harness = record_harness.harness
    await people(harness, 2)
    await record_harness.make(
        {"action": "webhook", "url": site.url, "body": '{"n": {{ record.Name if record.Age else 0 }}}'}
    )
    run = await record_harness.begin()
    assert (await record_harness.execute(run))["failed"] == 1
    ((_, code, message),) = await record_harness.errors(run)
    assert code == "bad_body"
    assert "record.Name | tojson" in message
    assert len(site.calls) == 1


async def test_a_name_that_leads_inside_by_now_fails_the_records(record_harness, site):
    harness = record_harness.harness
    await people(harness, 3)
    allow(harness, EgressPolicy(ports=(443, site.port), plain=True, resolve=leading_to("8.8.8.8", "127.0.0.1")))
    await record_harness.make({"action": "webhook", "url": f"http://rebinding.example:{site.port}/"})
    run = await record_harness.begin()
    assert (await record_harness.execute(run))["failed"] == 3
    assert {code for _, code, _ in await record_harness.errors(run)} == {"target_refused"}
    assert site.calls == []


async def test_who_cannot_be_reached_fails_the_run_after_some_records_and_it_goes_on_from_there(record_harness, site):
    harness = record_harness.harness
    await people(harness, 60)
    async with Raw() as gone:
        url = f"http://127.0.0.1:{gone.port}/"
    await record_harness.make({"action": "webhook", "url": url})
    run = await record_harness.begin()
    with pytest.raises(
        TargetUnreachable, match=r"cannot be reached: connection refused; 20 records in a row failed with it"
    ):
        await records.execute(harness.service, run)
    failed = len(await record_harness.errors(run))
    assert 20 <= failed <= 32
    assert (await harness.runs.get(run.id)).progress_done == failed


async def test_while_one_receiver_is_slow_others_are_served(record_harness, site):
    harness = record_harness.harness
    await people(harness, 30)
    waits = asyncio.Event()

    async def slowly():
        await waits.wait()
        return 200

    site.answer = lambda request: slowly() if request.path == "/slow" else 200
    await record_harness.make({"action": "webhook", "url": site.url.replace("/hook", "/slow")}, name="slow")
    await record_harness.make({"action": "webhook", "url": site.url}, update(Status="old"), name="quick")
    own = BuiltInWorker.of_executor(harness.service, records.RECORDS)
    own.start()
    slow = [await harness.start("slow") for _ in range(3)]
    quick = await harness.start("quick")
    done = await harness.runs.wait(quick.id, 30, lambda run: run.final)
    assert (done.state, json.loads(done.output)["done"]) == ("succeeded", 30)
    assert await harness.states(*slow) == ["running"] * 3
    waits.set()
    for run in slow:
        assert (await harness.runs.wait(run.id, 30, lambda run: run.final)).state == "succeeded"
    await own.stop()


async def test_a_run_that_is_terminated_sends_nothing_more(record_harness, site):
    harness = record_harness.harness
    await people(harness, 40)
    stopped = []

    async def stop():
        if not stopped:
            stopped.append(len(site.calls))
            await harness.stop(run.id, grace="30s")
        return 200

    site.answer = lambda request: stop()
    await record_harness.make({"action": "webhook", "url": site.url})
    run = await record_harness.begin()
    with pytest.raises(LeaseLost):
        await records.execute(harness.service, run)
    assert len(site.calls) <= 16


async def test_a_failing_template_is_noted_and_a_bomb_ends_the_run_after_some(record_harness):
    harness = record_harness.harness
    await people(harness, 3)
    bomb = "{% for a in record.Name %}" * 12 + "x" + "{% endfor %}" * 12
    await record_harness.make(update(Name=template("{% if record.Age == 1 %}" + bomb + "{% endif %}ok")))
    await harness.records.update(
        "things",
        [table_wire.RecordPatch(id=harness.sql("SELECT id FROM records ORDER BY id")[1][0], values={"Name": "y" * 12})],
    )
    run = await record_harness.begin()
    assert await record_harness.execute(run) == {"total": 3, "done": 3, "failed": 1}
    ((_, code, message),) = await record_harness.errors(run)
    assert code == "template"
    assert "took longer than" in message or "longer than" in message


async def test_the_server_executes_what_is_made_while_it_waits(record_harness):
    harness = record_harness.harness
    own = BuiltInWorker.of_executor(harness.service, records.RECORDS)
    own.start()
    await asyncio.sleep(0)
    await people(harness, 10)
    await record_harness.make(update(Status="old"))
    run = await harness.start("T")
    assert "no_worker" not in await harness.why(run.id)
    done = await harness.runs.wait(run.id, 10, lambda run: run.final)
    assert (done.state, done.output) == ("succeeded", '{"total":10,"done":10,"failed":0}')
    await own.stop()


async def test_record_tasks_of_two_organisations_do_not_meet(record_harness):
    harness = record_harness.harness
    await people(harness)
    await record_harness.make(update(Status="old"))
    with pytest.raises(NotFound):
        await harness.service.of(2).get(RecordTasks).get("T")
    assert await harness.service.of(2).get(RecordTasks).list() == []
    run = await record_harness.begin()
    await record_harness.execute(run)
    with pytest.raises(NotFound):
        await harness.service.of(2).get(RecordTasks).errors(run.id)
    assert Namespace.unqualify(run.task) == "T"


async def test_errors_go_with_their_run(record_harness):
    harness = record_harness.harness
    await people(harness)
    await record_harness.make(update(Age=template("{{ 1 / 0 }}")))
    run = await record_harness.begin()
    assert (await record_harness.execute(run))["failed"] == 3
    first, more = await record_harness.tasks.errors(run.id, limit=2)
    rest, end = await record_harness.tasks.errors(run.id, after=first[-1].record_id, limit=2)
    assert (len(first), more, len(rest), end) == (2, True, 1, False)
    await harness.runs.delete(run.id)
    assert harness.sql("SELECT count(*) FROM record_errors") == [(0,)]


async def test_rows_of_an_external_table_are_updated_too(record_harness, tmp_path):
    harness = record_harness.harness
    where = tmp_path / "people.db"
    with sqlite3.connect(where) as database:
        database.execute(
            "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, status TEXT CHECK (status <> 'x'))"
        )
        database.executemany("INSERT INTO people (name, age) VALUES (?, ?)", [(f"p{n}", n) for n in range(1_200)])
    database.close()
    allow(harness, EgressPolicy(), external_folders=(str(tmp_path),))
    far = table_wire.ExternalSpec(url=f"sqlite:///{where}", relation="people")
    await harness.tables.create(table_wire.CreateTable(name="people", external=far))
    await table(harness, field("Who"), name="log")
    await record_harness.make(
        update(status=template("{{ 'x' if record.age == 700 else record.name | upper }}")),
        {"action": "insert", "table": "log", "set": {"Who": {"field": "name"}}},
        on="people", filter={"field": "age", "operator": "at least", "value": 600},
    )  # fmt: skip
    run = await record_harness.begin()
    assert await record_harness.execute(run) == {"total": 600, "done": 600, "failed": 1}
    assert len(await values(harness, "log")) == 599
    with sqlite3.connect(where) as database:
        found = database.execute("SELECT age, status FROM people ORDER BY age").fetchall()
    database.close()
    assert [status for _, status in found] == [None] * 600 + [f"P{n}" if n != 700 else None for n in range(600, 1_200)]
    await record_harness.tasks.patch(
        "T", wire.PatchRecordTask(actions=msgspec.convert([update(status="ok")], wire.Actions))
    )
    again = (await record_harness.tasks.run_failed(run.id)).run
    assert await record_harness.execute(await record_harness.claim(again.id)) == {"total": 1, "done": 1, "failed": 0}
    harness.service.part(ExternalDatabases).close()


async def test_a_row_with_a_cell_that_is_none_of_its_field_fails_alone_if_the_task_reads_it(record_harness, tmp_path):
    harness = record_harness.harness
    where = tmp_path / "people.db"
    with sqlite3.connect(where) as database:
        database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age REAL NOT NULL, seen DATETIME)")
        database.executemany(
            "INSERT INTO people (name, age, seen) VALUES (?, ?, ?)",
            [("a", 1, None), ("b", "abc", "2026-01-01 00:00:00"), ("c", 3, 1_700_000_000), ("d", 4, "")],
        )
    allow(harness, EgressPolicy(), external_folders=(str(tmp_path),))
    far = table_wire.ExternalSpec(url=f"sqlite:///{where}", relation="people")
    await harness.tables.create(table_wire.CreateTable(name="people", external=far))
    await record_harness.make(update(name=template("{{ record.name | upper }}")), on="people")
    run = await record_harness.begin()
    assert await record_harness.execute(run) == {"total": 4, "done": 4, "failed": 2}
    errors, _ = await record_harness.tasks.errors(run.id)
    assert [(each.record_id, each.code, each.message) for each in errors] == [
        (
            "2",
            "invalid_cell",
            "the row 2: age is 'abc'; it takes a number such as 12.5, without separators of thousands",
        ),
        ("3", "invalid_cell", "the row 3: seen is 1700000000; it takes a time such as 2026-12-01T02:00:00Z"),
    ]
    await record_harness.tasks.patch(
        "T", wire.PatchRecordTask(actions=msgspec.convert([update(seen=None, name={"field": "name"})], wire.Actions))
    )
    await record_harness.make(
        update(name="Z"), name="Blank", on="people", filter={"field": "age", "operator": "is blank"}
    )
    chosen = await record_harness.run("Blank", {"records": ["2", "1", "99"]})
    assert (chosen["done"], chosen["failed"]) == (0, 0), "a cell that is none of its field is no blank"
    assert await record_harness.run("T") == {"total": 4, "done": 4, "failed": 0}, (
        "a task that reads no such cell can mend it"
    )
    with sqlite3.connect(where) as database:
        found = database.execute("SELECT name, age, seen FROM people ORDER BY id").fetchall()
    database.close()
    assert found == [("A", 1, None), ("b", "abc", None), ("c", 3, None), ("D", 4, None)]
    harness.service.part(ExternalDatabases).close()


@pytest.mark.parametrize(
    ("what", "said"),
    [("gone", "the database says: "), ("garbage", "the database says: "), ("locked", "the database says: "),
     ("without its table", "has no table 'people' any more"), ("without its column", "has no column 'status' any more")],
)  # fmt: skip
async def test_a_run_over_a_database_that_has_gone_bad_fails_in_words_and_stalls_nobody(
    record_harness, tmp_path, what, said
):
    harness = record_harness.harness
    where = tmp_path / "people.db"
    with sqlite3.connect(where) as database:
        database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, status TEXT)")
        database.executemany("INSERT INTO people (name) VALUES (?)", [(f"p{n}",) for n in range(600)])
    allow(harness, EgressPolicy(), external_folders=(str(tmp_path),), external_timeout_ms=1000)
    far = table_wire.ExternalSpec(url=f"sqlite:///{where}", relation="people")
    await harness.tables.create(table_wire.CreateTable(name="far", external=far))
    await people(harness, 5)
    await record_harness.make(update(status="seen"), name="Far", on="far")
    await record_harness.make(update(Status="old"), name="Near")
    match what:
        case "gone":
            where.rename(tmp_path / "elsewhere.db")
        case "garbage":
            where.write_bytes(b"\xff" * 100_000)
        case "locked":
            database.isolation_level = None
            database.execute("BEGIN EXCLUSIVE")
        case "without its table":
            database.execute("ALTER TABLE people RENAME TO persons")
        case "without its column":
            database.execute("ALTER TABLE people DROP COLUMN status")
    run = await record_harness.begin("Far")
    failing = asyncio.create_task(record_harness.execute(run))
    await asyncio.sleep(0)
    assert await record_harness.run("Near") == {"total": 5, "done": 5, "failed": 0}
    with pytest.raises((ExternalFailed, ExternalRefused), match=said):
        await failing
    database.close()
    harness.service.part(ExternalDatabases).close()


async def test_a_definition_that_is_no_json_any_more_is_found(record_harness):
    harness = record_harness.harness
    await people(harness)
    await record_harness.make(update(Status="old"))
    ((definition,),) = harness.sql("SELECT definition FROM record_tasks")
    harness.sql("UPDATE record_tasks SET definition = ?", definition[1:])
    found = [finding.message for finding in harness.wrong()]
    harness.sql("UPDATE record_tasks SET definition = ?", definition)
    assert found == ["it is damaged: definition of its row in record_tasks cannot be read"]

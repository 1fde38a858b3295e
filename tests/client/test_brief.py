"""Answers in brief: a client reads them as the nouns that they are of, with blanks for what the key may not read."""

import json

import pytest
from tests.client.server import Answer, serving

from headway.client.brief import whole
from headway.client.sync.client import Client
from headway.errors import Forbidden
from headway.protocol.runs import BatchOut, RunOut
from headway.protocol.tables import RecordOut, RecordsOut
from headway.web.brief import FORMS

BRIEF = {"brief": True, "id": "r1", "state": "succeeded", "final": True, "version": 3, "active": True, "paused": False,
         "url": "/v1/runs/r1", "name": "backup", "updated_at": "2026-11-22T01:00:00.000Z"}  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in FORMS if kind not in (BatchOut, RecordsOut)])
def test_each_noun_that_is_answered_in_brief_is_read_with_blanks(kind):
    said = {name: {**BRIEF, "state": "active"}[name] for name in FORMS[kind].brief.__struct_fields__ if name in BRIEF}
    read = whole(json.dumps(said).encode(), kind)
    assert isinstance(read, kind)
    assert read.brief is True
    assert {name: getattr(read, name) for name in said} == said


def test_a_batch_in_brief_is_read_item_by_item():
    error = {"code": "unknown_task", "status": 422}
    said = {"data": [{"status": 202, "run": BRIEF}, {"status": 422, "error": error}]}
    read = whole(json.dumps(said).encode(), BatchOut)
    assert [item.status for item in read.data] == [202, 422]
    assert (read.data[0].run.id, read.data[0].run.brief, read.data[1].error) == ("r1", True, error)
    records = whole(json.dumps({"data": [BRIEF], "created": 1, "updated": 0}).encode(), RecordsOut)
    assert [(record.id, record.version, record.values) for record in records.data] == [("r1", 3, {})]


@pytest.mark.parametrize("said", [{}, {"id": "r1"}, {"brief": False, "id": "r1"}, [], None, {"brief": "yes"}])
def test_what_does_not_say_that_it_is_in_brief_is_not_filled_up(said):
    assert whole(json.dumps(said).encode(), RecordOut) is None


def test_who_may_only_start_runs_gets_a_handle_and_no_result():
    said = {name: BRIEF[name] for name in FORMS[RunOut].brief.__struct_fields__ if name in BRIEF}
    with serving(lambda _: Answer(202, said)) as fake, Client(fake.url) as client:
        run = client.runs.start("backup")
        assert (run.id, run.state, run.final, run.run.brief, run.labels, run.error) == (
            "r1", "succeeded", True, True, {}, None,
        )  # fmt: skip
        assert isinstance(run.run, RunOut)
        with pytest.raises(Forbidden, match="run:read"):
            run.result()

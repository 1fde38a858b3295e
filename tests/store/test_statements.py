"""Statements: parsed, used, and carried out over the indexes that were made for them."""

import re
from pathlib import Path

import pytest
from tests.store.plans import ACCESS_PATHS, FILTERS, PLANS, SORTS

from headway.clock import ManualClock
from headway.features.schedules.model import PastSlot
from headway.kernel.event import Event, Result, Step, Tombstone
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import Run, State
from headway.kernel.task import Task
from headway.kernel.worker import Queue, Worker
from headway.runs.starting import new_run
from headway.store import lists
from headway.store.lists import BY_END, AccessPath
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.open import open_memory
from headway.store.statements import load
from headway.store.unit_of_work import _COLUMNS, UnitOfWork, make_run

STATEMENTS = load(SQLITE)
SOURCE = Path(__file__).resolve().parents[2] / "src/headway"


@pytest.fixture(scope="module")
def connection():
    return open_memory(ManualClock()).read.near.connection


def plan(connection, sql, binds=None):
    """Return the lines of the plan."""
    binds = dict.fromkeys(re.findall(r":(\w+)", sql)) if binds is None else binds
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, binds)]


@pytest.mark.parametrize(
    ("noun", "table"),
    [(Run, "runs"), (Event, "events"), (Result, "results"), (Step, "steps"), (Tombstone, "tombstones"),
     (Worker, "workers"), (Queue, "queues"), (PastSlot, "slots")],
)  # fmt: skip
def test_the_fields_of_a_noun_are_the_columns_of_its_table_in_order(connection, noun, table):
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    assert columns == list(noun.__struct_fields__)


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_can_be_carried_out(connection, name):
    assert plan(connection, STATEMENTS[name]) is not None


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_is_used(name):
    written = re.compile(rf'"{name}"')
    by_prefix = name.startswith(("delete_run", "uses_secret_")) or name == "recount"
    assert by_prefix or any(written.search(file.read_text()) for file in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("shape", _COLUMNS)
def test_a_statement_that_carries_runs_takes_exactly_the_columns_of_its_shape(shape):
    text = STATEMENTS[shape]
    columns = [*_COLUMNS[shape], *(["was"] if shape.startswith("save") else [])]
    assert re.findall(r" AS (\w+)", text.partition("(SELECT")[2].partition("jsonb_each")[0]) == columns
    assert set(re.findall(r"\br\.(\w+)", text)) == set(columns)
    assigned = re.findall(r"(\w+) = r\.(\w+)", text)
    assert all(left == right for left, right in assigned if left != "updated_at" and right != "was")


def test_a_full_save_leaves_nothing_out_that_may_ever_change():
    for_good = {
        "task",
        "task_version",
        "parent_id",
        "root_id",
        "previous_id",
        "schedule_id",
        "created_at",
        "run_type",
        "organisation",
    }
    assert for_good == set(Run.__struct_fields__) - set(_COLUMNS["save_runs"])


def test_a_newborn_is_stored_as_it_was_made():
    store = open_memory(ManualClock())
    run = new_run("01890000-0000-7000-8000-00000000abcd", Task(name="t"), 1, name="t", input="[1]", key="k", labels='{"a":"b"}',
                  keep_ms=5, protected=True, parent_id="p", previous_id="q")  # fmt: skip
    uow = UnitOfWork(store.read.near, store.definitions, {}, 1)
    uow.insert(run, {"a": "b"})
    uow.flush()
    assert run == make_run(store.read.near.rows("read_run", id=run.id)[0])


@pytest.mark.parametrize("name", PLANS)
def test_a_hot_statement_goes_by_its_index(connection, name):
    lines = plan(connection, STATEMENTS[name])
    assert any(PLANS[name] in line for line in lines), lines
    assert not [line for line in lines if re.match(r"SCAN (runs|ready|events|steps)\b(?!.*INDEX)", line)], lines
    assert name in SORTS or not [line for line in lines if "TEMP B-TREE" in line], lines


def test_what_the_loops_ask_at_each_tick_is_four_probes(connection):
    lines = plan(connection, STATEMENTS["next_due"])
    for index in ("runs_due", "runs_deadline", "runs_parked_until", "runs_expiry"):
        assert any(index in line for line in lines), lines


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("name", FILTERS)
def test_a_page_goes_by_the_index_of_its_filter_and_sorts_nothing(connection, name, newest_first):
    fields, index = FILTERS[name]
    wanted = RunFilter(**fields)
    sql, binds = lists.page(SQLITE, wanted, Page(50, "0189", newest_first), 51, lists.access_paths(wanted)[0])
    lines = plan(connection, sql, binds)
    assert any(index in line for line in lines), lines
    sorts = name.startswith("several") or name == "a root"  # the few that were found, or a family
    assert sorts or not [line for line in lines if "TEMP B-TREE" in line], lines


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(("fields", "access_path", "index"), ACCESS_PATHS)
def test_a_page_goes_by_the_index_that_it_is_told(connection, fields, access_path, index, newest_first):
    for edge in ("", "0188"):
        sql, binds = lists.page(SQLITE, RunFilter(**fields), Page(50, "0189", newest_first), 51, access_path, edge)
        lines = plan(connection, sql, binds)
        assert any(index in line for line in lines), lines
        assert access_path == BY_END or not [line for line in lines if "TEMP B-TREE" in line], lines


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("state", [(), (State.FAILED,), (State.FAILED, State.SUCCEEDED, State.QUEUED)])
def test_a_list_by_the_end_is_merged_from_its_index_and_not_sorted(connection, state, newest_first):
    wanted = RunFilter(finished_after=1, finished_before=9, state=state)
    for after, edge in ((None, ""), ("5 0189", ""), ("5 0189", "3 0188")):
        sql, binds = lists.page(SQLITE, wanted, Page(50, after, newest_first, by_end=True), 51, BY_END, edge)
        lines = plan(connection, sql, binds)
        assert not [line for line in lines if "TEMP B-TREE" in line or "SCAN" in line], lines
        bounds = [line for line in lines if "runs_by_end (organisation=? AND state=? AND " in line]
        assert len(bounds) == (len(lists._ended(wanted)))
        assert all("finished_at,id)>(?,?)" in line or "finished_at,id)<(?,?)" in line for line in bounds if after), (
            bounds
        )


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("by_end", [True, False])
def test_how_far_a_window_reaches_is_read_off_one_index(connection, newest_first, by_end):
    wanted = RunFilter(
        state=(State.FAILED,), task=("t", "u"), queue=("q",), labels={"a": "b"}, parent_id="p", root_id="r", key="k",
        created_after=1, finished_after=1,
    )  # fmt: skip
    at = Page(50, "5 0189", newest_first, by_end)
    for access_path in [BY_END] if by_end else [*lists.access_paths(wanted), lists.BY_ID, BY_END]:
        for sql, binds in lists.edges(SQLITE, wanted, at, access_path, 100):
            lines = plan(connection, sql, binds)
            assert "COVERING INDEX" in lines[0] or access_path.field == "root_id", lines
            assert (1, "SEARCH") == (len(lines), lines[0][:6])


@pytest.mark.parametrize(
    "fields", [{"state": tuple(State)}, {"task": ("t", "u")}, {"root_id": "r"}, {"finished_after": 1}]
)
def test_whole_runs_are_not_sorted(connection, fields):
    """What is sorted is in memory: ids, and not what runs have returned."""
    wanted = RunFilter(**fields)
    access_path = BY_END if "finished_after" in fields else lists.access_paths(wanted)[0]
    sql, binds = lists.page(SQLITE, wanted, Page(), 51, access_path)
    lines = plan(connection, sql, binds)
    assert "SEARCH runs USING INDEX sqlite_autoindex_runs_1 (id=?)" == lines[0]
    last = max((n for n, line in enumerate(lines) if "TEMP B-TREE" in line), default=0)
    assert last == 0 or "COVERING INDEX" in lines[last - 1]


def test_a_label_is_found_by_its_name_and_value(connection):
    sql, binds = lists.page(SQLITE, RunFilter(labels={"a": "b"}), Page(), 51, AccessPath("label", "a"))
    assert any("run_labels" in line and "name=? AND value=?" in line for line in plan(connection, sql, binds))

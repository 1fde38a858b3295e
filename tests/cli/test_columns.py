"""Tables on a screen: what gives way first when there are too few cells, and what is never cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from tests.cli.answers import TIME, example
from tests.cli.terminal import on_a_terminal, plain
from tests.client import samples
from tests.client.samples import ID
from tests.client.server import Answer, serving

from headway.cli.columns import Column, blocks, cut, lay_out, wrapped
from headway.protocol.access import KeyOut, OrganisationOut, UserOut
from headway.protocol.schedules import ScheduleOut
from headway.protocol.tables import TableOut
from headway.protocol.workers import PeerOut, QueueOut, TaskOut, WorkerOut

RUNS = [Column("ID", "id"), Column("STATE"), Column("TASK", "name"), Column("PROGRESS", "text"), Column("AGE")]
OTHER = "0199a000-0000-7001-9000-000000000002"
LONG = "a-task-with-a-name-that-people-give-when-they-have-many"


def row(run_id=ID, state="terminated", task="backup", progress="12/100 12 % 日本語のファイル.txt", age="47 h 59 m"):
    return [run_id, state, task, progress, age]


def joined(lines):
    return ["  ".join(line).rstrip() for line in lines]


@pytest.mark.parametrize("width", [80, 81, 100, 120, 200])
def test_state_task_and_age_are_whole_and_progress_is_cut_first(width):
    shown = joined(lay_out(RUNS, [row()], width))
    assert all(cell_len(line) <= width for line in shown)
    assert all(part in shown[1] for part in (ID, "terminated", "backup", "47 h 59 m"))
    assert ("…" in shown[1]) == (width < 104)


def test_ids_become_the_prefix_that_tells_them_apart_before_a_name_is_folded():
    shown = joined(lay_out(RUNS, [row(), row(OTHER, task="x" * 26)], 80))
    assert [line.split()[0] for line in shown] == ["ID", ID[:18], OTHER[:18]]
    assert "x" * 26 in shown[2]


def test_a_name_that_is_too_long_is_folded_and_never_cut():
    shown = lay_out(RUNS, [row(task=LONG)], 80)
    assert all(cell_len(line) <= 80 for line in joined(shown))
    assert "".join(line[2].strip() for line in shown[1:]) == LONG


def test_what_does_not_fit_at_all_is_a_block_of_lines_with_whole_ids():
    assert lay_out(RUNS, [row()], 30) is None
    [block] = blocks(RUNS, [row()], 40)
    assert ("ID      ", ID) in block
    assert [name.strip() for name, _ in block if name.strip()] == [column.name for column in RUNS]


graphemes = st.sampled_from(["a", "b", " ", "-", "é", "e\u0301", "日", "😀", "👩\u200d👩\u200d👧"])
cells = st.lists(graphemes, max_size=30).map("".join)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=4), st.integers(1, 90))
def test_no_line_is_wider_than_the_screen_and_columns_stand_below_each_other(rows, width):
    columns = [Column("A", "name"), Column("B", "text"), Column("C")]
    lines = lay_out(columns, rows, width)
    if lines is None:
        return
    assert all(sum(map(cell_len, line)) + 2 * (len(line) - 1) <= width for line in lines)
    assert len({tuple(map(cell_len, line)) for line in lines}) == 1
    assert all(any(line[-1].strip() == row[2].strip() for line in lines) for row in rows)


@given(st.lists(st.text("ab日😀", min_size=1, max_size=12), max_size=8), st.integers(2, 20))
def test_wrapping_loses_nothing(words, width):
    lines = wrapped(" ".join(words), width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(words)


def test_a_cut_text_has_its_mark_within_its_cells():
    assert [cut("日本語", 5), cut("日本語", 4), cut("abcdef", 4, "..."), cut("abc", 3)] == [
        "日本…",
        "日…",
        "a...",
        "abc",
    ]


def page(*runs):
    return Answer(200, {"data": list(runs), "next_page_token": "", "has_more": False})


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_list_of_runs_on_a_terminal_fits_and_says_state_task_and_age(columns, encoding):
    progress = {"done": 1, "total": 2, "percent": 50.0, "message": "日本語" * 9, "rate": None, "eta": None}
    runs = [samples.run("succeeded", task="backup", progress=progress), samples.run("failed", OTHER, task=LONG)]
    with serving(lambda _: page(*runs)) as fake:
        _, shown = on_a_terminal(columns, "runs", "list", "--url", fake.url, whole=True, PYTHONIOENCODING=encoding)
    lines = plain(shown).splitlines()
    assert all(cell_len(line) <= columns for line in lines if ID not in line and OTHER not in line)
    assert {"succeeded", "failed", "backup"} <= set(plain(shown).split())
    assert encoding == "utf-8" or shown.isascii()


NOUNS = {
    "tasks": example(TaskOut, name=LONG, queue=LONG, description="日本語 " * 30, counts={"queued": 123456}),
    "queues": example(QueueOut, name=LONG * 2, oldest_queued_at=TIME),
    "workers": example(
        WorkerOut, id=ID, name=LONG, host="host.in.a.domain", state="draining", queues=[LONG], heard_at=TIME
    ),
    "keys": example(
        KeyOut, id="f" * 24, name=LONG, scopes=["run:read", "record:read"] * 9, queues=[LONG], expires_at=TIME
    ),
    "users": example(UserOut, id=ID, name="山田太郎" * 5, email=f"{LONG}@example.com"),
    "organisations": example(
        OrganisationOut, id=ID, name=LONG, zone="America/Argentina/Buenos_Aires", per_day=100_000_000
    ),
    "servers": example(PeerOut, id=ID, host="a-host.in.a.domain.example", created_at=TIME, heard_at=TIME),
    "schedules": example(ScheduleOut, name=LONG, task=LONG, occurrence="FREQ=MONTHLY;BYDAY=-1FR", next_slot_at=TIME),
    "tables": example(TableOut, id=ID, name=LONG, description="日本語 " * 30),
}


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("columns", [80, 120])
def test_every_list_fits_on_a_terminal(columns, noun):
    with serving(lambda _: Answer(200, {"data": [NOUNS[noun]], "next_page_token": "", "has_more": False})) as fake:
        _, shown = on_a_terminal(
            columns, noun, "list", "--url", fake.url, *(["--all"] if noun == "keys" else []), whole=True
        )
    lines = plain(shown).splitlines()
    assert len(lines) > 1, shown
    assert all(cell_len(line) <= columns for line in lines), shown
    assert "Error" not in shown

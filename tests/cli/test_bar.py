"""The progress bar on a terminal, which here is a pseudo-terminal."""

import json
import re

import pytest
from tests.cli.terminal import on_a_terminal, plain
from tests.client import samples
from tests.client.samples import END, ID, line, progress, snapshot
from tests.client.server import Answer, script, serving, stream

LIFE = [
    snapshot(0, "queued"),
    line(1, state="running"),
    progress(1, 4),
    line(2, "run.log", level="warning", message="skipped [b] one"),
    progress(4, 4),
    line(3, state="succeeded"),
    END,
]
DONE = Answer(200, samples.run("succeeded", output=[1], started_at="2026-11-22T01:00:00.000Z"))


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_bar_fills_and_logs_stand_above_it(columns):
    with serving(script(Answer(202, samples.run()), stream(*LIFE), DONE)) as fake:
        out, shown = on_a_terminal(columns, "run", "backup", "--url", fake.url)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert json.loads(out) == [1]
    assert "skipped [b] one" in plain
    assert "100%" in plain
    bars = [row for row in re.split(r"[\r\n]+", plain) if "━" in row]
    assert max(map(len, bars)) <= columns
    assert "\x1b[32m" in shown


def test_no_colour_is_respected():
    with serving(script(Answer(202, samples.run()), stream(*LIFE), DONE)) as fake:
        _, shown = on_a_terminal(100, "run", "backup", "--url", fake.url, NO_COLOR="1")
    assert not re.search(r"\x1b\[(3[0-7]|9[0-7]|38)", shown)


def change(seq, state, **data):
    return line(seq, state=state, **data)


RETRIED = [
    snapshot(0, "queued"),
    change(1, "running", cause="claimed", attempt=1),
    change(
        2, "scheduled", cause="errored", run_at=4_000_000_000_000, error={"type": "OSError", "message": "disk full"}
    ),
    change(3, "queued", cause="fell_due"),
    change(4, "running", cause="claimed", attempt=2),
    change(5, "queued", cause="crashed", error={"code": "worker_lost", "message": "the worker is gone"}),
    change(6, "running", cause="claimed", attempt=3),
    change(7, "suspended", cause="suspended", blocked_on=[{"kind": "signal", "name": "approval"}]),
    change(8, "succeeded", cause="succeeded"),
    END,
]


@pytest.mark.parametrize("columns", [80, 120])
def test_failed_attempts_and_what_a_run_waits_for_are_shown_while_it_goes_on(columns):
    with serving(script(Answer(202, samples.run()), stream(*RETRIED), DONE)) as fake:
        _, shown = on_a_terminal(columns, "run", "backup", "--url", fake.url)
    words = " ".join(plain(shown).split())
    assert "scheduled: attempt 1 of 3 failed: OSError: disk full; the next in " in words
    assert "queued: attempt 2 of 3 was lost: worker_lost: the worker is gone; the next at once" in words
    assert f"suspended: waits for signal approval; send it: headway runs signal {ID} approval" in words


@pytest.mark.parametrize("last", [[], [progress(0, 4)], [progress(3, 4)]])
def test_a_run_that_succeeded_shows_no_percents_that_are_less(last):
    life = [snapshot(0, "queued"), line(1, state="running"), *last, line(3, state="succeeded"), *last, END]
    with serving(script(Answer(202, samples.run()), stream(*life), DONE)) as fake:
        _, shown = on_a_terminal(80, "run", "backup", "--url", fake.url)
    final = [row for row in re.split(r"[\r\n]+", plain(shown)) if "succeeded" in row and "━" in row]
    assert final
    assert not any("%" in row or "╺" in row for row in final)


def test_percents_are_100_only_when_all_is_done(headway):
    life = [snapshot(0, "queued"), line(1, state="running"), progress(199, 200), line(3, state="failed"), END]
    failed = Answer(200, samples.run("failed"))
    with serving(script(Answer(202, samples.run()), stream(*life), failed)) as fake:
        _, shown = on_a_terminal(80, "run", "backup", "--url", fake.url)
    assert "99%" in plain(shown)
    assert "100%" not in plain(shown)
    with serving(script(Answer(202, samples.run()), stream(*life), failed)) as fake:
        code, _, err = headway("run", "backup", "--url", fake.url)
    assert code == 1
    assert "progress: 199/200 (99 %)" in err


@pytest.mark.parametrize("columns", [80, 120])
def test_the_time_that_is_left_is_shown(columns):
    life = [
        snapshot(0, "queued"),
        line(1, state="running"),
        progress(1, 4, eta="2099-01-01T00:00:00.000Z"),
        line(2, state="suspended"),
        line(3, state="failed"),
        END,
    ]
    with serving(script(Answer(202, samples.run()), stream(*life), Answer(200, samples.run("failed")))) as fake:
        _, shown = on_a_terminal(columns, "run", "backup", "--url", fake.url)
    assert re.search(r"\d+ d \d+ h left", plain(shown))


def test_the_bar_is_ascii_on_a_terminal_of_ascii():
    life = [
        snapshot(0),
        line(1, state="running"),
        line(2, "run.log", message="日本語"),
        line(3, state="succeeded"),
        END,
    ]
    with serving(script(Answer(202, samples.run()), stream(*life), DONE)) as fake:
        _, shown = on_a_terminal(80, "run", "backup", "--url", fake.url, PYTHONIOENCODING="ascii")
    assert shown.isascii()
    assert "\\u65e5\\u672c\\u8a9e" in shown

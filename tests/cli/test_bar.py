"""The progress bar on a terminal, which here is a pseudo-terminal."""

import json
import re

import pytest
from tests.cli.terminal import on_a_terminal
from tests.client import samples
from tests.client.samples import END, line, progress, snapshot
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

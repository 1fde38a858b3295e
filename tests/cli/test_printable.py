"""What a run says cannot move the cursor, colour the screen or pass for a line of ours."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.terminal import on_a_terminal
from tests.client import samples
from tests.client.samples import END, ID, line, progress, snapshot, sse
from tests.client.server import Answer, problem, script, serving, stream

from headway.cli.printable import indented, one_line, printable

EVIL = "\x1b[31mred\x1b]0;x\x07\x9b2J\x7f\u202etxt\u2028end\r"
TAMED = "\\u001b[31mred\\u001b]0;x\\u0007\\u009b2J\\u007f\\u202etxt\\u2028end\\u000d"
RAW = [character for character in EVIL if not character.isprintable()]
RUN = {"name": EVIL, "task": EVIL, "labels": {EVIL: EVIL}, "input": {"a": EVIL}, "key": EVIL, "worker_id": EVIL,
       "progress": {"done": 1, "total": 2, "percent": 50.0, "message": EVIL, "rate": None, "eta": None}}  # fmt: skip
FAILURE = {"code": EVIL, "type": EVIL, "message": EVIL, "details": EVIL}
ENDS = [
    samples.run("succeeded", output=[EVIL], **RUN),
    samples.run("failed", error=FAILURE, **RUN),
    samples.run("terminated", reason={"code": EVIL, "message": EVIL, "actor": EVIL}, **RUN),
]


def page(*data):
    return Answer(200, {"data": list(data), "next_page_token": "", "next_after": 0, "has_more": False})


LOG = {"seq": 1, "time": EVIL, "level": EVIL, "message": EVIL, "attempt": 1, "fields": {}}
EVENT = {"seq": 1, "type": EVIL, "time": EVIL, "run_id": ID, "data": {EVIL: EVIL}}
WAITING = {"run_id": EVIL, "state": EVIL, "causes": [{"code": EVIL, "message": EVIL, "until": EVIL}]}
COMMANDS = [
    *((("runs", "show", ID), (Answer(200, end),)) for end in ENDS),
    (("runs", "list"), (page(*ENDS),)),
    (("runs", "logs", ID), (Answer(200, ENDS[0]), page(LOG))),
    (("runs", "events", ID), (Answer(200, ENDS[0]), page(EVENT))),
    (("runs", "why", ID), (Answer(200, ENDS[0]), Answer(200, WAITING))),
    (("runs", "results", ID), (Answer(200, ENDS[0]), page({"number": 1, "name": EVIL, "value": EVIL, "created_at": ""}))),
    (("runs", "count"), (Answer(200, {"counts": {EVIL: 1}, "total": 1}),)),
    (("runs", "retry", ID), (Answer(200, ENDS[1]), Answer(202, samples.run(run_id=EVIL)))),
    (("runs", "stop", ID), (problem(409, "invalid_state", EVIL, errors=[{"pointer": EVIL, "message": EVIL}]),)),
    (("run", "t", "-d"), (Answer(202, samples.run(run_id=EVIL)),)),
    *(
        (
            ("run", "t"),
            (
                Answer(202, samples.run(**RUN)),
                stream(
                    snapshot(0),
                    line(1, state=EVIL),
                    sse("run.progress", {"type": "run.progress", "run_id": ID, "time": "", "seq": 1, "data": RUN["progress"]}),
                    progress(1, 2),
                    line(2, "run.log", level=EVIL, message=EVIL),
                    END,
                ),
                Answer(200, end),
            ),
        )
        for end in ENDS
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "answers"), COMMANDS, ids=[" ".join(words[:2]) for words, _ in COMMANDS])
def test_nothing_from_the_server_reaches_a_pipe_as_it_is(headway, arguments, answers):
    with serving(script(*answers)) as fake:
        _, out, err = headway(*arguments, "--url", fake.url)
    assert [character for character in RAW if character in out + err] == []
    assert "\\u001b[31mred" in out + err


@pytest.mark.parametrize("columns", [60, 140])
def test_nothing_from_a_run_reaches_a_terminal_as_it_is(columns):
    life = next(answers for arguments, answers in COMMANDS if arguments == ("run", "t"))
    with serving(script(*life)) as fake:
        out, shown = on_a_terminal(columns, "run", "t", "--url", fake.url)
    assert json.loads(out) == [EVIL], "a result in JSON means the same"
    assert not any(character in out for character in RAW)
    assert "\x1b[31mred" not in shown
    assert not any(character in shown for character in RAW if character not in "\x1b\r")  # these are the bar's own


def test_json_means_the_same_and_is_harmless(headway):
    with serving(lambda _: Answer(200, ENDS[0])) as fake:
        _, out, _ = headway("runs", "show", ID, "--json", "--url", fake.url)
    assert (json.loads(out)["name"], json.loads(out)["output"]) == (EVIL, [EVIL])
    assert not any(character in out for character in RAW)


@given(st.text())
def test_only_tabs_and_line_feeds_are_left_of_the_controls(text):
    left = {character for character in printable(text) if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}}
    assert left <= {"\t", "\n"}
    assert json.loads(f'"{one_line(json.dumps(text, ensure_ascii=False)[1:-1])}"') == text


@pytest.mark.parametrize("text", ["grüße", "日本語", "👩‍👩‍👧", "a\tb\nc", "\\u001b", ""])
def test_text_stays_as_it_is(text):
    assert printable(text) == text


def test_each_of_them_is_written_out():
    assert printable(EVIL) == TAMED


def test_a_line_of_a_message_does_not_pass_for_another_message():
    assert indented("a\nerror: b") == "a\n    error: b"

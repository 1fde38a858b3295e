"""Lines of the log: what comes from outside neither ends one nor moves what a terminal shows."""

import json
import logging
import unicodedata

import pytest

from headway.logs import JsonLine, OneLine, line_of_worker

CONTROLS = [chr(code) for code in range(0x2100) if unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp")]
TURNING = ["\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]


def test_whatever_is_logged_is_one_line_of_visible_signs_in_their_order():
    text = "".join((*CONTROLS, *TURNING, "end é"))
    line = OneLine().format(logging.LogRecord("headway", logging.INFO, "", 0, "said=%s", (text,), None))
    assert line.isprintable()
    assert line.endswith("end é")


def test_a_traceback_is_indented_and_escaped_too():
    with pytest.raises(ValueError, match="forged") as failed:
        raise ValueError("\x9b2J\n2026-01-01 forged \u202e")
    told = (failed.type, failed.value, failed.tb)
    record = logging.LogRecord("headway", logging.ERROR, "", 0, "broken", (), told)
    first, *others = OneLine().format(record).split("\n")
    assert first.endswith("broken")
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_a_record_in_json_is_one_line_of_ascii_whatever_is_in_it():
    text = "".join((*CONTROLS, *TURNING, "\udcff", "é", "hw_abcd1234_" + "s" * 40))
    line = JsonLine().format(logging.LogRecord("headway", logging.WARNING, "", 0, "said=%s", (text,), None))
    assert (line.isascii(), "\n" in line) == (True, False)
    record = json.loads(line)
    assert list(record) == ["time", "level", "logger", "message"]
    assert (record["level"], record["logger"]) == ("warning", "headway")
    assert record["message"].endswith("éhw_abcd1234_…")


def test_a_line_of_a_worker_is_a_record_whatever_it_looks_like():
    ours = JsonLine().format(logging.LogRecord("headway.worker", logging.INFO, "", 0, "connected", None, None)).encode()
    assert json.loads(line_of_worker(3, ours)) | {"time": ""} == {
        "time": "", "level": "info", "logger": "headway.worker", "message": "connected", "worker": 3,
    }  # fmt: skip
    for line in (
        b"plain",
        b"\xff",
        b'{"time": 1}',
        b'{"time": "x", "level": "y"',
        b"[]",
        b"",
        b'{"time": [1], "level": "l"}',
        b'{"time": ' + b"[" * 8_000,
    ):
        record = json.loads(line_of_worker(1, line))
        assert (record["logger"], record["message"]) == ("headway.worker.output", line.decode(errors="replace"))

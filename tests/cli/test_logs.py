"""Lines of the log: what comes from outside neither ends one nor moves what a terminal shows."""

import logging
import unicodedata

import pytest

from headway.logs import OneLine

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

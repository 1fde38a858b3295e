"""Server-sent events are read as the WHATWG standard has it, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.client import sse
from headway.client.sse import SseEvent, SseParser

LINES = st.one_of(
    st.sampled_from(["data: x", "data:x", "data", "data:", "data:  x", ": comment", "", "", "id: 7", "id", "id: a\0b"]),
    st.sampled_from(
        ["retry: 100", "retry: -1", "retry: 1x", "retry:\u0661", "event: run.state", "event", "unknown: 1"]
    ),
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8),
)


def read(text: bytes) -> list[SseEvent]:
    return SseParser().feed(text)


def reference(text: str) -> list[tuple[str, str, str]]:
    """The standard's algorithm, line by line, as slow as it likes: (type, data, last event id)."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found, data, kind, last_id = [], "", "", ""
    for line in text.split("\n")[:-1]:
        if line == "":
            if data:
                found.append((kind or "message", data.removesuffix("\n"), last_id))
            data, kind = "", ""
            continue
        if line.startswith(":"):
            continue
        field, colon, value = line.partition(":")
        value = value[1:] if colon and value.startswith(" ") else value
        if field == "data":
            data += value + "\n"
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return found


@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"]))), st.booleans(), st.data())
def test_any_stream_cut_anywhere_reads_as_the_standard_says(lines, bom, data):
    text = ("\ufeff" if bom else "") + "".join(line + end for line, end in lines)
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    parser, found = SseParser(), []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += [(event.event, event.data) for event in parser.feed(raw[start:end])]
    assert found == [(kind, payload) for kind, payload, _ in reference(text)]


@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"]))))
def test_byte_by_byte_is_the_same_as_at_once(lines):
    raw = "".join(line + end for line, end in lines).encode()
    whole, slow = SseParser(), SseParser()
    expected = whole.feed(raw)
    assert [event for at in range(len(raw)) for event in slow.feed(raw[at : at + 1])] == expected
    assert (slow.last_event_id, slow.retry_ms) == (whole.last_event_id, whole.retry_ms)


@given(st.binary(max_size=200))
def test_no_bytes_upset_the_parser(raw):
    SseParser().feed(raw)


def test_an_event_ends_at_the_first_half_of_a_crlf():
    parser = SseParser()
    assert parser.feed(b"data: x\r\n\r") == [SseEvent("message", "x", None, None)]
    assert parser.feed(b"\ndata: y\n\n") == [SseEvent("message", "y", None, None)]


def test_lines_of_data_are_joined_and_one_space_is_dropped():
    assert read(b"data:  a\ndata\ndata:b\n\n") == [SseEvent("message", " a\n\nb", None, None)]


def test_an_unfinished_event_is_not_an_event():
    assert read(b"data: x\n\ndata: lost\n") == [SseEvent("message", "x", None, None)]


def test_an_id_without_data_counts_for_the_resume():
    parser = SseParser("5")
    assert parser.feed(b"id: 9\n\n") == []
    assert parser.last_event_id == "9"


def test_the_id_of_an_unfinished_event_does_not_count():
    parser = SseParser("5")
    parser.feed(b"id: 9\ndata: x\n")
    assert parser.last_event_id == "5"


def test_an_id_with_nul_is_ignored_and_an_empty_one_resets():
    parser = SseParser("5")
    parser.feed(b"id: 6\0\ndata: x\n\n")
    assert parser.last_event_id == "5"
    assert parser.feed(b"id\ndata: x\n\n") == [SseEvent("message", "x", "", None)]
    assert parser.last_event_id == ""


@pytest.mark.parametrize(("value", "expected"), [(b"2000", 2000), (b"2.5", None), (b"-1", None), (b"", None)])
def test_retry_is_digits_only(value, expected):
    parser = SseParser()
    parser.feed(b"retry: " + value + b"\n\n")
    assert parser.retry_ms == expected


def test_a_bom_is_skipped_only_at_the_start():
    bom = b"\xef\xbb\xbf"
    assert [event.data for event in read(bom + b"data: x\n\n" + bom + b"data: y\n\n")] == ["x"]


def test_other_line_separators_are_part_of_the_data():
    assert read("data: a\u2028b\x0bc\x85d\n\n".encode())[0].data == "a\u2028b\x0bc\x85d"


def test_an_event_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 100)
    parser = SseParser()
    parser.feed(b"data: 0123456789\n" * 6)
    with pytest.raises(sse.EventTooLarge, match="more than"):
        parser.feed(b"data: 0123456789")

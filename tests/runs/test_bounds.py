"""What users give, made to cost as much as it can: read or refused in a time that grows no faster than it does."""

import time

import msgspec
import pytest

from headway.compat.tadabase import fields
from headway.durations import parse_ms
from headway.errors import BadParameter, HeadwayError, PayloadTooLarge
from headway.features.record_tasks import rules as record_tasks
from headway.features.tables import import_columns
from headway.features.tables.model import Table
from headway.features.tables.rules import conditions, formats
from headway.protocol.tables import ImportFile
from headway.runs.inputs import canonical
from headway.web import body

WITHIN_S = 5.0
"""Processor time; without the bound each of these takes longer, most by far."""

TABLE = Table(id="t", number=1, organisation=1, name="t", created_at=0, updated_at=0)


def read(data):
    return canonical(data, bytes_max=8 << 20, depth_max=100, pointer="/input")[0]


def twice():
    return read(b"{" + b",".join(b'"a%d":1' % i for i in range(50_000)) + b',"z":1,"z":2}')


def parts(raw):
    return list(fields._parts(raw, "multipart/form-data; boundary=x"))


PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'

FAR = b"[" + b",".join([b"1e308"] * 1_000_000) + b"]"

COSTLY = {
    "a name that is there twice, after many": twice,
    "millions of lists": lambda: read(b"[" + b"[]," * 2_700_000 + b"1]"),
    "a body of millions of lists": lambda: body.decode(msgspec.json.Decoder(), b'{"a":[' + b"[]," * 2_700_000 + b"1]}"),
    "lists in lists, often": lambda: read(b"[" + b",".join([b"[" * 98 + b"]" * 98] * 40_000) + b"]"),
    "a duration of many parts": lambda: parse_ms("1h" * 3_000_000),
    "a condition of many groups": lambda: conditions.read(TABLE, {"and": [[]] * 2_000_000}, conditions.Moment()),
    "a form of many parts": lambda: parts(PART * 100_000 + b"--x--\r\n"),
    "parts within parts": lambda: parts(b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" * 20_000),
    "a part with many headers": lambda: parts(b"--x\r\n" + b"a: b\r\n" * 1_300_000 + b"\r\n1\r\n--x--"),
    "a name with many brackets": lambda: fields.nested([("a" + "[]" * 4_000_000, "1")]),
    "many columns": lambda: import_columns.columns_of(["a"] * 1_000_000, TABLE, ImportFile(file="f", table="t")),
    "numbers that are far": lambda: read(FAR),
    "a body of far numbers": lambda: body.decode(msgspec.json.Decoder(), b'{"a":' + FAR + b"}"),
    "far numbers that are written otherwise": lambda: read(FAR.replace(b"e", b"E+0")),
    "far numbers of Tadabase's clients": lambda: fields._object(b'{"a":' + FAR + b"}"),
    "a row of far numbers": lambda: formats.rows(b'{"a":' + FAR + b"}", "jsonl", last=True, limit=1),
    "a webhook of far numbers": lambda: record_tasks.body_of("t", "r", {}, "1", FAR.decode()),
    "a number of many digits": lambda: formats.rows(b'[{"a":' + b"1" * 9_000 + b"}]", "json", last=True, limit=1),
}


@pytest.mark.parametrize("what", COSTLY)
def test_what_would_cost_much_is_refused_soon(what):
    began = time.process_time()
    with pytest.raises((HeadwayError, ValueError)):
        COSTLY[what]()
    assert time.process_time() - began < WITHIN_S


LARGE = {
    "objects": b"[" + b",".join([b'{"a":[1,{"b":"c"}]}'] * 100_000) + b"]",
    "quotes": b'["' + b'\\"[' * 1_000_000 + b'"]',
    "digits": b"[" + b"1," * 1_500_000 + b"1234567890123456789]",
    "numbers that are not far": b"[" + b"1.5e-300," * 100_000 + b"1e300]",
    "far numbers in texts": b'["' + b"1e308," * 1_000_000 + b'"]',
    "digits in texts": b'["' + b"1234567890123456789," * 200_000 + b'"]',
}


@pytest.mark.parametrize("what", LARGE)
def test_what_is_large_is_read_soon(what):
    began = time.process_time()
    assert read(LARGE[what]) == LARGE[what].decode()
    assert time.process_time() - began < WITHIN_S


def test_commas_between_the_rows_of_a_file_are_passed_over_at_once():
    began = time.process_time()
    (row,) = formats.rows(b"[" + b", \n[" * 1_500_000 + b'{"a":1}]', "json", last=True, limit=500)
    assert row.cells == {"a": 1}
    assert time.process_time() - began < WITHIN_S


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", "]"), ('{"a":', "}"), ('["[[\\"[",', "]"), ('[{},{"b":[]},', "]"), ('["{",', ',"}"]')],
)
def test_depth_is_counted_outside_of_texts(opening, closing):
    assert read((opening * 97 + "1" + closing * 97).encode())
    with pytest.raises(HeadwayError, match="deeper than 100"):
        read((opening * 101 + "1" + closing * 101).encode())


def test_a_form_has_a_limit_of_its_own_and_says_how_to_send_more(monkeypatch):
    class Call:
        raw_body = b"a=" + b"%41" * 400_000
        headers = {}

        def header(self, name):
            return fields.FORM

    with pytest.raises(PayloadTooLarge, match="application/json"):
        fields.body(Call())


def test_parts_are_read_as_browsers_and_programs_write_them():
    raw = (
        b'preamble\r\n--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--y\r\n2\r\n'
        b'--x  \r\ncontent-disposition: form-data; name="b"\r\nContent-Transfer-Encoding: base64\r\n\r\nw7w=\r\n'
        b'--x\r\nContent-Disposition: form-data; name="c[d]"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\r\n--x--\r\nafter'
    )
    assert parts(raw) == [("a", "1\r\n--y\r\n2"), ("b", "ü"), ("c[d]", "")]
    assert parts(raw.replace(b"\r\n", b"\n")) == [("a", "1\n--y\n2"), ("b", "ü"), ("c[d]", "")]
    with pytest.raises(BadParameter):
        parts(b"no parts")

"""Templates: what they can say, what they cannot do, and that a bomb harms the one row that it went off in."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from headway.evaluation.children import EvaluationPool
from headway.evaluation.limits import SOFT_S
from headway.evaluation.rendering import KNOWN, Environment, look, render
from headway.outbound.failure import SendFailed
from headway.outbound.headers import Mailbox
from headway.outbound.letter import addresses
from headway.outbound.templates import Templates


@pytest.fixture
async def children():
    made = EvaluationPool(1)
    yield made
    await made.close()


@pytest.fixture
def templates(children):
    return Templates(children)


async def one(templates, source, row=None, *, html=False):
    (outcome,) = await templates.render([(source, html)], [row or {"record": {"name": "Ann"}}], 1)
    return outcome if isinstance(outcome, SendFailed) else outcome[0]


async def test_rows_are_rendered_in_order_with_every_template(templates):
    rows = [{"record": {"n": number, "name": f"<{number}>"}} for number in range(120)]
    done = await templates.render([("{{ record.n }}", False), ("<b>{{ record.name }}</b>", True)], rows, 1)
    assert done == [[str(number), f"<b>&lt;{number}&gt;</b>"] for number in range(120)]


async def test_what_people_write_works(templates):
    row = {
        "record": {"name": "ann", "due": "2026-11-03", "paid": None, "lines": [{"sum": 3}, {"sum": 4}]},
        "task": "Daily",
    }
    source = (
        "Dear {{ record.name | title }}, due {{ record.due | date('%d.%m.%Y') }}{{ record.paid }}:"
        "{% for line in record.lines %} {{ loop.index }}={{ line.sum * 2 }}{% endfor %}"
        "{% if task == 'Daily' %} ({{ record.name.upper() }}){% endif %}{{ record['lines'] | sum(attribute='sum') }}"
    )
    assert await one(templates, source, row) == "Dear Ann, due 03.11.2026: 1=6 2=8 (ANN)7"


@pytest.mark.parametrize(
    "name", ["Ann", "A <eve@x.org>, B", 'A" <eve@x.org>, "B', "A\\", '\\" <eve@x.org>, ', "", None, 5]
)
def test_a_quoted_name_adds_no_recipient(name):
    done = render([("{{ record.name | quoted }} <ann@example.com>", False)], {"record": {"name": name}})
    assert addresses(done.texts[0], "to") == [Mailbox("" if name is None else str(name), "ann@example.com")]


@pytest.mark.parametrize(
    ("source", "said"),
    [("{{ record.nmae }}", "there is no field 'nmae'"), ("{{ recrod.name }}", "'recrod' is not known here"), ("{{ 1 / 0 }}", "ZeroDivisionError"),
     ("{{ record.name + 1 }}", "TypeError"), ("{% include 'x' %}", "TypeError"), ("{{ record.name.x }}", "'x' is not known"), ("{{ 'x' | date }}", "ValueError"),
     ("{{ record | nofilter }}", "No filter named 'nofilter'"), ("{% if %}", "Expected an expression")],
)  # fmt: skip
def test_a_mistake_is_said_by_its_name(source, said):
    done = render([(source, False)], {"record": {"name": "Ann"}})
    assert said in done.error
    assert not done.slow


async def test_a_mistake_fails_its_row_and_leaves_the_child_as_it_is(templates):
    for source in (
        "{{ record.nmae }}",
        "{{ 1 / 0 }}",
        "{{ record | nofilter }}",
        "{% if %}",
        "{{ 'x' | date }}",
        "{{ a.b.c }}",
    ):
        failed = await one(templates, source)
        assert (failed.code, failed.retryable, failed.unreachable) == ("template", False, False)
        assert "too much" not in failed.message
        assert "OSError" not in failed.message


ESCAPES = [
    "{{ ''.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ record.__init__ }}", "{{ self.__init__ }}", "{{ self._TemplateReference__context }}", "{{ record.name.format }}{{ '{0.__class__}'.format(1) }}",
    "{{ ''|attr('__class__') }}", "{{ record.clear() }}", "{{ record.update({'name': 'x'}) }}", "{{ record.pop('name') }}", "{{ [1].append(2) }}", "{{ lipsum }}", "{{ cycler }}",
    "{{ range(10) }}", "{{ dict() }}", "{{ namespace() }}", "{{ joiner }}", "{{ [record]|map(attribute='name')|list }}", "{{ loop.__class__ }}",
    "{% for x in [1] %}{{ loop._iterable }}{{ loop.__init__ }}{% endfor %}", "{{ 2 ** 3 }}", "{{ '%9999d' % 1 }}", "{{ 'x' * 5 }}", "{{ [1] * 5 }}", "{{ 'a'.center(99) }}",
    "{{ 'a'.zfill(99) }}", "{{ 'a'|center(99) }}", "{{ 'a'.format_map({}) }}", "{{ record.name.join.__self__ }}", "{% import 'os' as os %}", "{% extends 'x' %}", "{{ '2026-01-01' | date('%999d') }}",
    "{{ config }}", "{{ request }}", "{{ get_flashed_messages }}", "{{ cycler.__init__.__globals__ }}",
    "{% macro m() %}{{ caller.__globals__ }}{{ m.__globals__ }}{% endmacro %}{{ m() }}{{ m._func }}",
]  # fmt: skip


@pytest.mark.parametrize("source", ESCAPES)
def test_nothing_leads_out_of_the_sandbox(source):
    row = {"record": {"name": "Ann"}}
    done = render([(source, False)], row)
    assert done.texts is None
    assert done.error
    assert row == {"record": {"name": "Ann"}}


BOMBS = {
    "time": "{% for a in record.l %}{% for b in record.l %}{% for c in record.l %}{% for d in record.l %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
    "length": "{% for a in record.l %}{% for b in record.l %}{{ record.text }}{% endfor %}{% endfor %}",
    "memory": "{% set n = [record.text] %}"
    + "{% set record = {'text': record.text ~ record.text} %}" * 40
    + "{{ record.text | length }}",
    "one long operation": "{{ (record.text ~ record.text) | replace('x', record.text) | replace('x', record.text) | length }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "numbers": "{{ 9999999999 * 9999999999 * 9999999999 * 9999999999 * 9999999999 }}",
    "nesting": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "lists": "{{ " + "[" * 5000 + "]" * 5000 + " }}",
    "not": "{{ " + "not " * 8000 + "1 }}",
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_fails_its_row_and_no_other(templates, bomb):
    good = {"record": {"l": [1], "text": "ok"}}
    bad = {"record": {"l": [1] * 100, "text": "x" * 100_000}}
    source = "{{ record.text[:2] }}{% if record.text != 'ok' %}" + BOMBS[bomb] + "{% endif %}"
    began = time.process_time(), time.monotonic()
    first, second, third = await templates.render([(source, False)], [good, bad, good], 1)
    assert time.process_time() - began[0] < 1  # here nothing is at work
    assert time.monotonic() - began[1] < 30
    assert isinstance(second, SendFailed)
    if not isinstance(first, SendFailed):  # what cannot even be read fails every row
        assert first == third == ["ok"]
    assert await one(templates, "{{ record.name }}") == "Ann"


async def test_what_cannot_be_interrupted_is_killed_and_the_others_go_on(templates):
    """The regular expressions of a filter run where no timer reaches: what breaks the child breaks one row."""
    bad = {"record": {"text": "x" * 20_000_000}}
    source = "{{ record.text | wordcount }}" + "{{ record.text | title | length }}" * 200
    done = await templates.render([(source, False)], [{"record": {"text": "a b"}}, bad, {"record": {"text": "c"}}], 1)
    assert [isinstance(each, SendFailed) for each in done] == [False, True, False]


FOLDED = {
    "round": "{{ 10 | round(-999999999) }}", "in a condition": "{% if 10 | round(-999999999) %}{% endif %}", "in a value": "{% set a = 10 | round(-999999999) %}{{ a }}", "slices": "{{ [1] | slice(999999999) | list }}",
    "as an argument": "{{ 'a' | default(10 | round(-999999999)) }}", "in a list": "{{ [10 | round(-999999999)] }}", "two steps": "{{ 10 | round(-99999999) | string | length }}",
    "batches": "{{ 'a' | batch(999999999, 'x') | list }}", "tojson": "{{ {} | tojson(indent=999999999) }}", "replace": "{{ 'x' | replace('x', '" + "y" * 9_000 + "') | replace('y', '" + "z" * 9_000 + "') }}",
    "a method": "{{ '" + "x" * 9_000 + "'.replace('x', '" + "y" * 9_000 + "') }}", "join": "{{ ('" + "x" * 9_000 + "' | list) | join('" + "y" * 9_000 + "') }}",
}  # fmt: skip


@pytest.mark.parametrize("what", FOLDED)
async def test_nothing_is_computed_while_a_template_is_read_and_little_when_it_is_rendered(templates, children, what):
    """Jinja computes what is constant when it reads a template; here it does not, and what is computed is bounded."""
    assert await one(templates, "{{ record.name }}") == "Ann"
    pid = children._idle[0].pid
    assert (await templates.look(FOLDED[what], 1)).error == ""
    failed = await one(templates, FOLDED[what])
    assert isinstance(failed, SendFailed)
    assert "too much to be rendered" not in failed.message
    assert children._idle[0].pid == pid, "the child had to be ended"


CALLED = {
    "batch": "(2)", "default": "('x')", "d": "('x')", "groupby": "('a')", "join": "(', ')", "replace": "('a', 'b')", "rejectattr": "('a')", "selectattr": "('a')", "slice": "(2)",
    "sort": "(attribute='a')", "sum": "(attribute='a')", "max": "(attribute='a')", "min": "(attribute='a')", "unique": "(attribute='a')", "dictsort": "", "date": "('%d %b')",
}  # fmt: skip
TAKES = {
    **dict.fromkeys(("abs", "filesizeformat", "float", "int", "round"), "record.number"), **dict.fromkeys(("dictsort", "items", "tojson"), "record"), "date": "'2026-03-01'",
    **dict.fromkeys(("batch", "slice", "first", "last", "list", "groupby", "join", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "sum", "unique"), "record.rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*KNOWN, "date", "quoted"])
async def test_every_filter_works_in_a_child_which_has_no_files(templates, name):
    row = {"record": {"number": 7, "name": "<b>Ann &amp; Co.</b>", "rows": [{"a": 2}, {"a": 1}]}}
    for html in (False, True):
        expression = f"{TAKES.get(name, 'record.name')} | {name}{CALLED.get(name, '')}"
        source = "{% set x = " + expression + " %}{{ x | string | length > 0 }}"
        assert await one(templates, source, row, html=html) == "True"


HIDING = [
    "{{ record.name.encode('zip') }}", "{{ record.name.encode('idna') }}", "{{ record.name.encode('rot13') }}", "{{ record.name | striptags }}{{ 1 / 0 }}", "{{ record.values }}", "{{ record.name.upper }}",
    "{{ [1] | select }}", "{{ [1] | batch(2) }}", "{% block a %}{{ self.a() }}{% endblock %}", "{{ record.values() | first + record.values }}", "{% include 'x' %}", "{% macro m() %}{% endmacro %}{{ m }}{{ m() }}",
    "{{ record.values < 1 }}", "{{ record.get.x }}", "{{ 1 + record.items }}", "{{ {}[record.keys] }}",
]  # fmt: skip


@pytest.mark.parametrize("source", HIDING)
async def test_no_error_tells_a_path_or_an_address_of_this_machine(templates, source):
    failed = await one(templates, source)
    assert isinstance(failed, SendFailed)
    assert not re.search(r"0x[0-9a-f]{4}|/(lib|usr|root|home|opt|tmp|var)\b|\.py|Errno", failed.message), failed.message


async def test_half_a_surrogate_pair_fails_its_row_alone(templates):
    failed = await one(templates, "{{ '\\ud800' }}")
    assert "half a surrogate pair" in failed.message


SLOW = "{% for a in record.l %}{% for b in record.l %}{% for c in record.l %}{% endfor %}{% endfor %}{% endfor %}x"


async def test_slow_templates_of_one_organisation_do_not_hold_up_another():
    """One has more to do than all children together for a long time; the other's row is rendered between."""
    children = EvaluationPool(2)
    templates = Templates(children)
    try:
        rows = [{"record": {"l": [1] * 150}}] * 30
        slow = [asyncio.ensure_future(templates.render([(SLOW, False)], rows, 1)) for _ in range(3)]
        for _ in range(3):
            assert await templates.render([("{{ record.name }}", False)], [{"record": {"name": "Ann"}}], 2) == [["Ann"]]
            assert (await templates.look("{{ record.name }}", 3)).fields == ["name"]
            assert not any(each.done() for each in slow)
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    finally:
        await children.close()


async def test_one_child_serves_many_renders(templates, children):
    await one(templates, "{{ record.name }}")
    (child,) = children._idle
    pid = child.pid
    began = time.monotonic()
    rows = [{"record": {"name": str(number)}} for number in range(2_000)]
    assert len(await templates.render([("Dear {{ record.name }}, hello", False)], rows, 1)) == 2_000
    assert time.monotonic() - began < 10
    assert child.pid == pid


async def test_what_a_template_asks_for_is_known_before_it_runs(templates):
    looked = await templates.look(
        "{{ record.a }}{{ record['b c'] }}{% for x in record.d %}{{ x.e }}{{ loop.index }}{% endfor %}{{ task }}{% set q = 1 %}{{ q }}",
        1,
    )
    assert (looked.names, looked.fields, looked.error) == (["record", "task"], ["a", "b c", "d"], "")
    assert (await templates.look("a\n{{ }}", 1)).error.startswith("line 2: ")
    assert "No filter" in (await templates.look("{{ a | nothing }}", 1)).error
    assert "nothing to take" in (await templates.look("{% include 'a' %}", 1)).error
    assert (await templates.look("x" * 40_000, 1)).error == "a template has 32768 characters at most"


async def test_the_child_has_nothing_of_our_surroundings(templates, children, monkeypatch):
    monkeypatch.setenv("HEADWAY_SECRET", "s" * 32)
    await one(templates, "x")
    (child,) = children._idle
    pid = child.pid
    about = Path(f"/proc/{pid}")
    assert b"HEADWAY_SECRET" not in about.joinpath("environ").read_bytes()
    limits = {line[:25].strip(): line.split() for line in about.joinpath("limits").read_text().splitlines()}
    assert limits["Max open files"][3] == "3"
    assert limits["Max file size"][3] == "0"
    assert limits["Max core file size"][4] == "0"


def test_html_is_escaped_and_plain_text_is_not():
    row = {"record": {"name": "<a & b>"}}
    assert render([("{{ record.name }}", True), ("{{ record.name }}", False)], row).texts == [
        "&lt;a &amp; b&gt;",
        "<a & b>",
    ]
    assert look("{{ record.name | safe }}").error == ""
    assert Environment(html=True).from_string("{{ record.name | e }}").render(row) == "&lt;a &amp; b&gt;"
    assert SOFT_S < 1

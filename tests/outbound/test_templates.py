"""Templates: what they can say, what they cannot do, and that a bomb harms the one row that it went off in."""

import time
from pathlib import Path

import pytest

from headway.outbound.failure import SendFailed
from headway.outbound.headers import Mailbox
from headway.outbound.letter import addresses
from headway.outbound.render import ROW_S, Environment, look, render
from headway.outbound.templates import Templates


@pytest.fixture
def templates(runner):
    made = Templates(children=1)
    yield made
    runner.run(made.close())


async def one(templates, source, row=None, *, html=False):
    (outcome,) = await templates.render([(source, html)], [row or {"record": {"name": "Ann"}}])
    return outcome if isinstance(outcome, SendFailed) else outcome[0]


async def test_rows_are_rendered_in_order_with_every_template(templates):
    rows = [{"record": {"n": number, "name": f"<{number}>"}} for number in range(120)]
    done = await templates.render([("{{ record.n }}", False), ("<b>{{ record.name }}</b>", True)], rows)
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
    first, second, third = await templates.render([(source, False)], [good, bad, good])
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
    done = await templates.render([(source, False)], [{"record": {"text": "a b"}}, bad, {"record": {"text": "c"}}])
    assert [isinstance(each, SendFailed) for each in done] == [False, True, False]


async def test_one_child_serves_many_renders(templates):
    await one(templates, "{{ record.name }}")
    child = await templates._free.get()
    pid = child._process.pid
    templates._free.put_nowait(child)
    began = time.monotonic()
    rows = [{"record": {"name": str(number)}} for number in range(2_000)]
    assert len(await templates.render([("Dear {{ record.name }}, hello", False)], rows)) == 2_000
    assert time.monotonic() - began < 10
    assert child._process.pid == pid


async def test_what_a_template_asks_for_is_known_before_it_runs(templates):
    looked = await templates.look(
        "{{ record.a }}{{ record['b c'] }}{% for x in record.d %}{{ x.e }}{{ loop.index }}{% endfor %}{{ task }}{% set q = 1 %}{{ q }}"
    )
    assert (looked.names, looked.fields, looked.error) == (["record", "task"], ["a", "b c", "d"], "")
    assert (await templates.look("a\n{{ }}")).error.startswith("line 2: ")
    assert "No filter" in (await templates.look("{{ a | nothing }}")).error
    assert "nothing to take" in (await templates.look("{% include 'a' %}")).error
    assert (await templates.look("x" * 40_000)).error == "a template has 32768 characters at most"


async def test_the_child_has_nothing_of_our_surroundings(templates, monkeypatch):
    monkeypatch.setenv("HEADWAY_SECRET", "s" * 32)
    await one(templates, "x")
    child = await templates._free.get()
    pid = child._process.pid
    templates._free.put_nowait(child)
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
    assert ROW_S < 1

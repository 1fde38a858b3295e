"""KEY=VALUE for a task that wants numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client import samples
from tests.client.server import Answer, problem, script, serving

from headway.protocol import fields

SCHEMA = {
    "type": "object",
    "$defs": {"Level": {"enum": [1, 2]}, "Loop": {"$ref": "#/$defs/Loop"}, "Point": {"type": "object"}},
    "properties": {
        "n": {"type": "integer"},
        "x": {"type": "number"},
        "on": {"type": "boolean"},
        "list": {"type": "array"},
        "at": {"$ref": "#/$defs/Point"},
        "level": {"$ref": "#/$defs/Level"},
        "some": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "text": {"type": "string"},
        "word": {"enum": ["1", "2"]},
        "anything": {},
        "open": {"anyOf": [{"type": "integer"}, {}]},
        "loop": {"$ref": "#/$defs/Loop"},
        "nowhere": {"$ref": "#/$defs/Nowhere"},
        "many": {"type": ["integer", "boolean"]},
    },
}

DOUBLED = {
    "properties": {"n": {"$ref": "#/$defs/0"}},
    "$defs": {
        **{str(i): {"anyOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(6)},
        **{str(i): {"anyOf": [{"$ref": f"#/$defs/{i + 1}"} for _ in range(40)]} for i in range(6, 8)},
        "8": {"type": "integer"},
    },
}
"""A hundred thousand ways lead to one subschema."""


def test_a_subschema_is_looked_at_once_however_many_ways_lead_to_it():
    looked = []

    class Root(dict):
        def get(self, name, *other):
            looked.append(name)
            return super().get(name, *other)

    assert fields.read("15", "n", Root(DOUBLED)) == 15
    assert len(looked) < 1_000


TASK = {
    "name": "count", "version": "1", "description": "", "active": True, "executor": "thread", "queue": "default",
    "priority": 5, "output_schema": None, "retry": {}, "max_crashes": 3, "timeout": None, "heartbeat_timeout": None,
    "grace": "10s", "concurrency": None, "concurrency_per_key": None, "rate": None, "rate_per_key": None, "key": None,
    "retention": {}, "counts": {}, "created_at": "", "updated_at": "", "url": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "15", 15),
        ("n", "-3", -3),
        ("n", "1.5", "1.5"),
        ("n", "fifteen", "fifteen"),
        ("n", "", ""),
        ("n", "true", "true"),
        ("x", "15", 15),
        ("x", "1e3", 1000.0),
        ("x", "NaN", "NaN"),
        ("x", "1e400", "1e400"),
        ("on", "true", True),
        ("on", "yes", "yes"),
        ("list", "[1, 2]", [1, 2]),
        ("list", "[" * 100_000, "[" * 100_000),
        ("at", '{"x": 1}', {"x": 1}),
        ("level", "2", 2),
        ("some", "null", None),
        ("some", "4", 4),
        ("many", "false", False),
        ("either", "4", "4"),
        ("text", "15", "15"),
        ("text", "null", "null"),
        ("word", "1", "1"),
        ("anything", "15", "15"),
        ("open", "15", "15"),
        ("loop", "15", "15"),
        ("nowhere", "15", "15"),
        ("not_there", "15", "15"),
    ],
)
def test_a_value_is_what_the_task_takes_and_text_otherwise(name, text, value):
    found = fields.read(text, name, SCHEMA)
    assert (found, type(found)) == (value, type(value))


def test_fields_that_are_not_named_follow_the_rule_for_the_others():
    assert fields.read("15", "k", {"additionalProperties": {"type": "integer"}}) == 15
    assert fields.read("15", "k", {"additionalProperties": False}) == "15"


@given(st.text(), st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.booleans(), st.lists)))
def test_no_schema_upsets_it(text, schema):
    fields.read(text, "n", schema | {"properties": {"n": schema}})


def test_a_field_is_read_by_the_schema_of_the_task(headway):
    task = {**TASK, "input_schema": SCHEMA}
    with serving(script(Answer(200, task), Answer(202, samples.run()))) as fake:
        code, _, _ = headway("run", "count", "n=15", "text=15", "anything:=15", "-d", "--url", fake.url)
    assert (code, fake.requests[1].json()["input"]) == (0, {"n": 15, "text": "15", "anything": 15})


@pytest.mark.parametrize("refusal", [problem(404, "task_not_found"), problem(403, "forbidden")])
def test_who_may_not_ask_for_the_task_sends_text(headway, refusal):
    with serving(script(refusal, Answer(202, samples.run()))) as fake:
        headway("run", "count", "n=15", "-d", "--url", fake.url)
    assert fake.requests[1].json()["input"] == {"n": "15"}


def test_json_alone_needs_no_question(headway):
    with serving(lambda _: Answer(202, samples.run())) as fake:
        headway("run", "count", "n:=15", "-d", "--url", fake.url)
    assert [request.method for request in fake.requests] == ["POST"]

"""What schemas cost: never less than what checking takes, found quickly, and refused at the place that costs too much."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.kernel.schemas.cost import CHAIN_MAX, UNKNOWN, TooCostly, cost_of
from headway.kernel.schemas.graph import SUBSCHEMAS_MAX
from headway.kernel.schemas.patterns import NEGATED, UNICODE, size


def chain(length, keyword="allOf", reference="$ref"):
    definitions = {f"d{i}": {keyword: [{reference: f"#/$defs/d{i + 1}"}] * 2} for i in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{length}": {"type": "object"}}}


def anchored(length):
    definitions = {
        f"d{i}": {"$dynamicAnchor": f"n{i}", "allOf": [{"$dynamicRef": f"#n{i + 1}"}] * 2} for i in range(length)
    }
    return {"$dynamicRef": "#n0", "$defs": {**definitions, "last": {"$dynamicAnchor": f"n{length}"}}}


def with_ids(length):
    definitions = {
        f"d{i}": {"$id": f"https://example.org/{i}", "allOf": [{"$ref": f"{i + 1}"}] * 2} for i in range(length)
    }
    return {"$ref": "https://example.org/0", "$defs": {**definitions, "last": {"$id": f"https://example.org/{length}"}}}


def unevaluated(length):
    schema = {"properties": {"a": {}}}
    for _ in range(length):
        schema = {"anyOf": [schema], "unevaluatedProperties": {"type": "integer"}}
    return schema


MULTIPLYING = {
    "allOf": chain(28), "anyOf": chain(28, "anyOf"), "oneOf": chain(40, "oneOf"), "dynamic references": anchored(28),
    "ids": with_ids(28), "unevaluated": unevaluated(30), "where no keyword leads": {"$ref": "#/x/d0", "x": {f"d{i}": {"allOf": [{"$ref": f"#/x/d{i + 1}"}] * 2} for i in range(30)} | {"d30": {}}},
    "conditions": {"$ref": "#/$defs/d0", "$defs": {f"d{i}": {"if": {"$ref": f"#/$defs/d{i + 1}"}, "then": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(28)} | {"d28": {}}},
    "dependencies": {"$ref": "#/$defs/d0", "$defs": {f"d{i}": {"dependentSchemas": {"a": {"$ref": f"#/$defs/d{i + 1}"}, "b": {"$ref": f"#/$defs/d{i + 1}"}}} for i in range(28)} | {"d28": {}}},
}  # fmt: skip


@pytest.mark.parametrize("how", MULTIPLYING)
def test_what_multiplies_within_one_value_is_refused_at_its_place(how):
    with pytest.raises(TooCostly, match="steps to check one value") as caught:
        cost_of(MULTIPLYING[how])
    assert caught.value.pointer.startswith("/")


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "#"}, {"allOf": [{"anyOf": [{"$ref": "#"}]}]}, {"not": {"$ref": "#"}},
     {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"if": {"$ref": "#/$defs/a"}}}}, {"$dynamicAnchor": "a", "$dynamicRef": "#a"}],
)  # fmt: skip
def test_what_applies_itself_to_the_same_value_is_refused(schema):
    with pytest.raises(TooCostly, match="applies itself"):
        cost_of(schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [({"properties": {str(i): {} for i in range(SUBSCHEMAS_MAX)}}, "too many subschemas"),
     ({"$ref": "#/$defs/0", "$defs": {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(CHAIN_MAX)} | {str(CHAIN_MAX): {}}}, "within each other"),
     ({"pattern": "(a{1000}){1000}"}, "patterns are too large"), ({"allOf": [{"pattern": rf"\p{{L}}{{1,100}}{i}"} for i in range(10)]}, "patterns are too large"),
     ({"allOf": [{"pattern": "a" * 40_000}, {"pattern": "b" * 40_000}]}, "patterns are too large"),
     ({"patternProperties": {"((((a{10}){10}){10}){10}){10}{100}": {}}}, "patterns are too large"),
     ({"items": {"enum": [[1] * 50 + [i] for i in range(1_000)]}}, "steps to check one value"), ({"const": [[{}] * 20] * 1_000}, "steps to check one value")],
)  # fmt: skip
def test_what_is_too_large_is_refused(schema, words):
    with pytest.raises(TooCostly, match=words):
        cost_of(schema)


ORDINARY = {
    "everything": {}, "nothing": False, "a list": {"type": "array", "items": {"type": "string"}},
    "a tree": {"type": "object", "properties": {"children": {"items": {"$ref": "#"}}, "name": {"type": "string"}}},
    "a list of lists": {"anyOf": [{"type": "number"}, {"type": "array", "items": {"$ref": "#"}}]},
    "names": {"propertyNames": {"$ref": "#/$defs/n"}, "$defs": {"n": {"pattern": "^[a-z]{1,63}$"}}},
    "an extensible tree": {"$id": "https://example.org/tree", "$dynamicAnchor": "node", "properties": {"below": {"items": {"$dynamicRef": "#node"}}}},
    "many choices": {"enum": [f"x{i}" for i in range(10_000)]},
    "many fields": {"properties": {f"f{i}": {"type": "string", "maxLength": 100} for i in range(1_000)}, "required": [f"f{i}" for i in range(1_000)]},
}  # fmt: skip


@pytest.mark.parametrize("what", ORDINARY)
def test_what_people_write_costs_the_same_however_deep_an_input_is(what):
    cost = cost_of(ORDINARY[what])
    assert not cost.grows
    shallow, deep = (cost.steps(containers=1, values=10, size=100, depth=depth) for depth in (50, 100))
    assert shallow == deep < 20_000


def test_what_goes_on_in_two_places_costs_more_the_deeper_an_input_is():
    term = {"anyOf": [{"$ref": "#/$defs/sum"}, {"$ref": "#/$defs/product"}, {"type": "number"}]}
    operation = {"properties": {"x": {"$ref": "#/$defs/term"}}}
    cost = cost_of({"$ref": "#/$defs/term", "$defs": {"term": term, "sum": operation, "product": operation | {"x": 1}}})
    steps = [cost.steps(containers=1, values=1, size=1, depth=depth) for depth in (1, 2, 10, 40, 100)]
    assert steps[1] / steps[0] >= 1.5
    assert steps[2] > 500 * steps[0]
    assert steps[4] >= steps[3] > 1e9


def test_what_refers_elsewhere_has_no_known_cost():
    assert cost_of({"$ref": "https://json-schema.org/draft/2020-12/schema"}) == UNKNOWN
    assert cost_of({"$ref": "#/nowhere"}) == UNKNOWN


def test_a_pattern_has_as_many_states_as_its_repetitions_make():
    assert size("abc").states < 10
    assert 1_000 < size("(?:[a-z]{10}){100}").states < 1_200
    assert size("a{3,}b{2,70}").states > 70
    assert size(r"\p{L}{1,20}").weight > 20 * UNICODE
    assert size("[^a]{50}").weight > 50 * NEGATED
    assert size(")(*{5}[[]]\\").states > 0  # what is no pattern is refused elsewhere
    assert size("(" * 10_000 + "a{1000}" + ")" * 10_000).states > 1_000


# -- held against a count ----------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
LEAVES = st.sampled_from([{}, {"type": "string"}, {"type": "object"}, True, False, *({"$ref": f"#/$defs/{name}"} for name in NAMES)])  # fmt: skip
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "allOf": st.lists(inner, min_size=1, max_size=2), "anyOf": st.lists(inner, min_size=1, max_size=2),
            "if": inner, "then": inner, "not": inner, "items": inner, "additionalProperties": inner,
            "properties": st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["a", "."]), inner, max_size=2), "contains": inner,
        },
    ),
    max_leaves=6,
)  # fmt: skip
VALUES = st.recursive(
    st.sampled_from([1, "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=12,
)


def applications(schema, value, root):
    """Count how often each value is met by a subschema, if nothing ends a check before its time."""
    if not isinstance(schema, dict):
        return 0

    def go(each, at):
        return applications(each, at, root)

    count = 1
    if "$ref" in schema:
        count += go(root["$defs"][schema["$ref"][-1]], value)
    count += sum(go(each, value) for word in ("allOf", "anyOf") for each in schema.get(word, ()))
    count += sum(go(schema[word], value) for word in ("if", "then", "not") if word in schema)
    if isinstance(value, list):
        count += sum(go(schema[word], item) for word in ("items", "contains") if word in schema for item in value)
    if isinstance(value, dict):
        for name, member in value.items():
            matching = [each for key, each in schema.get("patternProperties", {}).items() if key in (".", name)]
            named = [schema["properties"][name]] if name in schema.get("properties", {}) else []
            if not matching and not named and "additionalProperties" in schema:
                named = [schema["additionalProperties"]]
            count += sum(go(each, member) for each in (*matching, *named))
    return count


def parts(value, depth=0):
    """Yield every value within a value, and how deep it lies."""
    yield value, depth
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from parts(each, depth + 1)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, SCHEMAS)), SCHEMAS, VALUES)
def test_no_check_applies_more_subschemas_than_the_cost_says(definitions, schema, value):
    root = {**(schema if isinstance(schema, dict) else {}), "$defs": definitions}
    try:
        cost = cost_of(root)
    except TooCostly:
        return
    found = Counter(depth for _, depth in parts(value))
    steps = cost.steps(containers=sum(found.values()), values=sum(found.values()), size=0, depth=max(found))
    assert steps >= applications(root, value, root)

"""Types of parameters, table by table: values are read, described and refused by their types."""

import datetime as dt
import decimal
import enum
import random
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypeAlias,
    TypedDict,
    TypeVar,
    Union,
)

import annotated_types as at
import msgspec
import pydantic
import pytest
from jsonschema_rs import validator_for
from msgspec import Meta, Raw

from headway.codec.hints import understood
from headway.codec.reading import read
from headway.codec.schemas import schema
from headway.worker.context.interrupts import Fail
from headway.worker.declaration.app import App

T = TypeVar("T")
UserId = NewType("UserId", int)
Level = NewType("Level", Annotated[int, Meta(ge=1, le=9)])
Names: TypeAlias = list[str]
Positive = Annotated[int, at.Gt(0)]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Card:
    number: str
    holder: str = ""


@dataclass
class Transfer:
    iban: str
    bic: str = ""
    urgent: bool = False


@dataclass
class Order:
    pay: Card | Transfer
    count: Positive = 1
    notes: list[str] = field(default_factory=lambda: ["none"])


@dataclass
class Node:
    value: Card | Transfer
    kids: "list[Node]" = field(default_factory=list)


@dataclass
class Even:
    """Its own rule stands in __post_init__; the union makes it one that is decoded by us."""

    n: int
    by: Card | Transfer | None = None

    def __post_init__(self):
        if self.n % 2:
            raise ValueError("it is odd")


@dataclass
class Page(Generic[T]):
    items: list[T]
    more: bool = False


class Box(msgspec.Struct, Generic[T]):
    inside: T


class Cat(msgspec.Struct):
    lives: int


class Dog(msgspec.Struct):
    bark: str


class Tagged(msgspec.Struct, tag=True):
    a: int


class Other(msgspec.Struct, tag=True):
    a: int


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    level: int


def task_of(hint):
    async def work(of): ...

    work.__annotations__ = {"of": hint, "return": None}
    return App().task(work)


WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
FITS = [
    (int, "1", 1),
    (float, "1", 1.0),
    (Any, '{"a":[1]}', {"a": [1]}),
    (Optional[int], "null", None),  # noqa: UP045
    (Union[int, str], '"a"', "a"),  # noqa: UP007
    (list[int] | None, "[1]", [1]),
    (dict[str, int], '{"a":1}', {"a": 1}),
    (dict[int, str], '{"1":"a"}', {1: "a"}),
    (set[int], "[1,2]", {1, 2}),
    (frozenset[str], '["a"]', frozenset("a")),
    (tuple[int, ...], "[1,2]", (1, 2)),
    (tuple[int, str], '[1,"a"]', (1, "a")),
    (bytes, '"YQ=="', b"a"),
    (decimal.Decimal, '"1.5"', decimal.Decimal("1.5")),
    (dt.datetime, '"2026-01-02T03:04:05Z"', WHEN),
    (dt.timedelta, '"PT1M"', dt.timedelta(minutes=1)),
    (uuid.UUID, '"12345678123456781234567812345678"', uuid.UUID("12345678123456781234567812345678")),
    (Literal["a", "b"], '"b"', "b"),
    (Literal[1, 2] | None, "1", 1),
    (Colour, '"red"', Colour.RED),
    (UserId, "7", 7),
    (Level, "7", 7),
    (Names, '["a"]', ["a"]),
    (Final[int], "1", 1),
    (Card, '{"number":"1"}', Card("1")),
    (list[Card], '[{"number":"1"}]', [Card("1")]),
    (Card | Transfer, '{"iban":"1"}', Transfer("1")),
    (Card | Transfer, '{"number":"1"}', Card("1")),
    (Card | Transfer | None, "null", None),
    (list[Card | Transfer], '[{"iban":"1"},{"number":"2"}]', [Transfer("1"), Card("2")]),
    (dict[str, Card | int], '{"a":{"number":"1"},"b":2}', {"a": Card("1"), "b": 2}),
    (Order, '{"pay":{"iban":"1"},"count":2}', Order(Transfer("1"), 2)),
    (Node, '{"value":{"iban":"1"},"kids":[{"value":{"number":"2"}}]}', Node(Transfer("1"), [Node(Card("2"))])),
    (Page[int], '{"items":[1]}', Page([1])),
    (Page[Card], '{"items":[{"number":"1"}]}', Page([Card("1")])),
    (Page[Card | Transfer], '{"items":[{"iban":"1"}]}', Page([Transfer("1")])),
    (Box[Card], '{"inside":{"number":"1"}}', Box(Card("1"))),
    (Cat | Dog, '{"bark":"w"}', Dog("w")),
    (Tagged | Other, '{"type":"Other","a":1}', Other(1)),
    (dt.datetime | str, '"2026-01-02T03:04:05Z"', WHEN),
    (dt.datetime | str, '"soon"', "soon"),
    (tuple[int, str] | Positive, "1", 1),
    (tuple[int, str] | Annotated[str, Meta(max_length=3)] | None, '[1,"a"]', (1, "a")),
    (Point, "[1]", Point(1)),
    (Options, "{}", {}),
    (Annotated[int, "metres"], "1", 1),
    (Annotated[int, at.Interval(gt=0, le=5)], "5", 5),
    (Annotated[decimal.Decimal, at.Gt(decimal.Decimal(0))], '"0.1"', decimal.Decimal("0.1")),
    (Annotated[str, at.Predicate(str.islower)], '"a"', "a"),
    (at.LowerCase[str], '"a"', "a"),
]


def named(value):
    return (
        str(getattr(value, "__name__", value)).replace("headway", "")[:60] if not isinstance(value, str) else value[:30]
    )


@pytest.mark.parametrize(("hint", "text", "value"), FITS, ids=named)
def test_what_a_type_says_is_read_and_described(hint, text, value):
    task = task_of(hint)
    document = b'{"of":%b}' % text.encode()
    assert task.signature.bind(Raw(document)) == {"of": value}
    assert type(task.signature.bind(Raw(document))["of"]) is type(value)
    validator_for(msgspec.json.decode(task.declaration.input_schema)).validate(msgspec.json.decode(document))
    assert read(text.encode(), hint) == value


DOES_NOT_FIT = [
    (Card, '{"number":1}', "/of/number: Expected `str`, got `int`"),
    (Card | Transfer, '{"iban":1}', "/of: not Card, as Object missing required field `number`; not Transfer, as /iban: "),
    (Order, '{"pay":{"x":1}}', "/of/pay: not Card"),
    (Order, '{"pay":{"number":"1"},"count":0}', "/of/count: Expected `int` >= 1"),
    (Node, '{"value":{"number":"1"},"kids":[{"value":{}}]}', "/of/kids/0/value: not Card"),
    (Even, '{"n":3}', "/of: it is odd"),
    (Level, "10", "/of: Expected `int` <= 9"),
    (Annotated[int, Meta(gt=0)], "0", "/of: Expected `int` >= 1"),
    (Positive, "0", "/of: Expected `int` >= 1"),
    (Positive | None, "0", "/of: Expected"),
    (list[Positive], "[1,0]", "/of/1: Expected `int` >= 1"),
    (dict[str, Positive], '{"a/b":0}', "/of: Expected `int` >= 1"),
    (Annotated[list[int], at.Len(1, 2)], "[]", "/of: Expected `array` of length >= 1"),
    (Annotated[int, at.MultipleOf(3)], "4", "/of: Expected `int` that's a multiple of 3"),
    (Annotated[float, at.Interval(ge=0, lt=1)], "1", "/of: Expected `float` < 1.0"),
    (Annotated[dt.datetime, at.Timezone(...)], '"2026-01-02T03:04:05"', "/of: Expected `datetime` with a timezone"),
    (Annotated[dt.date, at.Ge(dt.date(2026, 1, 1))], '"2025-01-01"', "/of: it has to be at least 2026-01-01"),
    (Annotated[decimal.Decimal, at.Gt(decimal.Decimal(0))], '"0"', "/of: it has to be greater than 0"),
    (Annotated[decimal.Decimal, at.MultipleOf(decimal.Decimal("0.5"))], '"0.7"', "/of: it has to be a multiple of 0.5"),
    (Annotated[str, at.Predicate(str.islower)], '"A"', "/of: it does not fit str.islower"),
    (Page[Positive], '{"items":[0]}', "/of/items/0: Expected `int` >= 1"),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "text", "said"), DOES_NOT_FIT, ids=named)
def test_what_does_not_fit_is_refused_with_where_it_is(hint, text, said):
    with pytest.raises(Fail) as refused:
        task_of(hint).signature.bind(Raw(b'{"of":%b}' % text.encode()))
    assert refused.value.code == "invalid_input"
    assert str(refused.value).startswith(f"The input does not fit the task: {said}")


class Lax(msgspec.Struct):
    n: Positive


class LaxOptions(TypedDict):
    n: Positive


class Odd(at.BaseMetadata):
    """A constraint that only its author knows."""


REFUSED = [
    (Lax, "task work: of: Lax.n: msgspec does not check .*Gt.* use msgspec.Meta"),
    (list[Lax], "Lax.n"),
    (LaxOptions, "LaxOptions.n"),
    (Annotated[int, Odd()], "a constraint that is not known; it would not be checked"),
    (Annotated[dt.datetime, at.Timezone("Europe/Berlin")], "it would not be checked"),
    (Annotated[str, Meta(gt=0)], "Can only set `gt` on a numeric type"),
    (Annotated[tuple[int, str] | int, Meta(gt=0)], "a constraint on a union that has a tuple of fixed length"),
    (complex, "JSON Schema cannot say"),
    (object, "JSON Schema cannot say"),
    (type, "JSON Schema cannot say"),
]


@pytest.mark.parametrize(("hint", "said"), REFUSED)
def test_a_constraint_that_would_not_be_checked_is_refused_when_it_is_declared(hint, said):
    with pytest.raises(TypeError, match=said):
        task_of(hint)


LEAVES = [hint for hint, _, _ in FITS] + [hint for hint, _ in REFUSED] + [
    pydantic.PositiveInt, pydantic.SecretStr, Annotated[int, pydantic.Field(gt=0)], pydantic.create_model("Made", n=(int, 1)),
    T, "Nowhere", 3, [int], list, dict, Callable[[int], int], Generic,
]  # fmt: skip
SAID = [at.Gt(0), at.Len(1, 3), Meta(ge=1), Meta(description="d"), pydantic.Field(description="x"), "text"]
DOCUMENTS = [b"1", b'"a"', b"null", b"[]", b"[1]", b"{}", b'{"number":"1"}', b'{"items":[1]}', b"[[1]]"]


def composed(chosen, depth):
    """Return a type made of others, as no person would write it."""
    if not depth or chosen.random() < 0.3:
        return chosen.choice(LEAVES)
    inner, other = composed(chosen, depth - 1), composed(chosen, depth - 1)
    makers = (
        lambda: list[inner], lambda: dict[str, inner], lambda: Union[inner, other],  # noqa: UP007
        lambda: tuple[inner, other],
        lambda: Annotated[inner, chosen.choice(SAID)], lambda: Page[inner], lambda: set[inner],
    )  # fmt: skip
    try:
        return chosen.choice(makers)()
    except (TypeError, AttributeError):  # Python itself does not take it
        return inner


def test_whatever_types_are_made_of_they_are_declared_or_refused_and_inputs_are_read_or_refused():
    outcomes = Counter()
    for seed in range(300):
        hint = composed(random.Random(seed), 3)
        try:
            task = task_of(hint)
            task.finish()
        except TypeError as error:
            assert str(error).startswith("task work: "), hint  # noqa: PT017
            outcomes["refused"] += 1
            continue
        for document in DOCUMENTS:
            try:
                task.signature.bind(Raw(b'{"of":%b}' % document))
                outcomes["read"] += 1
            except Fail:
                outcomes["unfit"] += 1
    assert min(outcomes.values()) > 50, outcomes


def other_card():
    @dataclass
    class Card:
        pin: Positive

    return Card


def test_classes_of_one_name_have_definitions_of_their_own():
    found = schema(understood(tuple[Card, Card | Transfer, other_card(), Order, Node]))
    properties = {name: list(each["properties"]) for name, each in found["$defs"].items()}
    assert sorted(properties) == ["Card", "Card_2", "Node", "Order", "Transfer"]
    assert {tuple(properties["Card"]), tuple(properties["Card_2"])} == {("number", "holder"), ("pin",)}
    refs = {each["$ref"] for each in found["prefixItems"] if "$ref" in each}
    assert refs <= {f"#/$defs/{name}" for name in properties}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="its syntax is new in 3.12")
def test_names_of_types_and_parameters_of_types_in_the_syntax_of_3_12():
    scope = {"App": App, "Card": Card, "Transfer": Transfer, "__name__": "made_here"}
    exec(
        "type Pay = Card | Transfer\ntype Pays = list[Pay]\ntype Tree = dict[str, Tree] | int\n"
        "async def pay(of: Pays): ...\nasync def climb(of: Tree): ...\n"
        "async def echo[S: int](of: S) -> 'S': ...\n",
        scope,
    )
    assert App().task(scope["pay"]).signature.bind(Raw(b'{"of":[{"iban":"1"}]}')) == {"of": [Transfer("1")]}
    assert App().task(scope["echo"]).signature.bind(Raw(b'{"of":1}')) == {"of": 1}
    with pytest.raises(TypeError, match="contains itself"):
        App().task(scope["climb"])

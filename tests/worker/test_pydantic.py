"""Pydantic's models as inputs and outputs: validated, described and dumped by Pydantic, wherever structs may stand."""

import asyncio
import datetime as dt
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import pydantic
import pytest
from msgspec import Raw
from tests.client import samples
from tests.client.server import Answer, serving

import headway
import headway.testing
from headway.client.sync.client import Client
from headway.errors import InvalidInput
from headway.worker.context.interrupts import Fail
from headway.worker.declaration.app import App

T = TypeVar("T")


class Line(pydantic.BaseModel):
    sku: str
    count: int = pydantic.Field(gt=0, alias="qty")


class Order(pydantic.BaseModel):
    id: int
    lines: list[Line] = []
    when: dt.datetime | None = None

    @pydantic.computed_field
    @property
    def size(self) -> int:
        return sum(line.count for line in self.lines)

    @pydantic.field_validator("id")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("an id is even")
        return value


class Skus(pydantic.RootModel[list[str]]):
    pass


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    bark: str


class Tree(pydantic.BaseModel):
    kids: list["Tree"] = []


class Strict(pydantic.BaseModel, strict=True):
    day: dt.date
    tags: set[str]


@dataclass
class Parcel:
    order: Order
    weight: Annotated[float, pydantic.Field(gt=0)] = 1.0


@dataclass
class Plain:
    line: Line


class Struct(msgspec.Struct):
    line: Line
    more: list[Line] = []


@pydantic.dataclasses.dataclass
class Checked:
    n: Annotated[int, pydantic.Field(gt=0)]


def task_of(hint, returns=None):
    async def work(of): ...

    work.__annotations__ = {"of": hint, "return": returns}
    return App().task(work)


def bound(hint, text):
    return task_of(hint).signature.bind(Raw(b'{"of":%b}' % text.encode()))["of"]


A_LINE = Line(sku="a", qty=1)
FITS = [
    (Line, '{"sku":"a","qty":1}', A_LINE),
    (Line | None, "null", None),
    (list[Line], '[{"sku":"a","qty":1}]', [A_LINE]),
    (dict[str, Line], '{"x":{"sku":"a","qty":1}}', {"x": A_LINE}),
    (Order, '{"id":2,"lines":[{"sku":"a","qty":1}]}', Order(id=2, lines=[A_LINE])),
    (Skus, '["a"]', Skus(["a"])),
    (Page[Line], '{"items":[{"sku":"a","qty":1}]}', Page[Line](items=[A_LINE])),
    (Cat | Dog, '{"kind":"dog","bark":"w"}', Dog(kind="dog", bark="w")),
    (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], '{"kind":"cat","lives":9}', Cat(kind="cat", lives=9)),
    (Line | str, '"a"', "a"),
    (Line | Struct, '{"line":{"sku":"a","qty":1}}', Struct(A_LINE)),
    (Tree, '{"kids":[{"kids":[]}]}', Tree(kids=[Tree()])),
    (Strict, '{"day":"2026-01-02","tags":["a"]}', Strict(day=dt.date(2026, 1, 2), tags={"a"})),
    (Parcel, '{"order":{"id":2},"weight":2}', Parcel(Order(id=2), 2.0)),
    (Plain, '{"line":{"sku":"a","qty":1}}', Plain(A_LINE)),
    (Struct, '{"line":{"sku":"a","qty":1},"more":[]}', Struct(A_LINE)),
    (Checked, '{"n":1}', Checked(1)),
    (pydantic.SecretStr, '"word"', pydantic.SecretStr("word")),
    (pydantic.PositiveInt, "1", 1),
    (dict[str, pydantic.AwareDatetime], '{"a":"2026-01-02T00:00:00Z"}', {"a": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}),
]


def named(value):
    return str(getattr(value, "__name__", value))[:40]


@pytest.mark.parametrize(("hint", "text", "value"), FITS, ids=named)
def test_models_are_validated_wherever_types_stand(hint, text, value):
    from jsonschema_rs import validator_for

    found = bound(hint, text)
    assert found == value
    assert type(found) is type(value)
    schema = msgspec.json.decode(task_of(hint).declaration.input_schema)
    validator_for(schema).validate({"of": msgspec.json.decode(text)})


DOES_NOT_FIT = [
    (Line, '{"sku":"a","qty":0}', "/of/qty: Input should be greater than 0"),
    (Line, '{"sku":"a","count":1}', "/of/qty: Field required"),
    (Order, '{"id":1}', "/of/id: Value error, an id is even"),
    (Order, '{"id":2,"lines":[{"sku":"a","qty":1},{"sku":"b","qty":0}]}', "/of/lines/1/qty: Input should be greater than 0"),
    (Order, '{"id":1,"lines":[{}]}', "/of/id: Value error, an id is even; /of/lines/0/sku: Field required; /of/lines/0/qty: "),
    (list[Line], '[{"sku":"a","qty":0}]', "/of/0/qty: Input should be greater than 0"),
    (Skus, '["a",1]', "/of/1: Input should be a valid string"),
    (Parcel, '{"order":{"id":1}}', "/of/order/id: Value error"),
    (Parcel, '{"order":{"id":2},"weight":0}', "/of/weight: Input should be greater than 0"),
    (Plain, '{"line":{"sku":"a","qty":0}}', "/of/line/qty: Input should be greater than 0"),
    (Struct, '{"line":{"sku":"a","qty":1},"more":[{"sku":"a","qty":0}]}', "/of/more/0/qty: Input should be greater than 0"),
    (Checked, '{"n":0}', "/of/n: Input should be greater than 0"),
    (Cat | Dog, '{"kind":"dog","bark":1}', "/of/kind: Input should be 'cat'; /of/lives: Field required; /of/bark: "),
    (Annotated[int, pydantic.Field(gt=0)], "0", "/of: Input should be greater than 0"),
    (Annotated[int, pydantic.Field(gt=0)] | None, "0", "/of: Input should be greater than 0"),
    (list[Annotated[str, pydantic.StringConstraints(min_length=2)]], '["a"]', "/of/0: String should have at least 2"),
    (Annotated[str, pydantic.AfterValidator(str.upper), pydantic.Field(max_length=1)], '"ab"', "/of: "),
    (pydantic.HttpUrl, '"nope"', "/of: Input should be a valid URL"),
    (pydantic.conint(multiple_of=3), "4", "/of: "),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "text", "said"), DOES_NOT_FIT, ids=named)
def test_every_fault_is_named_by_pydantic_at_its_place(hint, text, said):
    with pytest.raises(Fail) as refused:
        bound(hint, text)
    assert refused.value.code == "invalid_input"
    assert str(refused.value).startswith(f"The input does not fit the task: {said}")


class Loose(msgspec.Struct):
    n: Annotated[int, pydantic.Field(gt=0)]


class Old:
    """As models of Pydantic 1 look."""

    __fields__: dict[str, Any] = {}

    @classmethod
    def parse_obj(cls, value): ...


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (Loose, "task work: of: Loose.n: msgspec does not check"),
        (Annotated[Struct | None, pydantic.Field(description="x", frozen=True)], "cannot be checked on Struct"),
        (Old, "Old is a model of Pydantic 1"),
    ],
)
def test_what_nobody_would_check_is_refused_when_it_is_declared(hint, said):
    with pytest.raises(TypeError, match=said):
        task_of(hint)


def test_a_field_as_the_default_of_a_parameter_is_its_constraint_and_its_default():
    async def work(
        n: int = pydantic.Field(gt=0),
        level: int = pydantic.Field(5, le=9),
        tags: list[str] = pydantic.Field(default_factory=list),  # noqa: B008
        customer: Annotated[int, pydantic.Field(alias="customerId")] = 7,
    ): ...

    task = App().task(work)
    schema = msgspec.json.decode(task.declaration.input_schema)
    assert schema["required"] == ["n"]
    assert list(schema["properties"]) == ["n", "level", "tags", "customerId"]
    assert task.signature.bind(Raw(b'{"n":1}')) == {"n": 1, "level": 5, "tags": [], "customer": 7}
    assert task.signature.bind(Raw(b'{"n":1,"customerId":8}'))["customer"] == 8
    for wrong in (b"{}", b'{"n":0}', b'{"n":1,"level":10}', b'{"n":1,"customer":8}'):
        with pytest.raises(Fail):
            task.signature.bind(Raw(wrong))


def test_models_of_one_name_have_definitions_of_their_own():
    class Other(pydantic.BaseModel):
        __qualname__ = __name__ = "Line"
        metres: float

    Other.__name__ = "Line"

    async def work(a: Line, b: list[Other], c: Struct, d: Page[Line]): ...

    schema = msgspec.json.decode(App().task(work).declaration.input_schema)
    assert sorted(schema["$defs"]) == ["Line", "Line_2", "Page_Line_", "Struct"]
    refs = [schema["properties"]["a"]["$ref"], schema["properties"]["b"]["items"]["$ref"]]
    assert ["qty" in schema["$defs"][ref.removeprefix("#/$defs/")]["properties"] for ref in refs] == [True, False]


class Early(pydantic.BaseModel):
    below: "Below"


@dataclass
class EarlyPlain:
    below: "Below"


early = App()


@early.task
async def not_yet(of: Early, by: list[EarlyPlain]) -> Early: ...


class Below(pydantic.BaseModel):
    n: int


def test_models_and_dataclasses_of_a_task_may_name_what_is_defined_further_below():
    task = early.tasks["not_yet"]
    assert task.signature.bind(Raw(b'{"of":{"below":{"n":1}},"by":[{"below":{"n":2}}]}')) == {
        "of": Early(below=Below(n=1)),
        "by": [EarlyPlain(Below(n=2))],
    }
    assert "Below" in msgspec.json.decode(task.declaration.output_schema)["$defs"]


def test_a_model_that_names_what_is_nowhere_is_refused_when_its_app_is_used():
    class Parts(pydantic.BaseModel):
        of: "list[Nowhere]"  # noqa: F821

    app = App()

    @app.task
    async def work(of: Parts): ...

    with pytest.raises(TypeError, match=r"task work: .*Parts.*not fully defined: name .Nowhere."):
        _ = app.tasks


# Outputs, published results, recorded steps and payloads of signals.

app = headway.App()


@app.task
async def take(of: Order) -> Order:
    return of


@app.task
def take_plainly(ctx: headway.SyncContext, of: list[Line]) -> dict[str, Any]:
    return {"recorded": ctx.step("copy", lambda: of[0]), "kinds": [type(line).__name__ for line in of]}


@app.task
async def steps(ctx: headway.Context) -> dict[str, Any]:
    recorded = await ctx.step("make", lambda: Order(id=2, lines=[A_LINE]))
    ctx.publish(Line(sku="p", qty=3), name="line")
    ctx.log("made", line=A_LINE)
    child = await ctx.start(take, of=Order(id=4, lines=[A_LINE]))
    signal = await ctx.wait_for_signal("go")
    return {"recorded": recorded, "child": await child.result(), "signal": signal, "model": A_LINE}


@app.task
async def declared_otherwise() -> list[Checked]:
    return [Checked(1)]


@app.task
async def in_structs() -> list[Struct]:
    return [Struct(A_LINE, more=[A_LINE])]


@app.task
async def not_a_number() -> Page[float]:
    return Page[float](items=[float("nan")])


@app.task
async def not_a_model() -> Order:
    return {"id": 2}  # type: ignore[return-value]


AS_JSON = {"id": 2, "lines": [{"sku": "a", "qty": 1}], "when": "2026-01-02T00:00:00Z", "size": 1}


@pytest.fixture
async def kit():
    async with headway.testing.service(app) as kit:
        yield kit


async def test_a_model_is_an_input_and_an_output_by_its_aliases_with_what_it_computes(kit):
    order = Order(id=2, lines=[A_LINE], when=dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
    run = await kit.start(take, of=order)
    assert await run.result() == AS_JSON
    assert await run.result(type=Order) == order
    with pytest.raises(InvalidInput) as refused:
        await kit.start(take, of={"id": 2, "lines": [{"sku": "a", "qty": 0}]})
    assert refused.value.errors[0]["pointer"] == "/input/of/lines/0/qty"
    odd = await kit.start(take, of={"id": 1})
    with pytest.raises(headway.RunFailed, match="/of/id: Value error, an id is even") as failed:
        await odd.result()
    assert failed.value.error.code == "invalid_input"


async def test_models_are_written_in_steps_results_logs_children_and_signals(kit):
    run = await kit.start(steps)
    await run.signal("go", Line(sku="s", qty=5))
    line = {"sku": "a", "qty": 1}
    assert await run.result() == {
        "recorded": {"id": 2, "lines": [line], "when": None, "size": 1},
        "child": {"id": 4, "lines": [line], "when": None, "size": 1},
        "signal": {"sku": "s", "qty": 5},
        "model": line,
    }
    plain = await kit.start(take_plainly, of=[A_LINE])
    assert await plain.result() == {"recorded": line, "kinds": ["Line"]}


async def test_models_in_structs_are_written_too_although_pydantic_does_not_know_structs(kit):
    line = {"sku": "a", "qty": 1}
    assert await (await kit.start(in_structs)).result() == [{"line": line, "more": [line]}]


async def test_the_declared_type_says_how_an_output_is_written_and_a_plain_value_is_taken_as_it_is(kit):
    assert await (await kit.start(declared_otherwise)).result() == [{"n": 1}]
    assert await (await kit.start(not_a_model)).result() == {"id": 2}
    with pytest.raises(headway.RunFailed, match="what JSON cannot say"):
        await (await kit.start(not_a_number)).result()


def test_a_client_sends_models_and_gives_the_type_that_is_asked_for():
    done = samples.run(state="succeeded", final=True, output=[{"sku": "a", "qty": 1}])
    with serving(lambda _: Answer(202, done)) as fake, Client(fake.url) as client:
        run = client.runs.start("take", of=Order(id=2, lines=[A_LINE]), url=pydantic.HttpUrl("https://a.example"))
        assert run.result(type=list[Line]) == [A_LINE]
        assert run.result(type=pydantic.TypeAdapter(list[Line])) == [A_LINE]
        with pytest.raises(msgspec.ValidationError, match="/0/bark: Field required"):
            run.result(type=list[Dog])
    sent = fake.requests[0].json()["input"]
    assert sent["of"] == {"id": 2, "lines": [{"sku": "a", "qty": 1}], "when": None, "size": 1}
    assert sent["url"] == "https://a.example/"


def test_the_output_schema_is_that_of_what_is_written():
    schema = msgspec.json.decode(app.tasks["take"].declaration.output_schema)
    assert "size" in schema["required"]
    assert "size" not in msgspec.json.decode(app.tasks["take"].declaration.input_schema)["$defs"]["Order"]["properties"]


NAMES = "headway.testing, headway.client.sync.client, headway.client.aio.client, headway.worker.worker, headway.serving.serve"


def test_headway_does_not_import_pydantic():
    code = (
        f"import sys, headway, {NAMES}\n"
        "app = headway.App()\n"
        "@app.task\n"
        "async def greet(who: str) -> str: return who\n"
        "app.tasks['greet'].declaration\n"
        "from headway.worker.context.payload import to_json\n"
        "try: to_json(object())\n"
        "except ValueError: pass\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('pydantic', 'pydantic_core', 'annotated_types')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_service_takes_the_schema_of_every_type_and_the_input_that_fits_it():
    whole = App()
    for number, (hint, _, _) in enumerate(FITS):

        async def work(of): ...

        work.__annotations__ = {"of": hint}
        whole.task(name=f"t{number}")(work)

    async def go():
        async with headway.testing.service(whole) as kit:
            runs = [await kit.start(f"t{n}", of=msgspec.json.decode(text)) for n, (_, text, _) in enumerate(FITS)]
            return {await run.state() for run in runs}

    assert asyncio.run(go()) == {"succeeded"}

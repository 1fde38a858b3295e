"""Callables that may be tasks: functions under decorators, in factories, bound, partial; others are refused at once."""

import asyncio
import decimal
import functools
import inspect
import sys
import textwrap
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, Optional, Required, TypedDict, Unpack

import msgspec
import pytest
from msgspec import Raw

import headway
import headway.testing
from headway.worker.context.interrupts import Fail
from headway.worker.declaration.app import App
from headway.worker.declaration.loading import AppNotLoaded, load_app

if TYPE_CHECKING:
    from nowhere import Nothing


def declared(function, **options):
    return App().task(**options)(function)


def schema_of(task):
    return msgspec.json.decode(task.declaration.input_schema)


def bound(task, /, **given):
    return task.signature.bind(Raw(msgspec.json.encode(given)))


def ran(function, /, **given):
    """Return what a run of it returns, as the worker executes it."""

    async def go():
        app = App()
        task = app.task(name="it")(function)
        async with headway.testing.service(app) as kit:
            return await (await kit.start(task, input=given)).result()

    return asyncio.run(go())


def logged(function):
    """A plain decorator, as most are: what it wraps may be async."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def blocking(function):
    """A plain decorator that executes an async function."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return asyncio.run(function(*args, **kwargs))

    return wrapper


def collected(function):
    """A plain decorator that makes a list of what a generator yields."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return list(function(*args, **kwargs))

    return wrapper


def gathered(function):
    """An async decorator that makes a list of what an async generator yields."""

    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return [each async for each in function(*args, **kwargs)]

    return wrapper


async def plain(who: str) -> str:
    """Greet.

    At length.
    """
    return f"hello {who}"


async def with_context(ctx: headway.Context, who: str) -> str:
    return await ctx.step("greet", lambda: f"hello {who}")


def with_sync_context(ctx: headway.SyncContext, who: str) -> str:
    return ctx.step("greet", lambda: f"hello {who}")


async def with_greeting(greeting: Any, who: str) -> str:
    return f"{greeting} {who}"


async def counting(n: int):
    for number in range(n):
        yield number


class Greeter:
    def __init__(self, greeting="hello"):
        self.greeting = greeting

    async def __call__(self, who: str) -> str:
        """Greet someone."""
        return f"{self.greeting} {who}"

    async def method(self, ctx: headway.Context, who: str) -> str:
        return f"{self.greeting} {who} {ctx.attempt}"

    @staticmethod
    async def static(who: str) -> str:
        return f"hello {who}"

    @classmethod
    async def by_class(cls, who: str) -> str:
        return f"{cls.__name__} {who}"


class PlainGreeter:
    def __call__(self, who: str) -> str:
        return f"hello {who}"


TASKS = {
    "an async function": (plain, True, "hello x"),
    "under a plain decorator": (logged(plain), True, "hello x"),
    "under two": (logged(logged(plain)), True, "hello x"),
    "with a context under one": (logged(with_context), True, "hello x"),
    "a plain one with a context under one": (logged(with_sync_context), False, "hello x"),
    "an object whose __call__ is async": (Greeter(), True, "hello x"),
    "an object whose __call__ is plain": (PlainGreeter(), False, "hello x"),
    "a bound method": (Greeter("hi").method, True, "hi x 1"),
    "a static method": (Greeter.static, True, "hello x"),
    "a static method as it stands in the class": (Greeter.__dict__["static"], True, "hello x"),
    "a class method": (Greeter.by_class, True, "Greeter x"),
    "a partial with a bound argument": (functools.partial(with_greeting, object.__name__), True, "object x"),
    "a partial with a named one": (functools.partial(with_greeting, greeting="hi"), True, "hi x"),
    "a partial under a decorator": (logged(functools.partial(plain)), True, "hello x"),
    "a task of another app": (declared(plain), True, "hello x"),
}


@pytest.mark.parametrize(("function", "is_async", "result"), TASKS.values(), ids=TASKS.keys())
def test_what_can_be_called_with_named_arguments_can_be_a_task(function, is_async, result):
    task = declared(function, name="it")
    assert task.is_async is is_async
    assert task.executor == ("inline" if is_async else "thread")
    assert schema_of(task)["required"] == ["who"]
    assert list(schema_of(task)["properties"]) == ["who"]
    assert ran(function, who="x") == result


def test_a_plain_decorator_that_executes_an_async_function_says_so_by_the_plain_context():
    async def work(ctx: headway.SyncContext, who: str) -> str:
        return f"hello {who} {ctx.attempt}"

    assert ran(blocking(work), who="x") == "hello x 1"


def test_decorators_that_collect_a_generator_make_a_task_of_it():
    def numbers(n: int):
        yield from range(n)

    assert ran(collected(numbers), n=3) == [0, 1, 2]
    assert ran(gathered(counting), n=3) == [0, 1, 2]


@pytest.mark.parametrize(
    "function",
    [
        counting,
        logged(counting),
        functools.partial(counting),
        type("Counting", (), {"__call__": lambda self, n: counting(n), "__wrapped__": counting})(),
    ],
    ids=["bare", "wrapped", "partial", "object"],
)
def test_an_async_generator_is_refused_under_whatever_it_stands(function):
    with pytest.raises(TypeError, match="a generator cannot be a task"):
        declared(function, name="it")


def test_names_and_descriptions_are_those_of_the_function_beneath():
    assert declared(functools.partial(plain)).name == "plain"
    assert declared(functools.partial(plain)).declaration.description == "Greet."
    assert declared(logged(plain)).declaration.description == "Greet."
    assert declared(Greeter()).name == "Greeter"
    assert declared(Greeter.by_class).name == "by_class"


def test_a_task_may_have_a_title_for_people():
    app = App()
    assert app.task(title="Daily e-mail report")(plain).declaration.title == "Daily e-mail report"
    assert app.task(name="other")(plain).declaration.title == ""
    with pytest.raises(TypeError, match="title"):
        app.task(name="third", title="x" * 1001)(plain)


def test_options_count_in_a_direct_call_as_in_a_decorator():
    options = {"name": "part", "timeout": "5s", "retry": headway.Retry(max_attempts=7), "queue": "slow"}
    app = App()
    task = app.task(plain, **options)
    assert app.tasks["part"] is task
    assert task.declaration == App().task(**options)(plain).declaration
    with pytest.raises(TypeError, match=r"@app.task: .*timout"):
        app.task(plain, timout="5s")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry": 3}, "retry= takes a headway.Retry, not 3"),
        ({"retry": None}, "retry= takes a headway.Retry, not None"),
        ({"rate": "1/10s"}, "rate= takes a headway.Rate, not '1/10s'"),
        ({"rate_per_key": 1}, "rate_per_key= takes a headway.Rate, not 1"),
        ({"retention": "30d"}, "retention= takes a headway.Retention, not '30d'"),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused_with_the_kind_that_it_takes(options, said):
    with pytest.raises(TypeError, match=f"@app.task: {said}"):
        App().task(**options)


def test_a_context_that_is_not_first_is_refused_with_where_it_stands():
    def late(x, ctx: headway.SyncContext): ...

    with pytest.raises(TypeError, match="task late: ctx: the context must be the first parameter"):
        App().task(late)


@dataclass
class Price:
    amount: decimal.Decimal


class Part(msgspec.Struct):
    price: Price


def priced(d: decimal.Decimal, part: Part, several: list[decimal.Decimal], either: decimal.Decimal | int) -> str:
    return f"{d} {part.price.amount} {several[0]} {either}"


def test_decimals_of_the_caller_keep_their_digits():
    d = decimal.Decimal("1.10")
    assert ran(priced, d=d, part=Part(Price(d)), several=[d], either=d) == "1.10 1.10 1.10 1.10"
    assert ran(priced, d=d, part=Part(Price(d)), several=[d], either=3) == "1.10 1.10 1.10 3"


def test_what_a_partial_fills_is_no_input():
    task = declared(functools.partial(with_greeting, greeting=object()))
    with pytest.raises(Fail, match="unknown field `greeting`"):
        bound(task, who="x", greeting="other")


class Unbound:
    async def method(self, who: str) -> str: ...


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("greet", r"a name is given as @app.task\(name='greet'\)"),
        (None, "NoneType cannot be called"),
        (3, "int cannot be called"),
        (Greeter, "a class cannot be a task"),
        (Greeter.__dict__["by_class"], "declared once the class is there"),
        (Unbound.method, "app.task\\(thing.method\\)"),
        (dict.fromkeys, "it has no signature|cannot be filled"),
        (lambda *args, **kwargs: None, "functools.wraps"),
    ],
)
def test_what_cannot_be_a_task_is_refused_with_what_to_write(given, said):
    with pytest.raises(TypeError, match=said):
        App()._add(given, headway.worker.declaration.options.TaskOptions(name="it"))


def test_a_task_made_in_a_factory_may_name_itself_and_what_is_defined_below():
    def factory():
        app = App()

        @app.task
        async def first(ctx: headway.Context, left: int) -> int:
            if left:
                return await (await ctx.start(first, left=left - 1)).result()
            return await (await ctx.start(second, of=Below(7))).result()

        @app.task
        async def second(of: "Below") -> int:
            return of.number

        @dataclass
        class Below:
            number: int

        return app

    async def go(app):
        async with headway.testing.service(app) as kit:
            return await (await kit.start("first", left=2)).result()

    app = factory()
    assert asyncio.run(go(app)) == 7
    assert schema_of(app.tasks["second"])["$defs"]["Below"]["required"] == ["number"]


def test_text_annotations_name_what_is_local_to_a_factory():
    source = """
        from __future__ import annotations
        import msgspec
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from nowhere import Context, Nothing

        def outer(app):
            class Outer(msgspec.Struct):
                x: int

            def inner():
                class Inner(msgspec.Struct):
                    y: int

                @app.task
                async def work(ctx: Context, a: Outer, b: Inner, c: Later) -> None: ...

            inner()

        class Later(msgspec.Struct):
            z: int
    """
    app = App()
    exec_module(source)["outer"](app)
    assert bound(app.tasks["work"], a={"x": 1}, b={"y": 2}, c={"z": 3})["c"].z == 3


def exec_module(source, name="made_here"):
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(textwrap.dedent(source), f"/{name}.py", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def test_a_declaration_holds_no_frame_once_it_is_whole():
    class Big:
        pass

    def factory():
        big = Big()

        async def work(n: int) -> None: ...

        return App().task(work), type(big)

    task, _ = factory()
    assert task._unfinished is None


def test_a_type_defined_further_below_is_found_when_the_app_is_used():
    app = App()

    @app.task
    async def early(of: "DefinedBelow", more: Optional["DefinedBelow"] = None) -> "DefinedBelow": ...

    assert bound(app.tasks["early"], of={"x": 1})["of"] == DefinedBelow(1)
    assert app.tasks["early"].declaration.output_schema is not None


def test_a_task_with_a_schedule_may_name_what_is_defined_further_below_too():
    app = App()

    @app.schedule("daily", input={"of": {"x": 1}})
    @app.task
    async def early(of: "DefinedLater") -> None: ...  # noqa: F821

    assert list(app.schedules) == ["early"]
    scope = early.function.__globals__
    scope["DefinedLater"] = DefinedBelow
    try:
        assert bound(app.tasks["early"], of={"x": 1})["of"] == DefinedBelow(1)
    finally:
        del scope["DefinedLater"]


@dataclass
class DefinedBelow:
    x: int


def test_a_type_that_is_nowhere_is_refused_when_the_app_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "typo.py").write_text(
        "import headway\napp = headway.App()\n@app.task\nasync def work(of: 'Ordr') -> None: ...\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AppNotLoaded, match="task work: an annotation cannot be resolved: name 'Ordr' is not defined"):
        load_app("typo.py")


def test_a_return_type_for_type_checkers_only_costs_the_schema_of_the_output_only():
    async def work(n: int) -> "Nothing": ...

    app = App()
    app.task(work)
    assert app.tasks["work"].signature.output_schema is None


@pytest.mark.parametrize(
    "hint",
    [
        "headway.Context",
        "nowhere.Context",
        "headway.Context | headway.SyncContext",
        headway.Context,
        "Optional[headway.Context]",
    ],
)
def test_the_context_is_known_by_its_type_under_any_name(hint):
    async def work(c, n: int): ...

    work.__annotations__["c"] = hint
    assert declared(work).takes_context


class Options(TypedDict, total=False):
    level: Required[int]
    folder: str
    tags: list[str]


class More(Options):
    owner: NotRequired[str | None]


def test_keyword_arguments_of_a_typed_dict_are_inputs_each():
    async def backup(to: str, **options: Unpack[More]) -> None: ...

    task = declared(backup)
    schema = schema_of(task)
    assert list(schema["properties"]) == ["to", "level", "folder", "tags", "owner"]
    assert schema["required"] == ["to", "level"]
    assert schema["additionalProperties"] is False
    assert bound(task, to="x", level=1, tags=["a"]) == {"to": "x", "level": 1, "tags": ["a"]}
    for wrong in ({"to": "x"}, {"to": "x", "level": "1"}, {"to": "x", "level": 1, "colour": "red"}):
        with pytest.raises(Fail):
            bound(task, **wrong)


def test_unpack_takes_a_typed_dict_only():
    async def work(**options: Unpack[dict]) -> None: ...

    with pytest.raises(TypeError, match="Unpack takes a TypedDict"):
        declared(work)


NAMES = [
    "__x",
    "_x",
    "__x__",
    "größe",
    "self",
    "cls",
    "class_",
    "input",
    "name",
    "task",
    "p0",
    "__struct_fields__",
    "p1",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_may_have_any_name(name):
    scope = {}
    exec(f"async def work({name}: int, p0_: str = 'd') -> dict:\n    return {{'got': {name}}}", scope)
    task = declared(scope["work"])
    assert list(schema_of(task)["properties"]) == [name, "p0_"]
    assert bound(task, **{name: 3}) == {name: 3, "p0_": "d"}
    with pytest.raises(Fail, match=name):
        bound(task, **{name: "x"})
    assert ran(scope["work"], **{name: 3}) == {"got": 3}


def test_a_default_that_is_a_field_of_a_class_is_refused():
    import dataclasses

    for default in (dataclasses.field(default_factory=list), msgspec.field(default_factory=list)):

        async def work(n: list = default) -> None: ...

        with pytest.raises(TypeError, match="write the default itself"):
            declared(work)


def test_a_task_has_the_attributes_of_its_function():
    async def work(n: int) -> None: ...

    work.call = "the function's own"
    work.colour = "red"
    task = declared(work)
    assert task.colour == "red"
    assert callable(task.call)
    assert inspect.signature(task) == inspect.signature(work)
    with pytest.raises(AttributeError):
        _ = task.size


def uncoloured(function):
    def wrapper(who: str):
        return function(who)

    return wrapper


def test_a_coroutine_or_generator_that_nobody_asked_for_fails_with_what_to_do():
    with pytest.raises(headway.RunFailed, match="nobody has awaited; declare the function with `async def`"):
        ran(uncoloured(plain), who="x")

    def rows(who: str):
        return (each for each in who)

    with pytest.raises(headway.RunFailed, match="a generator; make a list of it"):
        ran(rows, who="x")

    def steps(ctx: headway.SyncContext, who: str):
        return ctx.step("greet", plain, who)

    with pytest.raises(headway.RunFailed, match="nobody has awaited"):
        asyncio.run(failed_in_kit(steps))


async def failed_in_kit(function):
    app = App()
    task = app.task(name="it", retry=headway.Retry(max_attempts=1))(function)
    async with headway.testing.service(app) as kit:
        return await (await kit.start(task, who="x")).result()


def test_a_decorator_may_answer_without_calling_the_async_function_beneath():
    def cached(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return "cached"

        return wrapper

    assert ran(cached(plain), who="x") == "cached"

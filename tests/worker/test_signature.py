"""A function's signature is the schema of its input, and is checked when it is declared."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from headway.worker.context.interrupts import Fail
from headway.worker.declaration.app import App
from headway.worker.declaration.options import Rate, Retention, Retry


class Address(msgspec.Struct):
    city: str
    zip: str = ""


async def backup(ctx, folder: str, level: int = 6, to: Address | None = None) -> dict:
    """Back a folder up.

    And more.
    """


def schema_of(function, **options):
    return msgspec.json.decode(App().task(**options)(function).declaration.input_schema)


def bind(function, text):
    return App().task()(function).signature.bind(Raw(text))


def test_the_schema_says_what_the_signature_says():
    schema = schema_of(backup)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    assert schema["required"] == ["folder"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["level"] == {"type": "integer", "default": 6}
    assert schema["$defs"]["Address"]["required"] == ["city"]
    assert "ctx" not in schema["properties"]


def test_the_description_is_the_first_paragraph_of_the_docstring():
    task = App().task(backup)
    assert task.declaration.description == "Back a folder up."
    assert task.declaration.executor == "inline"
    assert msgspec.json.decode(task.declaration.output_schema)["type"] == "object"


def test_input_is_decoded_into_the_annotated_types():
    assert bind(backup, b'{"folder": "/srv", "to": {"city": "Lund"}}') == {
        "folder": "/srv",
        "level": 6,
        "to": Address("Lund"),
    }


@pytest.mark.parametrize("text", [b"{}", b'{"folder": 1}', b'{"folder": "/", "levl": 1}', b"[]", b"not json"])
def test_input_that_does_not_fit_is_a_final_failure(text):
    with pytest.raises(Fail) as caught:
        bind(backup, text)
    assert caught.value.code == "invalid_input"


def test_keyword_arguments_take_what_is_not_named():
    async def loose(a: int, **rest: Any) -> None: ...

    assert bind(loose, b'{"a": 1, "b": [2]}') == {"a": 1, "b": [2]}
    assert schema_of(loose).get("additionalProperties", True) is True


def test_a_default_that_can_change_is_not_shared():
    async def collect(into: list[int] = [1]) -> None: ...  # noqa: B006

    first = bind(collect, b"{}")["into"]
    first.append(2)
    assert bind(collect, b"{}") == {"into": [1]}


def test_the_context_may_be_missing_or_named_by_its_type_only():
    async def without(n: int) -> None: ...
    async def typed(c: "headway.Context", n: int) -> None: ...  # noqa: F821

    assert App().task(without).takes_context is False
    assert App().task(typed).takes_context is True


def test_a_declared_function_is_still_a_function():
    app = App()

    @app.task(name="math.double", retry=Retry(max_attempts=5, do_not_retry=(ValueError, "Odd")), rate=Rate(100, "1m"))
    def double(n: int) -> int:
        return 2 * n

    assert double(21) == 42
    assert app.tasks["math.double"] is double
    assert double.declaration.executor == "thread"
    assert double.declaration.retry.do_not_retry == ["ValueError", "Odd"]
    assert double.declaration.rate.period == "1m"


def positional(a, /): ...
def star(*args): ...
def no_json(a: Path): ...
def generator():
    yield


@pytest.mark.parametrize("function", [positional, star, no_json, generator])
def test_what_cannot_work_is_refused_when_it_is_declared(function):
    with pytest.raises(TypeError, match=function.__name__):
        App().task(function)


@pytest.mark.parametrize(
    "options",
    [
        {"executor": "cloud"}, {"timeout": "soon"}, {"priority": 11}, {"colour": "red"}, {"memory_limit": "1GiB"},
        {"memory_limit": "much", "executor": "process"}, {"retention": Retention(failed="x")}, {"rate": Rate(0, "1m")},
        {"concurrency": 0}, {"name": "a\nb"}, {"resources": {"num_cpus": 1}}, {"executor": "ray", "resources": {"GPU": 1}},
    ],
)  # fmt: skip
def test_wrong_options_are_refused_when_they_are_declared(options):
    with pytest.raises(TypeError):
        App().task(**options)(backup)


def test_a_name_is_declared_once():
    app = App()
    app.task(backup)
    with pytest.raises(TypeError, match="twice"):
        app.task(backup)

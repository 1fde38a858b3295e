"""Schemas and inputs that cost much to check: refused or checked aside, while the server answers everybody else."""

import json
import random
import threading
import time

import pytest
from tests.faults.server import Server

ALIVE_S = 3.0
"""How long anybody else waits at most, on a machine that has other things to do as well."""


def chain(length):
    """Each of these applies the next one twice: 2 to the power of `length` checks of one value."""
    definitions = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{length}": {"type": "object"}}}


def alternatives(number):
    return [
        {"type": "object", "properties": {f"p{i}": {"type": "string"}}, "required": [f"p{i}"]} for i in range(number)
    ]


AB = "".join(random.Random(1).choices("ab", k=900_000))
TERM = {"anyOf": [{"$ref": "#/$defs/sum"}, {"$ref": "#/$defs/product"}, {"type": "number"}]}
SUM, PRODUCT = (
    {"type": "object", "required": ["x", kind], "properties": {"x": {"$ref": "#/$defs/term"}, kind: {}}}
    for kind in ("sum", "product")
)


def nested(depth):
    value = "?"
    for _ in range(depth):
        value = {"x": value}
    return value


PLANTED = {
    "a list of integers for one of texts": ({"type": "array", "items": {"type": "string"}}, [[1] * 500_000, [1]]),
    "alternatives": ({"type": "array", "items": {"anyOf": alternatives(300)}}, [[1] * 7_000, [{}] * 60_000]),
    "a pattern": ({"items": {"pattern": "[ab]*a[ab]{2000}c"}}, [[AB], [AB[i : i + 90_000] for i in range(10)]]),
    "nested terms": (
        {"$ref": "#/$defs/term", "$defs": {"term": TERM, "sum": SUM, "product": PRODUCT}},
        [nested(20), nested(98)],
    ),
    "lists to compare with": (
        {"items": {"anyOf": [{"enum": [[1] * 50 + [i] for i in range(10)]}] * 15}},
        [[[1] * 50 + [99]] * 6_000],
    ),
    "errors within errors": (
        {
            "$ref": "#/$defs/d0",
            "$defs": {
                **{f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"const": 1}]} for i in range(40)},
                "d40": {"type": "array", "items": {"$ref": "#"}},
            },
        },
        [json.loads("[" * 99 + '"s"' + "]" * 99)],
    ),
}


class Watch(threading.Thread):
    """Somebody else, who asks whether the server lives and starts runs, again and again."""

    def __init__(self, deployment):
        super().__init__()
        self._http = deployment.connect(60)
        self._over = threading.Event()
        self.longest_s = 0.0
        self.statuses = set()

    def run(self):
        while not self._over.is_set():
            for method, path, body in (("GET", "/livez", None), ("POST", "/v1/runs", b'{"task":"plain"}')):
                began = time.monotonic()
                self.statuses.add(self._http.request(method, path, body).status)
                self.longest_s = max(self.longest_s, time.monotonic() - began)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()


def declare(server, **schemas):
    tasks = [{"name": name, "input_schema": schema} for name, schema in schemas.items()]
    return server.call("POST", "/v1/workers", {"tasks": tasks})


@pytest.fixture
def server(deployment):
    server = Server(deployment).start()
    assert declare(server, plain={"type": "object"}).status == 201
    return server


@pytest.mark.parametrize("attack", PLANTED)
def test_an_input_that_costs_much_to_check_holds_nobody_else_up(server, attack):
    schema, inputs = PLANTED[attack]
    assert declare(server, planted=schema).status == 201
    with Watch(server.deployment) as watch:
        for given in inputs:
            answer = server.call("POST", "/v1/runs", {"task": "planted", "input": given})
            assert answer.status == 422, answer.body[:300]
            assert len(answer.body) < 20_000
            assert 1 <= len(json.loads(answer.body)["errors"]) <= 20
    assert watch.statuses == {200, 202}
    assert watch.longest_s < ALIVE_S


def test_a_schema_that_multiplies_within_itself_is_refused_where_it_is_declared(server):
    with Watch(server.deployment) as watch:
        answer = declare(server, planted=chain(28))
        assert answer.status == 422
        problem = json.loads(answer.body)
        assert problem["code"] == "schema_too_costly"
        assert problem["errors"][0]["pointer"].startswith("/tasks/planted/input_schema/$defs/d")
        assert server.call("GET", "/v1/tasks/planted").status == 404
        assert server.call("POST", "/v1/runs", {"task": "planted"}).status == 422
    assert watch.longest_s < ALIVE_S

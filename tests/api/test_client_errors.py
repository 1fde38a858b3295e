"""Each method of the client names the codes of the errors that its route declares; the class of the client has the rest."""

import inspect
import json
import re
from collections.abc import Iterable
from contextlib import suppress

import msgspec
import pytest
from tests.client import samples

from headway import Client, RunHandle
from headway.client.servers import Servers
from headway.client.sync.caller import Caller
from headway.client.sync.pace import Pace
from headway.client.transport import Response
from headway.protocol.runs import RunOut
from headway.server import ROUTES
from headway.web import openapi
from headway.web.router import Router

GENERAL = {
    *openapi.EVERYWHERE, *openapi.WITH_BODY, "unauthenticated", "forbidden", "too_many_requests",
    "connection_lost", "unexpected_answer", "idempotency_key_reused",
}  # fmt: skip
"""Errors that every request can have."""


class Sent(BaseException):
    """Ends a call at its request."""


class Recorder:
    """A transport that notes the routes of requests; only an upload is answered, so that the import that follows is seen."""

    def __init__(self):
        self.routes = []

    def request(self, method, path, *_args, **_options):
        endpoint, _ = Router(ROUTES).find(method, path.partition("?")[0].encode())
        route = endpoint.route
        self.routes.append(route)
        if route.path == "/v1/files":
            return Response(200, {}, json.dumps(FILE).encode())
        raise Sent

    def stream(self, path, **_options):
        self.request("GET", path)


FILE = {
    "id": samples.ID, "name": "a.csv", "kind": "text/csv", "bytes": 0, "sha256": None, "run_id": None,
    "created_at": "", "expires_at": "", "url": "",
}  # fmt: skip
ARGUMENTS = {
    "items": [{"task": "backup"}], "atomic": True, "content": b"", "filter": {}, "records": [], "changes": [], "ids": [],
    "fields": [], "actions": [], "values": {}, "first": "2026-01-01T00:00:00Z", "last": "2026-01-02T00:00:00Z",
}  # fmt: skip


def owners(transport):
    """Return the client, each of its nouns and a handle, which all ask the transport."""
    client = Client(key="hw_")
    client._caller = caller = Caller(Servers([transport]), retries=0, pace=Pace())
    nouns = {name: type(noun)(caller) for name, noun in vars(client).items() if not name.startswith("_")}
    run = msgspec.json.decode(json.dumps(samples.run()), type=RunOut)
    return {"client": client, **nouns, "handle": RunHandle(caller, run)}


METHODS = [
    pytest.param(noun, name, method, id=f"{noun}.{name}")
    for noun, owner in owners(Recorder()).items()
    for name, method in inspect.getmembers(type(owner), inspect.isfunction)
    if not name.startswith("_") and (noun, name) != ("client", "close")
]


def routes_of(noun, name):
    """Call the method and return the routes that it asks for."""
    recorder = Recorder()
    method = getattr(owners(recorder)[noun], name)
    required = [
        it
        for it in inspect.signature(method).parameters.values()
        if it.default is it.empty and it.kind != it.VAR_KEYWORD
    ]
    values = {it.name: ARGUMENTS.get(it.name, samples.ID) for it in required}
    by_name = {it.name: values.pop(it.name) for it in required if it.kind == it.KEYWORD_ONLY}
    with suppress(Sent):
        answer = method(*values.values(), **by_name)
        [*answer] if isinstance(answer, Iterable) else None
    assert recorder.routes
    return recorder.routes


def codes_in(text):
    return set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", text))


@pytest.mark.parametrize(("noun", "name", "method"), METHODS)
def test_a_method_names_the_errors_of_its_route(noun, name, method):
    declared = {code for route in routes_of(noun, name) for code in route.problems}
    missing = declared - GENERAL - codes_in(method.__doc__)
    assert not missing, f"its docstring has to name {', '.join(f'`{code}`' for code in sorted(missing))}"


def test_the_client_names_the_errors_of_every_request():
    assert codes_in(Client.__doc__) >= GENERAL

"""client.keys, client.users, client.organisations, client.audit: what they send, and where a client's own key comes from."""

import pytest
from tests.client.server import Answer, script, serving

from headway.client import credential
from headway.client.sync.client import Client
from headway.errors import BadParameter, Forbidden, Unauthenticated

KEY = {
    "id": "k1", "organisation": "o", "user_id": None, "name": "ci", "scopes": ["run:read"], "queues": None,
    "per_minute": None, "per_day": None, "state": "active", "secrets": [], "created_at": "2026-11-22T01:00:00.000Z",
    "expires_at": None, "revoked_at": None, "last_used_at": None, "url": "/v1/keys/k1", "key": "hw_k1_s", "later": 1,
}  # fmt: skip
USER = {"id": "u1", "organisation": "o", "name": "Ada", "email": "", "state": "active", "url": "/v1/users/u1",
        "created_at": "2026-11-22T01:00:00.000Z", "updated_at": "2026-11-22T01:00:00.000Z"}  # fmt: skip
ORGANISATION = {"id": "o1", "name": "Shop", "zone": "UTC", "per_minute": None, "per_day": None, "state": "active",
                "created_at": "2026-11-22T01:00:00.000Z", "url": "/v1/organisations/o1"}  # fmt: skip
LOG = {"data": [], "next_after": 7, "has_more": False}


def asked(answer, call):
    """Return (method, path, body) of what a call sends."""
    with serving(lambda _: Answer(200, answer)) as fake, Client(fake.url) as client:
        call(client)
    (request,) = fake.requests
    return request.method, request.path, request.json() if request.body else None


@pytest.mark.parametrize(("answer", "call", "sent"), [
    (KEY, lambda c: c.keys.get("k1"), ("GET", "/v1/keys/k1", None)),
    ({"data": [KEY]}, lambda c: c.keys.list(), ("GET", "/v1/keys", None)),
    (KEY, lambda c: c.keys.update("k1", per_day=5), ("PATCH", "/v1/keys/k1", {"per_day": 5})),
    (KEY, lambda c: c.keys.rotate("k1", overlap="1h"), ("POST", "/v1/keys/k1:rotate", {"overlap": "1h"})),
    (KEY, lambda c: c.keys.revoke("k1"), ("POST", "/v1/keys/k1:revoke", {})),
    (USER, lambda c: c.users.create("Ada"), ("POST", "/v1/users", {"name": "Ada", "email": ""})),
    (USER, lambda c: c.users.get("u1"), ("GET", "/v1/users/u1", None)),
    (USER, lambda c: c.users.update("u1", state="disabled"), ("PATCH", "/v1/users/u1", {"state": "disabled"})),
    ({"data": [USER]}, lambda c: c.users.list(), ("GET", "/v1/users", None)),
    (ORGANISATION, lambda c: c.organisations.get("o1"), ("GET", "/v1/organisations/o1", None)),
    ({"data": [ORGANISATION]}, lambda c: c.organisations.list(), ("GET", "/v1/organisations", None)),
    (ORGANISATION, lambda c: c.organisations.update("o1", name="x"), ("PATCH", "/v1/organisations/o1", {"name": "x"})),
    (LOG, lambda c: c.audit.page(after=3, action="key.create"),
     ("GET", "/v1/audit-events?after=3&page_size=50&action=key.create", None)),
])  # fmt: skip
def test_each_verb_asks_its_route(answer, call, sent):
    assert asked(answer, call) == sent


def test_a_key_is_made_with_what_was_said_and_its_text_is_there():
    method, path, body = asked(KEY, lambda c: c.keys.create("ci", scopes=("run:read",), queues=["a"], expires_in="90d"))
    assert (method, path) == ("POST", "/v1/keys")
    assert {name: value for name, value in body.items() if value is not None} == {
        "name": "ci", "scopes": ["run:read"], "queues": ["a"], "expires_in": "90d",
    }  # fmt: skip
    with serving(lambda _: Answer(201, KEY)) as fake, Client(fake.url) as client:
        assert client.keys.create("ci").key == "hw_k1_s"


def test_the_key_that_is_given_goes_before_that_of_the_environment(monkeypatch, tmp_path):
    file = tmp_path / "key"
    file.write_text("from-file\n")
    monkeypatch.setenv("HEADWAY_KEY_FILE", str(file))
    assert credential.key() == "from-file"
    monkeypatch.setenv("HEADWAY_KEY", "from-environment")
    assert [credential.key(), credential.key("given"), credential.key(file=str(file))] == [
        "from-environment", "given", "from-file",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["two words", "ends\nhere", "ä"])
def test_what_would_break_a_header_is_no_key(text):
    with pytest.raises(BadParameter):
        credential.key(text)


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(401, "unauthenticated", Unauthenticated), (403, "forbidden", Forbidden)]
)
def test_what_the_gate_refuses_is_raised_and_not_tried_again(status, code, kind):
    refused = Answer(status, {"code": code, "detail": "no", "status": status})
    with serving(script(refused)) as fake, Client(fake.url) as client, pytest.raises(kind):
        client.tasks.list()
    assert len(fake.requests) == 1

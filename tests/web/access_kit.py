"""A server that asks for keys: two organisations, keys of every kind, and whatever each of them has."""

from __future__ import annotations

from dataclasses import dataclass

from headway.kernel.authority import GRANTABLE, OPERATING
from headway.protocol import keytext

ALL = [str(scope) for scope in GRANTABLE]
OURS = [str(scope) for scope in GRANTABLE if scope not in OPERATING]

ELSEWHERE = [
    {"peer": "10.0.0.9"}, {"peer": "::ffff:10.0.0.9"}, {"peer": ""}, {"host": "headway.lan"}, {"host": "headway.lan:8006"},
    {"x_forwarded_for": "127.0.0.1"}, {"x_forwarded_proto": "https"}, {"x_forwarded_host": "localhost"},
    {"forwarded": "for=127.0.0.1"}, {"x_real_ip": "127.0.0.1"}, {"via": "1.1 proxy"}, {"cf_connecting_ip": "10.0.0.9"},
]  # fmt: skip
"""Requests that are not those of programs on this machine, or that say themselves that they are handed on."""


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@dataclass
class OrganisationWithKey:
    """An organisation with a key that may everything in it."""

    id: str
    key: str
    headers: dict[str, str]

    @property
    def key_id(self):
        return keytext.read(self.key).id


async def first_key(server, **fields) -> OrganisationWithKey:
    """The key that locks the door."""
    made = await server.post("/v1/keys", {"name": "operator", "scopes": ALL, **fields})
    assert made.status == 201, made.body
    return OrganisationWithKey(made.json["organisation"], made.json["key"], bearer(made.json["key"]))


async def second(server, operator, **limits) -> OrganisationWithKey:
    """Another organisation."""
    one = await server.post("/v1/organisations", {"name": "Shop", **limits}, **operator.headers)
    assert one.status == 201, one.body
    asked = {"name": "owner", "scopes": OURS, "organisation": one.json["id"]}
    made = await server.post("/v1/keys", asked, **operator.headers)
    assert made.status == 201, made.body
    return OrganisationWithKey(one.json["id"], made.json["key"], bearer(made.json["key"]))


async def key_of(server, party, **fields):
    """Another key of the party, as its document."""
    made = await server.post("/v1/keys", {"name": "k", **fields}, **party.headers)
    assert made.status == 201, made.body
    return made.json

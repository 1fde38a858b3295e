"""Handlers for servers: the list of servers that share the store."""

from __future__ import annotations

from typing import Final

from headway.protocol.times import to_text
from headway.protocol.workers import PeerList, PeerOut
from headway.web.call import Call
from headway.web.reply import Reply, json
from headway.web.route import Route, route


async def list_servers(call: Call) -> Reply:
    """GET /v1/servers: the servers that share the store, with the time of the last heartbeat. `this` is the answering one."""
    peers = call.server.service.store.peers
    mine = "" if peers is None else peers.server_id
    shown = [
        PeerOut(
            id=server.id,
            host=server.host,
            pid=server.pid,
            version=server.version,
            this=server.id == mine,
            created_at=to_text(server.created_at),
            heard_at=to_text(server.heard_at),
        )
        for server in await call.server.service.servers.list()
    ]
    return json(PeerList(data=shown))


ROUTES: Final[tuple[Route, ...]] = (
    route("GET", "/v1/servers", list_servers, "server:read", "List the servers that share the store.", gives=PeerList),
)

"""The access log: one line for each request, when its answer has left; only if the settings ask for it.

It holds no secrets: a query is left out, and where a path is a capability its pattern stands in its place.
"""

from __future__ import annotations

import logging

from headway.web.route import Route

log = logging.getLogger("headway.access")


def note(
    method: str, path: str, status: int, seconds: float, client: str, request_id: bytes, route: Route | None = None
) -> None:
    """Log a request; status 0 stands for a client that left before the answer."""
    if route is not None and route.scope == "token":
        path = route.path
    fields = {
        "method": method, "path": path[:500], "status": status, "ms": round(seconds * 1000, 1), "client": client,
        "request_id": request_id.decode("latin-1"),
    }  # fmt: skip
    text = "http.access method=%s path=%r status=%d ms=%.1f client=%s request_id=%s"
    log.info(text, *fields.values(), extra={"fields": fields})

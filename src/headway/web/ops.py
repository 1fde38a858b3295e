"""Handlers for the server itself: health, readiness, metrics, documents and error pages."""

from __future__ import annotations

from headway.errors import NotFound
from headway.protocol.workers import ServerOut
from headway.web import pages
from headway.web.call import Call
from headway.web.reply import HTML, TEXT, Reply, json
from headway.web.surface import NATIVE


async def livez(call: Call) -> Reply:
    """GET /livez: 200 as long as the process answers."""
    del call
    return json(ServerOut(status="ok"))


async def healthz(call: Call) -> Reply:
    """GET /healthz: the same as /livez."""
    return await livez(call)


async def readyz(call: Call) -> Reply:
    """GET /readyz: 200 if the server takes work, else 503 with the failed checks and `Retry-After`."""
    found: dict[str, str] = {}
    server = call.server
    if server.draining:
        found["server"] = "it is draining"
    if call.server.service.store.broken:
        found["store"] = "it cannot be written"
    elif call.server.service.store.full:
        found["store"] = "the disk is full: new runs are refused"
    for name, check in server.checks.items():
        wrong = await check()
        found[name] = wrong or "ok"
    ready = all(text == "ok" for text in found.values())
    checks = {"server": "ok", "store": "ok", **found}
    if ready:
        return json(ServerOut(status="ready", checks=checks))
    return json(ServerOut(status="not ready", checks=checks), 503, (b"retry-after", b"1"))


async def metrics(call: Call) -> Reply:
    """GET /metrics: the metrics in the text format of Prometheus."""
    from headway.web.metrics import CONTENT_TYPE, exposition  # noqa: PLC0415 - most servers are never scraped

    return Reply(
        200, await exposition(call.server, call.services.organisation), kind=(b"content-type", CONTENT_TYPE.encode())
    )


async def openapi(call: Call) -> Reply:
    """GET /openapi.json: the OpenAPI 3.1 document of the native API."""
    return Reply(200, call.server.documents.openapi(NATIVE))


async def openapi_of(call: Call) -> Reply:
    """GET /openapi/NAME.json: the OpenAPI 3.1 document of a surface.

    Errors: `not_found`.
    """
    name, _, kind = call.arguments["document"].rpartition(".")
    if kind != "json":
        raise NotFound("the name of a document is NAME.json")
    return Reply(200, call.server.documents.openapi(name))


async def docs(call: Call) -> Reply:
    """GET /docs: the list of all routes as HTML."""
    return Reply(200, call.server.documents.page(), (pages.POLICY,), HTML)


async def root(call: Call) -> Reply:
    """GET /: a redirect to /docs."""
    del call
    return Reply(303, b"see /docs\n", ((b"location", b"/docs"),), TEXT)


async def errors(call: Call) -> Reply:
    """GET /errors: all errors, as JSON or, for `Accept: text/html`, as HTML."""
    if call.accepts(b"text/html"):
        return Reply(200, pages.errors(), (pages.POLICY, pages.VARY), HTML)
    return json(pages.error_list(), 200, pages.VARY)


async def error(call: Call) -> Reply:
    """GET /errors/{code}: the meaning of an error, as JSON or HTML.

    Errors: `not_found`.
    """
    page = pages.error_page(call.arguments["code"])
    if call.accepts(b"text/html"):
        return Reply(200, pages.error_html(page), (pages.POLICY, pages.VARY), HTML)
    return json(page, 200, pages.VARY)

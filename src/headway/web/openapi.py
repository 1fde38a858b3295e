"""OpenAPI 3.1 document of a surface, generated from its routes."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

import msgspec

from headway.errors import HeadwayError
from headway.web.examples import BODIES
from headway.web.hostcheck import SAFE_METHODS
from headway.web.pages import group
from headway.web.problem import every_error
from headway.web.route import Route
from headway.web.surface import Mount, Surface

_REF: Final = "#/components/schemas/{name}"
_IN_PATH: Final = re.compile(r"\{(\w+)\}")
EVERYWHERE: Final = ("bad_parameter", "bad_host", "headers_too_large", "uri_too_long", "internal_error", "unavailable")
WITH_BODY: Final = (
    "malformed_json", "unknown_field", "payload_too_large", "unsupported_media_type", "invalid_input", "storage_failed",
)  # fmt: skip
_PATH_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "id": {"type": "string", "format": "uuid"},
    "key": {"type": "string", "pattern": "^[0-9a-z]{4,40}$"},
    "name": {"type": "string", "minLength": 1, "maxLength": 200},
    "token": {"type": "string", "minLength": 1},
    "code": {"type": "string", "minLength": 1},
    "schedule": {"type": "string", "minLength": 1, "maxLength": 200},
    "table": {"type": "string", "minLength": 1, "maxLength": 100},
    "field": {"type": "string", "minLength": 1, "maxLength": 100},
    "record": {"type": "string", "minLength": 1, "maxLength": 1000},
    "file": {"type": "string", "format": "uuid"},
    "app": {"type": "string", "minLength": 1, "maxLength": 100},
    "document": {"type": "string", "pattern": "^[a-z]+\\.json$"},
}
_HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "Idempotency-Key": (
        "Makes the request safe to repeat: the same key with the same body takes effect once.",
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
    ),
    "Prefer": (
        "`wait=N` waits up to N seconds for the end or a change; `respond-async` does not (RFC 7240).",
        {"type": "string"},
    ),
    "If-Match": ("The ETag that the object must still have.", {"type": "string"}),
    "If-None-Match": ("The ETag of the version that the client has.", {"type": "string"}),
    "Last-Event-ID": ("Of a stream: the id of the last event that was received.", {"type": "string"}),
}
_MEANINGS: Final = {
    200: "Done, or found.",
    201: "Made.",
    202: "Accepted and stored for good; it goes on by itself.",
    204: "Done; there is nothing to say.",
    303: "See there.",
    304: "It has not changed.",
    503: "Not now.",
}


def document(mount: Mount, version: str = "0.1.0") -> dict[str, Any]:
    """Return the document of a surface."""
    return _Document(mount.surface, mount.routes).whole(version)


class _Document:
    """Builder of the document of one surface, with the references to its schemas."""

    def __init__(self, surface: Surface, routes: tuple[Route, ...]) -> None:
        self._surface = surface
        self._routes = routes
        kinds = {kind for route in routes for kind in (route.takes, route.gives, route.gives_then) if kind is not None}
        kinds |= {route.shows.brief for route in routes if route.shows is not None}
        kinds |= {route.dialect.problem for route in routes}
        ordered = sorted(kinds, key=lambda kind: (kind.__name__, kind.__module__))
        refs, self._schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
        self._refs = dict(zip(ordered, refs, strict=True))
        """References by struct, since structs of the same name get longer names in the document."""

    def whole(self, version: str) -> dict[str, Any]:
        """Return the document."""
        paths: dict[str, dict[str, Any]] = {}
        for route in self._routes:
            paths.setdefault(route.path, {})[route.method.lower()] = self._operation(route)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": self._surface.title,
                "version": version,
                "description": self._surface.description,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "tags": [{"name": name} for name in dict.fromkeys(group(self._surface, route) for route in self._routes)],
            "paths": paths,
            "components": {
                "schemas": {name: _tidied(schema) for name, schema in sorted(self._schemas.items())},
                "securitySchemes": self._surface.schemes,
            },
        }

    def _operation(self, route: Route) -> dict[str, Any]:
        noun = group(self._surface, route)
        verb = route.operation or route.handler.__name__
        said: dict[str, Any] = {
            "operationId": f"{noun}_{verb}" if noun not in verb else verb,
            "tags": [noun],
            "summary": route.summary,
            "security": self._security(route),
            "parameters": _parameters(route),
            "responses": self._responses(route),
        }
        if description := _description(route):
            said["description"] = description
        if route.takes is not None:
            content = {"schema": self._refs[route.takes], "example": BODIES[route.name]}
            said["requestBody"] = {"required": not route.optional, "content": {"application/json": content}}
        elif route.raw:
            content = {"application/octet-stream": {"schema": {"type": "string"}}}
            said["requestBody"] = {"required": False, "content": content}  # a file may be empty
        elif route.unparsed and route.method not in SAFE_METHODS:
            anything = {kind: {"schema": {"type": "object"}} for kind in route.dialect.body_kinds}
            said["requestBody"] = {"required": False, "content": anything}
        return said

    def _security(self, route: Route) -> list[dict[str, list[str]]]:
        if route.scope in ("public", "token"):
            return []
        scopes: list[str] = [] if route.scope == "caller" else list(route.scopes)
        granted: list[list[str]] = [scopes] if route.or_scope is None else [scopes, [route.or_scope]]
        shown: list[dict[str, list[str]]] = [{}]
        for way in self._surface.ways:
            *others, last = way
            shown += [{**{name: [] for name in others}, last: needed} for needed in granted]
        return shown

    def _responses(self, route: Route) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for status in (route.status, *route.also):
            found[str(status)] = self._success(route, status)
        problem = {route.dialect.problem_kind: {"schema": self._refs[route.dialect.problem]}}
        for status, errors in sorted(self._problems(route).items()):
            meaning = "; ".join(f"`{error.code}`: {error.title}" for error in errors)
            said = found.setdefault(str(status), {"description": meaning, "content": {}})
            if str(status) in (str(route.status), *map(str, route.also)):
                said["description"] += f" Or an error: {meaning}"
            content = said.setdefault("content", {})
            for kind, shown in problem.items():
                also = content.get(kind)
                content[kind] = shown if also is None else {"schema": {"anyOf": [also["schema"], shown["schema"]]}}
        return found

    def _success(self, route: Route, status: int) -> dict[str, Any]:
        said: dict[str, Any] = {"description": _MEANINGS.get(status, "Done.")}
        named = {"description": "Names the request in the server's log.", "schema": {"type": "string"}}
        headers = {"X-Request-Id": named}
        if status == 202:  # noqa: PLR2004 - accepted
            headers["Location"] = {"description": "Where the run is.", "schema": {"type": "string"}}
        said["headers"] = headers
        if status in (204, 304):
            return said
        content: dict[str, Any] = {}
        gives = route.gives if status == route.status else route.gives_then or route.gives
        if gives is not None:
            brief = route.shows if gives is route.gives else None
            schema = self._refs[gives] if brief is None else {"anyOf": [self._refs[gives], self._refs[brief.brief]]}
            content["application/json"] = {"schema": schema}
        elif route.status != 204:  # noqa: PLR2004 - no content
            content[route.kind] = {"schema": {"type": "string"}}
        if route.streams and status == route.status:
            content["text/event-stream"] = {"schema": {"type": "string"}}
        said["content"] = content
        return said

    def _problems(self, route: Route) -> dict[int, list[type[HeadwayError]]]:
        found: dict[int, list[type[HeadwayError]]] = {}
        known = every_error()
        for code in codes_of(route):
            error = known[code]
            found.setdefault(route.dialect.status(error), []).append(error)
        return found


def _description(route: Route) -> str:
    """Return the docstring of the handler without its first paragraph, the summary, and its errors, the responses."""
    _, *paragraphs = (inspect.getdoc(route.handler) or "").split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in paragraphs if not each.startswith("Errors: "))


def codes_of(route: Route) -> tuple[str, ...]:
    """Return the codes of all errors that a route may answer with, without duplicates."""
    codes = [*EVERYWHERE, *route.problems]
    if route.takes is not None:
        codes += WITH_BODY
    if route.scope not in ("public", "token"):
        codes += ["unauthenticated", "forbidden", "too_many_requests"]
    elif route.method != "GET":
        codes.append("forbidden")
    if "Idempotency-Key" in route.headers:
        codes.append("idempotency_key_reused")
    if route.streams or route.kind == "text/event-stream":
        codes.append("draining")
    return tuple(dict.fromkeys(codes))


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name]}
        for name in _IN_PATH.findall(route.path)
    ]
    for header in route.headers:
        description, schema = _HEADERS[header]
        found.append({"name": header, "in": "header", "description": description, "schema": schema})
    if route.query is not None:
        found += _query(route.query)
    return found


def _query(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    _, schemas = msgspec.json.schema_components([kind], ref_template=_REF)
    found = []
    for name, schema in _tidied(schemas[kind.__name__])["properties"].items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": schema}
        if name == "labels":
            parameter |= {
                "name": "label.customer",
                "description": "Any label, as `label.NAME=VALUE`; `customer` stands for its name.",
                "schema": {"type": "string", "maxLength": 255},
            }
        elif schema.get("type") == "array":
            schema.pop("default", None)
            parameter |= {"style": "form", "explode": False, "schema": {**schema, "minItems": 1}}
        elif "anyOf" in schema:  # a query has no null
            (parameter["schema"],) = (option for option in schema["anyOf"] if option.get("type") != "null")
        found.append(parameter)
    return found


def _tidied(schema: Any) -> Any:
    """Add the format of times, and drop `items: false`, which only repeats the length of a tuple."""
    if isinstance(schema, dict):
        schema = {name: _tidied(value) for name, value in schema.items()}
        if schema.get("examples") == ["2026-12-01T02:00:00Z"]:
            schema["format"] = "date-time"
        if schema.get("items") is False:
            del schema["items"]  # many generators cannot read a schema that is no object
        return schema
    return [_tidied(item) for item in schema] if isinstance(schema, list) else schema

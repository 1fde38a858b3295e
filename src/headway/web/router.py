"""Router: a trie over the segments of paths, compiled once from the routes, and the endpoint of each route.

A verb follows its resource after a colon (AIP-136): `/v1/runs/{id}:retry`, also written `%3A`. Names may contain colons;
an encoded one separates a verb only if the verb exists with that method.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import msgspec

from headway.errors import MethodNotAllowed, RouteNotFound
from headway.web.parameters import Parameters
from headway.web.reply import AnswerMeter
from headway.web.route import Route


class Endpoint:
    """A route of one server, with the decoders of its requests and the meter of its answers."""

    __slots__ = ("decoder", "is_prepared", "meter", "no_query", "parameters", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.meter = AnswerMeter(route.name)
        self.is_prepared = False
        self.decoder: msgspec.json.Decoder[Any] | None = None
        """Decoder of the body; None if the route takes none."""
        self.parameters: Parameters = _NO_PARAMETERS
        self.no_query: Any = None
        """The query struct of a request without a query string."""

    def prepare(self) -> None:
        """Make the decoders. Called at the first request, so that a server's start makes none for unused routes."""
        takes, query = self.route.takes, self.route.query
        self.decoder = None if takes is None else msgspec.json.Decoder(takes)
        if query is not None:
            self.parameters = Parameters.of(query)
            self.no_query = self.parameters.read(b"")
        self.is_prepared = True


_NO_PARAMETERS = Parameters(msgspec.Struct, frozenset(), frozenset(), frozenset(), labels=False)
Methods = dict[str, Endpoint]


class _Node:
    __slots__ = ("children", "methods", "parameter", "parameter_name", "verbs")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.parameter_name = ""
        self.methods: Methods = {}
        self.verbs: dict[str, Methods] = {}


class Router:
    """The endpoints of a server by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self._literal: dict[bytes, Methods] = {}
        self.endpoints = tuple(map(Endpoint, routes))
        """All endpoints, in the order of the routes."""
        for endpoint in self.endpoints:
            self._add(endpoint)

    def _add(self, endpoint: Endpoint) -> None:
        node, route = self._root, endpoint.route
        *folders, last = route.path[1:].split("/")
        last, _, verb = last.partition(":")
        for part in (*folders, last):
            if part.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
                node.parameter_name = part[1:-1]
            else:
                node = node.children.setdefault(part, _Node())
        methods = node.verbs.setdefault(verb, {}) if verb else node.methods
        assert route.method not in methods, f"{route.name} is there twice"
        methods[route.method] = endpoint
        if "{" not in route.path:
            self._literal[route.path.encode()] = methods

    def find(self, method: str, path: bytes) -> tuple[Endpoint, dict[str, str]]:
        """Return the endpoint and the arguments in the path; raise RouteNotFound or MethodNotAllowed."""
        methods = self._literal.get(path)
        arguments: dict[str, str] = {}
        verbs: Iterable[str] = ()
        if methods is None:
            methods, verbs = self._walk(method, path, arguments)
        found = methods.get(method)
        if found is None:
            found = methods.get("GET") if method == "HEAD" else None
            if found is None:
                if verbs and method == "POST":
                    raise RouteNotFound(f"the path has no such action; known: {', '.join(sorted(verbs))}")
                raise MethodNotAllowed(f"{method[:20]} is not allowed here", allow=allowed(methods))
        return found, arguments

    def _walk(self, method: str, path: bytes, arguments: dict[str, str]) -> tuple[Methods, Iterable[str]]:
        node = self._root
        plain = b"%" not in path
        segments = path.decode("latin-1").split("/") if path.isascii() and plain else _decoded(path)
        last = len(segments) - 1
        verb, unknown = "", False
        for index in range(1, last + 1):
            text = segments[index]
            if index == last and ":" in text:
                text, verb = _verb(node, method, path, text)
                unknown = not verb
            child = node.children.get(text)
            if child is None:
                child = node.parameter
                if child is None or not text:
                    raise _nothing(path)
                arguments[child.parameter_name] = text
            node = child
        methods = node.verbs.get(verb) if verb else node.methods
        if not methods or segments[0]:
            raise _nothing(path)
        return methods, node.verbs if unknown else ()


def _verb(node: _Node, method: str, path: bytes, text: str) -> tuple[str, str]:
    """Split a last segment into resource and verb, if the verb exists there."""
    name, _, verb = text.rpartition(":")
    child = node.children.get(name) or node.parameter
    methods = child.verbs.get(verb) if child is not None else None
    if methods is not None and (method in methods or path.endswith(f":{verb}".encode())):
        return name, verb
    return text, ""


def _decoded(path: bytes) -> list[str]:
    """Return the decoded segments; an encoded slash is part of a name, and a NUL is in no name."""
    if b"%00" in path:
        raise RouteNotFound("the path has a NUL")
    try:
        return [unquote_to_bytes(segment).decode() for segment in path.split(b"/")]
    except UnicodeDecodeError:
        raise RouteNotFound("the path is not UTF-8") from None


def _nothing(path: bytes) -> RouteNotFound:
    return RouteNotFound(f"no route has the path {path[:200].decode('ascii', 'replace')}")


def allowed(methods: Methods) -> list[str]:
    """Return the methods for the Allow header."""
    return sorted({*methods, "OPTIONS", *(("HEAD",) if "GET" in methods else ())})


def raw_path(path: str) -> bytes:
    """Return the encoded form of a decoded path, for ASGI servers that do not pass `raw_path`."""
    return quote(path, safe="/:@!$&'()*+,;=-._~").encode()

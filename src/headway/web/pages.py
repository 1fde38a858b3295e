"""HTML pages of the server: the list of routes and the meanings of errors; without scripts."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from headway.errors import HeadwayError, NotFound
from headway.web.answers import ErrorPage, ErrorPages
from headway.web.problem import every_error
from headway.web.route import SCOPES, Route
from headway.web.surface import NATIVE, Mount, Surface

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "code{font:13px ui-monospace,monospace}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}"
    "table{border-collapse:collapse;width:100%}td{padding:.35rem .6rem;border-top:1px solid #e2e5e9;vertical-align:top}"
    ".m{font-weight:600;width:4rem}.s{color:#66707a;white-space:nowrap}a{color:#0b5cad}"
    "@media(prefers-color-scheme:dark){body{background:#14171a;color:#dde2e7}td{border-color:#2b3036}a{color:#7db7f0}}"
)
POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
"""No scripts at all; the style is our own constant, and everything else on the page is escaped text."""
VARY: Final = (b"vary", b"accept")


def _page(title: str, content: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{content}</html>"
    ).encode()


def docs(mounts: Iterable[Mount], version: str) -> bytes:
    """Return the page of all routes."""
    groups: dict[str, list[Route]] = {}
    others = []
    for each in mounts:
        for route in each.routes:
            groups.setdefault(group(each.surface, route), []).append(route)
        if each.surface.name != NATIVE:
            others.append(each.surface.name)
    documents = ("/openapi.json", *(f"/openapi/{name}.json" for name in sorted(others)))
    links = ", ".join(f'<a href="{path}">{path}</a>' for path in documents)
    content = f'<p>For machines: {links}. What errors mean is under <a href="/errors">/errors</a>.</p>'
    for name, members in groups.items():
        rows = "".join(
            f'<tr><td class="m">{route.method}<td><code>{escape(route.path)}</code><br>{escape(route.summary)}'
            f'<td class="s" title="{escape(SCOPES[route.scope])}">{", ".join(route.scopes)}'
            for route in members
        )
        content += f"<h2>{escape(name)}</h2><table>{rows}</table>"
    return _page(f"Headway {version}".strip(), content)


def group(surface: Surface, route: Route) -> str:
    """Return the heading of a route: its surface, or the noun of a native one."""
    if surface.name != NATIVE:
        return surface.name
    parts = route.path.split("/")
    return parts[2].partition(":")[0] if parts[1] == "v1" else "server"


def error_page(code: str) -> ErrorPage:
    """Return the meaning of an error; raise NotFound for an unknown code."""
    error = every_error().get(code)
    if error is None:
        raise NotFound(f"there is no error {code[:80]!r}")
    return _of(error)


def error_list() -> ErrorPages:
    """Return all errors, by status and code."""
    return ErrorPages(data=sorted(map(_of, every_error().values()), key=lambda page: (page.status, page.code)))


def _of(error: type[HeadwayError]) -> ErrorPage:
    words = " ".join((error.__doc__ or "").split())
    return ErrorPage(
        code=error.code,
        status=error.status,
        title=error.title,
        description=words,
        hint=error.hint,
        url=f"/errors/{error.code}",
    )


def error_html(page: ErrorPage) -> bytes:
    """Return the page of one error."""
    hint = f"<p>{escape(page.hint)}</p>" if page.hint else ""
    return _page(
        page.title,
        f"<p><code>{page.code}</code>, HTTP {page.status}</p><p>{escape(page.description)}</p>{hint}"
        f'<p><a href="/errors">All errors</a></p>',
    )


def errors() -> bytes:
    """Return the page of all errors."""
    rows = "".join(
        f'<tr><td class="m">{page.status}<td><a href="{page.url}"><code>{page.code}</code></a><td>{escape(page.title)}'
        for page in error_list().data
    )
    return _page("Errors", f"<table>{rows}</table>")

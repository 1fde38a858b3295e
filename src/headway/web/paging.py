"""Filters and page tokens: a token is opaque, signed, and valid for one list with its filters only."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from msgspec.structs import replace

from headway.errors import BadCursor, BadParameter, InvalidInput
from headway.kernel.query import Page, RunFilter
from headway.protocol.runs import RunFilters, RunQuery
from headway.runs.cursors import Cursors
from headway.runs.filters import to_filter
from headway.web.parameters import PAGE_MAX

PURPOSE: Final = "page"
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def in_query(asked: RunFilters) -> RunFilter:
    """Return the filter of a query string; raise BadParameter for a wrong value."""
    try:
        return to_filter(asked)
    except InvalidInput as error:
        raise BadParameter(error.detail, parameter=str(error.errors[0]["pointer"])[1:]) from None


def page_of(asked: RunQuery, wanted: RunFilter, cursors: Cursors) -> Page:
    """Return the requested page; raise BadCursor for a token of another list, or of another server's secret."""
    after = None if not asked.page_token else _opened(asked, cursors)
    field, _, way = (asked.order_by or _order(wanted)).partition(" ")
    return Page(min(asked.page_size, PAGE_MAX), after, newest_first=way == "desc", by_end=field == "finished_at")


def _order(wanted: RunFilter) -> str:
    """Return the default order of a list: the order in which its index lists any number of runs."""
    return "finished_at desc" if wanted.is_by_end else "created_at desc"


def next_token(asked: RunQuery, cursors: Cursors, after: str) -> str:
    """Return the token of the page that starts `after`."""
    return cursors.conceal(PURPOSE, f"{_fingerprint(asked)} {after}")


def next_link(path: str, query: bytes, token: str) -> tuple[bytes, bytes]:
    """Return the Link header to the next page (RFC 8288)."""
    kept = [pair for pair in parse_qsl(query.decode("ascii"), keep_blank_values=True) if pair[0] != "page_token"]
    return (b"link", f'<{path}?{urlencode([*kept, ("page_token", token)])}>; rel="next"'.encode())


def _opened(asked: RunQuery, cursors: Cursors) -> str:
    text = cursors.reveal(PURPOSE, asked.page_token) if asked.page_token.isascii() else None
    if text is None:
        raise BadCursor("the page_token was not made by this server")
    fingerprint, _, after = text.partition(" ")
    if fingerprint != _fingerprint(asked):
        raise BadCursor("the page_token was made for other filters")
    return after


def _fingerprint(asked: RunQuery) -> str:
    """Return a digest of the filters and the order; the size of a page may change from page to page."""
    kept = _encode(replace(asked, page_size=1, page_token=""))
    return hashlib.blake2b(kept, digest_size=12).hexdigest()

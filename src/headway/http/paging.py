"""Filters and page tokens: a token is opaque, signed, and good for the list that it was given for only."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from msgspec.structs import replace

from headway.errors import BadCursor, BadParameter, InvalidInput
from headway.http.parameters import PAGE_MAX
from headway.http.queries import CountRuns
from headway.ids import Signer, canonical
from headway.model.query import Page, RunFilter
from headway.model.run import State
from headway.service.starting import timestamp
from headway.wire.runs import RunQuery

PURPOSE: Final = "page"
_encode: Final = msgspec.json.Encoder(order="sorted").encode


Filters = RunQuery | CountRuns
"""What names the runs that are wanted."""


def run_filter(asked: Filters) -> RunFilter:
    """Return what is wanted; raise InvalidInput for an id or a time that is none."""
    return RunFilter(
        state=tuple(State(name) for name in asked.state),
        task=tuple(asked.task),
        queue=tuple(asked.queue),
        labels=asked.labels,
        parent_id=_id(asked.parent_id, "/parent_id"),
        root_id=_id(asked.root_id, "/root_id"),
        key=asked.key,
        created_after=_ms(asked.created_after, "/created_after"),
        created_before=_ms(asked.created_before, "/created_before"),
        finished_after=_ms(asked.finished_after, "/finished_after"),
        finished_before=_ms(asked.finished_before, "/finished_before"),
    )


def in_query(asked: Filters) -> RunFilter:
    """Return what a query string wants; what is wrong with it is a BadParameter there."""
    try:
        return run_filter(asked)
    except InvalidInput as error:
        raise BadParameter(error.detail, parameter=str(error.errors[0]["pointer"])[1:]) from None


def page_of(asked: RunQuery, signer: Signer) -> Page:
    """Return which page is asked for; raise BadCursor for a token of another list, or of nobody."""
    after = None if not asked.page_token else _opened(asked, signer)
    return Page(min(asked.page_size, PAGE_MAX), after, newest_first=asked.order_by.endswith(" desc"))


def next_token(asked: RunQuery, signer: Signer, last_id: str) -> str:
    """Return the token of the page after `last_id`."""
    return signer.seal(PURPOSE, f"{_fingerprint(asked)} {last_id}")


def next_link(path: str, query: bytes, token: str) -> tuple[bytes, bytes]:
    """Return the Link header to the next page (RFC 8288)."""
    kept = [pair for pair in parse_qsl(query.decode("ascii"), keep_blank_values=True) if pair[0] != "page_token"]
    return (b"link", f'<{path}?{urlencode([*kept, ("page_token", token)])}>; rel="next"'.encode())


def _opened(asked: RunQuery, signer: Signer) -> str:
    text = signer.unseal(PURPOSE, asked.page_token) if asked.page_token.isascii() else None
    if text is None:
        raise BadCursor("the page_token was not made by this server")
    fingerprint, _, last_id = text.partition(" ")
    if fingerprint != _fingerprint(asked):
        raise BadCursor("the page_token was made for other filters")
    return last_id


def _fingerprint(asked: RunQuery) -> str:
    """Of everything that decides what is in the list; the size of a page may change from page to page."""
    kept = _encode(replace(asked, page_size=1, page_token=""))
    return hashlib.blake2b(kept, digest_size=12).hexdigest()


def _id(text: str | None, pointer: str) -> str | None:
    if text is None:
        return None
    found = canonical(text)
    if found is None:
        raise InvalidInput(
            f"{pointer[1:]} is not the id of a run",
            errors=[{"pointer": pointer, "code": "value", "message": "not the id of a run"}],
        )
    return found


def _ms(text: str | None, pointer: str) -> int | None:
    return None if text is None else timestamp(text, pointer)

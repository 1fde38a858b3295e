"""Values of user code on their way into JSON: nothing that JSON cannot say gets past here."""

from __future__ import annotations

import inspect
import json

import msgspec

from headway.codec.writing import hook

_encode = msgspec.json.Encoder(enc_hook=hook).encode


def to_json(value: object) -> bytes:
    """Return `value` as JSON; raise ValueError for what JSON cannot say, such as NaN."""
    try:
        text = _encode(value)
        # msgspec writes NaN and infinities as null, so only a text with a null in it needs a second look.
        if value is not None and b"null" in text:
            json.dumps(msgspec.to_builtins(value, str_keys=True, enc_hook=hook), allow_nan=False)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(_unsaid(value) or str(error)) from None
    return text


def _unsaid(value: object) -> str:
    """Return advice about a value that is most often a mistake in the code, such as a coroutine."""
    if inspect.iscoroutine(value):
        value.close()  # nobody will await it
        return "a coroutine that nobody has awaited; declare the function with `async def`"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return "a generator; make a list of it, or publish each result with ctx.publish"
    return ""


def clean(text: str, limit: int) -> str:
    """Return `text` without what UTF-8 cannot carry, and not longer than `limit`."""
    if len(text) > limit:
        text = f"{text[: limit - 1]}…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

"""Example answers of the API, made from its OpenAPI document."""

import msgspec


def example(kind, **given):
    """Return what a struct of the wire needs, with a value for each field that is not given."""
    needed = {field.encode_name: field.type for field in msgspec.structs.fields(kind) if field.required}
    return {name: next(value for value in VALUES if fits(value, wanted)) for name, wanted in needed.items()} | given


def fits(value, kind):
    try:
        msgspec.json.decode(msgspec.json.encode(value), type=kind)
    except msgspec.ValidationError:
        return False
    return True


TIME = "2026-11-22T01:00:00.000Z"


VALUES = (None, "active", "skip", TIME, True, 12345, [], {}, {"max_attempts": 3, "backoff": "1s"})

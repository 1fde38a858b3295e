"""Validators for JSON Schema (draft 2020-12): compile one, and say what is wrong with a value."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from headway.evaluation.messages import Fault

if TYPE_CHECKING:
    import jsonschema_rs

FAULTS_MAX: Final = 20
"""Most faults of an input that are reported."""
MESSAGE_MAX: Final = 500
DFA_BYTES: Final = 256 * 1024
"""Bytes of each pattern's cache for matching."""


class Unusable(Exception):
    """The schema is invalid or has an external reference."""


def compiled(schema: Mapping[str, Any] | bool) -> jsonschema_rs.Draft202012Validator:
    """Return the validator of a schema; raise Unusable.

    Patterns are matched in linear time: those that need more, with look-around or back references, are refused.
    """
    import jsonschema_rs  # noqa: PLC0415 - 40 ms that a cold start need not pay

    try:
        return jsonschema_rs.Draft202012Validator(
            schema,  # type: ignore[arg-type]  # it wants a dict, which this is
            retriever=_refuse,
            pattern_options=jsonschema_rs.RegexOptions(dfa_size_limit=DFA_BYTES),
        )
    except jsonschema_rs.ValidationError as error:
        raise Unusable(f"{_pointer(error.instance_path) or '/'}: {error.message}"[:MESSAGE_MAX]) from None
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise Unusable(str(error)[:MESSAGE_MAX]) from None


def faults(validator: jsonschema_rs.Draft202012Validator, value: Any) -> list[Fault]:
    """Return the first faults of an invalid value.

    The library collects every error before the first can be seen, each with a copy of its part of the value: call this
    only where there can be few, or in a child process.
    """
    return [_fault(found) for found in islice(validator.iter_errors(value), FAULTS_MAX)]


def first_fault(validator: jsonschema_rs.Draft202012Validator, value: Any) -> Fault:
    """Return the first fault of an invalid value, without searching for others."""
    import jsonschema_rs  # noqa: PLC0415 - see above

    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return _fault(error)
    raise AssertionError("the value fits")


def _fault(found: jsonschema_rs.ValidationError) -> Fault:
    code = str(getattr(found.kind, "name", None) or found.schema_path[-1])
    return Fault(_pointer(found.instance_path), code, found.message[:MESSAGE_MAX])


def _pointer(path: list[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _refuse(uri: str) -> Any:
    raise ValueError(f"schemas may not refer to {uri}")

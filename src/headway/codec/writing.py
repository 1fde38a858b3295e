"""Hook of msgspec's encoders that writes Pydantic's values."""

from __future__ import annotations

from typing import Any

from headway.codec import pydantic


def hook(value: Any) -> Any:
    """Return an unknown value as JSON's: the `enc_hook` of encoders. Raises TypeError if it is not Pydantic's."""
    if pydantic.dumps(value):
        return pydantic.dumped(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")

"""Query strings as structs: what is unknown, doubled or misspelt is refused, never ignored."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast, get_origin
from urllib.parse import parse_qsl

import msgspec

from headway.errors import BadParameter
from headway.http.body import to_pointer

T = TypeVar("T", bound=msgspec.Struct)

PARAMETERS_MAX: Final = 100
PAGE_MAX: Final = 1000
LABEL: Final = "label."


class Parameters(msgspec.Struct, frozen=True):
    """What a route takes in its query string, looked at once."""

    kind: type[msgspec.Struct]
    lists: frozenset[str]
    others: frozenset[str]
    labels: bool

    @classmethod
    def of(cls, kind: type[msgspec.Struct]) -> Parameters:
        """Look at a struct: its lists take `a,b`, its `labels` take `label.name=value`."""
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        lists = frozenset(name for name, of in fields.items() if get_origin(of) is list)
        labels = "labels" in fields
        return cls(kind, lists, frozenset(fields) - lists - {"labels"}, labels)

    @property
    def names(self) -> list[str]:
        """Return what may be asked for, for people."""
        return sorted(self.lists | self.others) + ([f"{LABEL}NAME"] if self.labels else [])

    def read(self, query: bytes) -> msgspec.Struct:
        """Return the struct; raise BadParameter."""
        values: dict[str, Any] = {}
        labels: dict[str, str] = {}
        for name, text in _pairs(query):
            if name in self.lists:
                values.setdefault(name, []).extend(text.split(","))
            elif self.labels and name.startswith(LABEL):
                if name in labels:
                    raise BadParameter(f"{name[:100]} is there twice")
                labels[name] = text
            elif name not in self.others:
                known = ", ".join(self.names) or "none"
                raise BadParameter(f"there is no parameter {name[:100]!r} here; known: {known}", parameter=name[:100])
            elif name in values:
                raise BadParameter(f"{name} is there twice", parameter=name)
            else:
                values[name] = text
        if labels:
            values["labels"] = {name.removeprefix(LABEL): text for name, text in labels.items()}
        if "page_size" in values:
            values["page_size"] = page_size(values["page_size"])
        return self._convert(values)

    def _convert(self, values: dict[str, Any]) -> msgspec.Struct:
        try:
            return msgspec.convert(values, self.kind, strict=False)
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at `$")
            name = to_pointer(path.rstrip("`")).strip("/")
            raise BadParameter(f"{name}: {what}" if name else what, parameter=name) from None


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        text = query.decode("ascii")
        return parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except UnicodeDecodeError:
        raise BadParameter("the query string is not UTF-8") from None
    except ValueError:
        raise BadParameter(f"the query string is not name=value&…, at most {PARAMETERS_MAX} of them") from None


def page_size(text: str) -> int:
    """Return the size of a page: too large is made to fit, what is no size is refused (AIP-158)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) == 0:  # noqa: PLR2004
        raise BadParameter("page_size is a number from 1", parameter="page_size")
    return min(int(text), PAGE_MAX)


def read(parameters: Parameters | None, query: bytes, kind: type[T]) -> T:
    """Return the query of a route as the struct that its list entry names."""
    assert parameters is not None
    assert parameters.kind is kind
    return cast(T, parameters.read(query))

"""Query strings as structs: unknown, duplicate and malformed parameters are refused, never ignored."""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from headway.codec.pointers import to_pointer
from headway.errors import BadParameter

PARAMETERS_MAX: Final = 100
PAGE_MAX: Final = 1000
LABEL: Final = "label."


class Parameters(msgspec.Struct, frozen=True):
    """Decoder of a route's query string, with the kinds of its parameters."""

    kind: type[msgspec.Struct]
    lists: frozenset[str]
    numbers: frozenset[str]
    others: frozenset[str]
    labels: bool

    @classmethod
    def of(cls, kind: type[msgspec.Struct]) -> Parameters:
        """Return the decoder of a struct: its lists take `a,b`, its `labels` take `label.name=value`."""
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        lists = frozenset(name for name, of in fields.items() if _plain(of, list))
        numbers = frozenset(name for name, of in fields.items() if _plain(of, int))
        return cls(kind, lists, numbers, frozenset(fields) - lists - {"labels"}, "labels" in fields)

    @property
    def names(self) -> list[str]:
        """Names of the parameters, for messages."""
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
                    raise BadParameter(f"{name[:100]} is given twice")
                labels[name] = text
            elif name not in self.others:
                known = ", ".join(self.names) or "none"
                raise BadParameter(f"there is no parameter {name[:100]!r} here; known: {known}", parameter=name[:100])
            elif name in values:
                raise BadParameter(f"{name} is given twice", parameter=name)
            else:
                values[name] = _number(name, text) if name in self.numbers else text
        if labels:
            values["labels"] = {name.removeprefix(LABEL): text for name, text in labels.items()}
        if "page_size" in values:
            values["page_size"] = min(values["page_size"], PAGE_MAX)
        return self._convert(values)

    def _convert(self, values: dict[str, Any]) -> msgspec.Struct:
        try:
            return msgspec.convert(values, self.kind)
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at `$")
            name = to_pointer(path.rstrip("`")).strip("/")
            raise BadParameter(f"{name}: {what}" if name else what, parameter=name) from None


def _plain(kind: Any, wanted: type) -> bool:
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return (get_origin(kind) or kind) is wanted


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004 - fits into 64 bits
        raise BadParameter(f"{name} must be a whole number, not {text[:40]!r}", parameter=name)
    return int(text)


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

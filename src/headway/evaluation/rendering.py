"""Renders templates of users in Jinja's immutable sandbox; only the child processes load this.

There is nothing to call but filters and a few methods of texts, dicts and lists. What makes much out of little is bounded;
nothing is computed before a template is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    nodes,
    pass_context,
    pass_eval_context,
)
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headway.evaluation.limits import TooMuch
from headway.evaluation.messages import LookAnswer, RenderAnswer

OUTPUT_MAX: Final = 1024 * 1024
"""The longest text that a template may become, in characters."""
TEXT_MAX: Final = 4 * OUTPUT_MAX
"""The longest text that a filter or a method may make, in characters."""
PARTS_MAX: Final = 10_000
"""The most parts, or items of a part, that `slice` and `batch` make."""
DIGITS_MAX: Final = 30
INDENT_MAX: Final = 8

CALLABLE: Final = {
    str: frozenset(
        {
            *(
                "capitalize",
                "casefold",
                "count",
                "endswith",
                "find",
                "index",
                "isalnum",
                "isalpha",
                "isascii",
                "isdecimal",
            ),
            *(
                "isdigit",
                "isidentifier",
                "islower",
                "isnumeric",
                "isprintable",
                "isspace",
                "istitle",
                "isupper",
                "join",
            ),
            *(
                "lower",
                "lstrip",
                "partition",
                "removeprefix",
                "removesuffix",
                "replace",
                "rfind",
                "rindex",
                "rpartition",
            ),
            *("rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper"),
        }
    ),
    dict: frozenset({"copy", "get", "items", "keys", "values"}),
    list: frozenset({"copy", "count", "index"}),
}
"""Methods that a template may call, by the type of what they are called on."""
KNOWN: Final = (
    *(
        "abs",
        "batch",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "filesizeformat",
        "first",
        "float",
    ),
    *("forceescape", "groupby", "int", "items", "join", "last", "length", "list", "lower", "max", "min", "reject"),
    *(
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "safe",
        "select",
        "selectattr",
        "slice",
        "sort",
        "string",
        "striptags",
    ),
    *("sum", "title", "tojson", "trim", "truncate", "unique", "upper", "urlencode", "wordcount"),
)
"""Jinja's filters that a template may use."""

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")

Limit = Callable[[], AbstractContextManager[None]]
"""Context manager that limits the rendering of a row; outside of a child process it does nothing."""


class Refused(SecurityError):
    """A template uses something forbidden; the message is for its author."""


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox without operations that make large values out of small ones.

    Constants are not folded: reading a template computes nothing, and what it says is held to the limits of its row.
    """

    intercepted_binops = frozenset({"**", "*", "%"})

    def __init__(self, *, html: bool) -> None:
        super().__init__(autoescape=html, undefined=Missing, finalize=_finalize, optimized=False)
        self.globals.clear()
        self.filters = {name: FILTERS[name] for name in KNOWN} | BOUNDED | {"date": _date, "quoted": _quoted}

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Allow products and quotients of small numbers only."""
        if operator == "**":
            raise Refused("** is not supported in a template")
        if not all(isinstance(each, int | float) and abs(each) < 1 << 64 for each in (left, right)):
            raise Refused(f"{operator} takes small numbers only")
        return super().call_binop(context, operator, left, right)

    def is_safe_callable(self, obj: Any) -> bool:
        """Allow only some methods of texts, dicts and lists, and those of the loop."""
        owner = getattr(obj, "__self__", None)
        for kind, names in CALLABLE.items():
            if isinstance(owner, kind):
                return getattr(obj, "__name__", "") in names
        return type(owner).__module__ == "jinja2.runtime" and super().is_safe_callable(obj)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call an allowed method; the length of its text is limited."""
        if not self.is_safe_callable(obj):
            raise Refused("that cannot be called in a template")
        if isinstance(owner := getattr(obj, "__self__", None), str):
            match obj.__name__, args:
                case "replace", [old, new, *rest]:
                    _hold_replaced(owner, old, new, *rest)
                case "join", [items]:
                    args = (_held_items(items, owner),)
        return super().call(context, obj, *args, **kwargs)


class Missing(StrictUndefined):
    """A missing variable or field, whose error has its name."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_obj is not None and isinstance(self._undefined_obj, Mapping):
            return f"there is no field {self._undefined_name!r}"
        return f"{self._undefined_name!r} is not known here"


@pass_context  # keeps Jinja from folding constants while it compiles a template
def _finalize(context: Any, value: Any) -> Any:
    del context
    if isinstance(value, Iterator) or (callable(value) and not isinstance(value, Undefined)):
        raise Refused(
            "this is not a value: call a method with (), and turn the result of a filter into a list with | list"
        )
    return "" if value is None else value


# -- filters -----------------------------------------------------------------------------------------------------------


def _date(value: Any, form: str = "%Y-%m-%d") -> str:
    """Write a date or time, as records have them, in another form: `{{ record.due | date("%d.%m.%Y") }}`."""
    if value is None:
        return ""
    if len(form) > 100 or any(sign.isdecimal() for sign in form):  # noqa: PLR2004 - %9999999d is a bomb too
        raise Refused("the format of the date is invalid")
    return datetime.fromisoformat(str(value)).strftime(form)


def _quoted(value: Any) -> str:
    """Write a name before an address so that nothing in it is another address: `{{ record.name | quoted }} <…>`."""
    escaped = ("" if value is None else str(value)).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _number(value: Any, limit: int, what: str) -> int:
    if not isinstance(value, int) or abs(value) > limit:
        raise Refused(f"{what} must be a whole number up to {limit:,}")
    return value


def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
    return FILTERS["round"](value, _number(precision, DIGITS_MAX, "the precision of round"), method)


@pass_eval_context
def _slice(context: Any, value: Any, slices: int, fill_with: Any = None) -> Any:
    return FILTERS["slice"](context, value, _number(slices, PARTS_MAX, "the number of slices"), fill_with)


def _batch(value: Any, linecount: int, fill_with: Any = None) -> Any:
    return FILTERS["batch"](value, _number(linecount, PARTS_MAX, "the size of a batch"), fill_with)


@pass_eval_context
def _tojson(context: Any, value: Any, indent: int | None = None) -> Any:
    return FILTERS["tojson"](
        context, value, None if indent is None else _number(indent, INDENT_MAX, "the indent of tojson")
    )


@pass_eval_context
def _replace(context: Any, value: Any, old: Any, new: Any, count: int | None = None) -> Any:
    value = value if isinstance(value, str) else str(value)
    _hold_replaced(value, str(old), str(new), -1 if count is None else count)
    return FILTERS["replace"](context, value, old, new, count)


@pass_eval_context
def _join(context: Any, value: Iterable[Any], d: Any = "", attribute: Any = None) -> Any:
    if attribute is None:
        value = _held_items(value, str(d))
    return FILTERS["join"](context, value, d, attribute)


BOUNDED: Final = {
    "round": _round,
    "slice": _slice,
    "batch": _batch,
    "tojson": _tojson,
    "replace": _replace,
    "join": _join,
}


def _hold_replaced(text: str, old: Any, new: Any, count: Any = -1) -> None:
    if isinstance(old, str) and isinstance(new, str) and isinstance(count, int) and len(new) > len(old):
        times = text.count(old) if count < 0 else min(count, text.count(old))
        _hold(len(text) + times * (len(new) - len(old)))


def _held_items(items: Iterable[Any], between: str) -> list[Any]:
    held = list(items)
    _hold(len(held) * len(between) + sum(len(each) for each in held if isinstance(each, str)))
    return held


def _hold(length: int) -> None:
    if length > TEXT_MAX:
        raise TooMuch(f"a text in it would have {length:,} characters; the limit is {TEXT_MAX:,}")


# -- reading and rendering -----------------------------------------------------------------------------------------------

ENVIRONMENTS: Final = {html: Environment(html=html) for html in (False, True)}


@lru_cache(maxsize=256)
def compiled(source: str, *, html: bool) -> Template:
    """Return the template, read once."""
    return ENVIRONMENTS[html].from_string(source)


def look(source: str, limit: Limit = nullcontext) -> LookAnswer:
    """Return the variables and fields that the template uses."""
    try:
        with limit():
            return _look(source)
    except TemplateSyntaxError as error:
        return LookAnswer(error=f"line {error.lineno}: {error.message}")
    except Exception as error:  # noqa: BLE001 - whatever reading comes to, it is the template's failure
        return LookAnswer(error=words(error))


def _look(source: str) -> LookAnswer:
    tree = ENVIRONMENTS[False].parse(source)
    compiled(source, html=False)  # some errors are found only here
    stored = {each.name for each in tree.find_all(nodes.Name) if each.ctx != "load"}
    names = {each.name for each in tree.find_all(nodes.Name) if each.ctx == "load"} - stored - {"loop"}
    if any(True for _ in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))):
        return LookAnswer(error="include, import and extends have nothing to take from here")
    return LookAnswer(sorted(names), sorted(set(_fields(tree))))


def _fields(tree: nodes.Template) -> Iterable[str]:
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if not (isinstance(node, nodes.Getattr | nodes.Getitem) and isinstance(node.node, nodes.Name)):
            continue
        if node.node.name == "record":
            if isinstance(node, nodes.Getattr):
                yield node.attr
            elif isinstance(node.arg, nodes.Const):
                yield str(node.arg.value)


def render(templates: list[tuple[str, bool]], row: dict[str, Any], limit: Limit = nullcontext) -> RenderAnswer:
    """Render all templates with one row."""
    try:
        with limit():
            return RenderAnswer(texts=[_render(compiled(source, html=html), row) for source, html in templates])
    except (TooMuch, MemoryError) as error:
        return RenderAnswer(error=words(error), slow=True)
    except Exception as error:  # noqa: BLE001 - whatever a template can come to, it is its row's failure
        return RenderAnswer(error=words(error))


def _render(template: Template, row: dict[str, Any]) -> str:
    parts: list[str] = []
    length = 0
    for part in template.generate(row):
        length += len(part)
        if length > OUTPUT_MAX:
            raise TooMuch(f"the text is longer than {OUTPUT_MAX} characters")
        parts.append(part)
    text = "".join(parts)
    text.encode()  # raises for half a surrogate pair, which cannot be sent
    return text


def words(error: BaseException) -> str:
    """Return the message for a template's author, without paths, addresses in memory or details of this machine."""
    match error:
        case TooMuch():
            detail = str(error)
        case MemoryError():
            detail = "it needs too much memory"
        case RecursionError():
            detail = "it is nested too deep"
        case UndefinedError() | Refused():
            detail = str(error.message)
        case UnicodeError():
            detail = "the text has an invalid character, such as half a surrogate pair"
        case TemplateError() | ArithmeticError() | AssertionError() | AttributeError() | NameError():
            detail = f"{type(error).__name__}: {error}"
        case IndexError() | KeyError() | TypeError() | ValueError():
            detail = f"{type(error).__name__}: {error}"
        case _:
            detail = f"it does what cannot be done here ({type(error).__name__})"
    return _ADDRESS.sub("", detail)[:500]


def warm() -> None:
    """Import everything that rendering may need, since no files can be opened afterwards."""
    row = {"record": {"a": "2026-01-01", "b": "é"}}
    render(
        [("{% for each in record.items() %}{{ each[1] | upper }}{% endfor %}{{ record.a | date('%d %b') }}", True)], row
    )
    render([("{{ '<b>a &amp; b</b>' | striptags }}", True)], row)
    for wrong in ("{{ record.c }}", "{{ 1 / 0 }}", "{% if %}", "{{ 'x' | date }}", "{{ 1 | nothing }}"):
        render([(wrong, True)], row)  # what errors are written with is imported too
        look(wrong)

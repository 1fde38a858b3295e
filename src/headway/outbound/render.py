"""The program that renders templates: `python -m headway.outbound.render`, a child that can do nothing else.

It reads requests from its standard input and answers on its output, each a length and JSON. Templates run in Jinja's
immutable sandbox, with nothing to call but filters; the process around it has no files, no memory beyond its limit, and a
timer for each row. What breaks out of all of that kills the child, and the one row that it was at.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import lru_cache
from typing import Any, BinaryIO, Final

import msgspec
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headway.outbound.rendering import LENGTH_BYTES, Looked, Rendered, Request

OUTPUT_MAX: Final = 1024 * 1024
"""The longest text that a template may become, in characters."""
ROW_S: Final = 0.5
"""Time that all templates of one row may take."""
ROW_KILL_S: Final = 2
"""Time after which the system kills the process, if the timer could not interrupt it."""
MEMORY_BYTES: Final = 512 * 1024 * 1024

Limit = Callable[[], AbstractContextManager[None]]
"""What a row is rendered within; in a process that is not the child's own, nothing."""


class TooMuch(Exception):
    """A row took too long, or its text was too long."""


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox, without what makes much out of little."""

    intercepted_binops = frozenset({"**", "*", "%"})

    def __init__(self, *, html: bool) -> None:
        super().__init__(autoescape=html, undefined=Missing, finalize=_finalize)
        self.globals.clear()
        self.filters["date"] = _date
        self.filters["quoted"] = _quoted
        for heavy in ("center", "indent", "format", "pprint", "wordwrap", "xmlattr", "random", "urlize", "attr", "map"):
            self.filters.pop(heavy)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply numbers and repeat short texts; nothing else."""
        numbers = all(isinstance(each, int | float) and abs(each) < 1 << 64 for each in (left, right))
        if operator == "**" or not numbers:
            raise SecurityError(f"{operator} is for small numbers only" if operator != "**" else "** is not known here")
        return super().call_binop(context, operator, left, right)

    def is_safe_callable(self, obj: Any) -> bool:
        """Only methods of texts and of dicts, and the loop's own."""
        owner = getattr(obj, "__self__", None)
        blown_up = {"center", "ljust", "rjust", "zfill", "format", "format_map", "expandtabs", "translate"}
        if isinstance(owner, str | dict | list):
            return getattr(obj, "__name__", "") not in blown_up
        return type(owner).__module__ == "jinja2.runtime" and super().is_safe_callable(obj)


class Missing(StrictUndefined):
    """A variable or field that is not there: said by its name."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_obj is not None and isinstance(self._undefined_obj, Mapping):
            return f"there is no field {self._undefined_name!r}"
        return f"{self._undefined_name!r} is not known here"


def _finalize(value: Any) -> Any:
    return "" if value is None else value


def _date(value: Any, form: str = "%Y-%m-%d") -> str:
    """Write a date or time, as records have them, in another form: `{{ record.due | date("%d.%m.%Y") }}`."""
    if value is None:
        return ""
    if len(form) > 100 or any(sign.isdecimal() for sign in form):  # noqa: PLR2004 - %9999999d is a bomb too
        raise SecurityError("that is no form of a date")
    return datetime.fromisoformat(str(value)).strftime(form)


def _quoted(value: Any) -> str:
    """Write a name before an address so that nothing in it is another address: `{{ record.name | quoted }} <…>`."""
    escaped = str(_finalize(value)).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


ENVIRONMENTS: Final = {html: Environment(html=html) for html in (False, True)}


@lru_cache(maxsize=256)
def compiled(source: str, *, html: bool) -> Template:
    """Return the template, read once."""
    return ENVIRONMENTS[html].from_string(source)


def look(source: str, limit: Limit = nullcontext) -> Looked:
    """Return what the template asks for."""
    try:
        with limit():
            tree = ENVIRONMENTS[False].parse(source)
            compiled(source, html=False)  # some errors are found only here
    except TemplateSyntaxError as error:
        return Looked(error=f"line {error.lineno}: {error.message}")
    except (TemplateError, RecursionError, MemoryError, TooMuch) as error:
        return Looked(error=_words(error))
    stored = {each.name for each in tree.find_all(nodes.Name) if each.ctx != "load"}
    names = {each.name for each in tree.find_all(nodes.Name) if each.ctx == "load"} - stored - {"loop"}
    if any(True for _ in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))):
        return Looked(error="include, import and extends have nothing to take from here")
    return Looked(sorted(names), sorted(set(_fields(tree))))


def _fields(tree: nodes.Template) -> Iterable[str]:
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if not (isinstance(node, nodes.Getattr | nodes.Getitem) and isinstance(node.node, nodes.Name)):
            continue
        if node.node.name == "record":
            if isinstance(node, nodes.Getattr):
                yield node.attr
            elif isinstance(node.arg, nodes.Const):
                yield str(node.arg.value)


def render(templates: list[tuple[str, bool]], row: dict[str, Any], limit: Limit = nullcontext) -> Rendered:
    """Render all templates with one row."""
    try:
        with limit():
            return Rendered(texts=[_render(compiled(source, html=html), row) for source, html in templates])
    except TooMuch as error:
        return Rendered(error=str(error), slow=True)
    except MemoryError:
        return Rendered(error="the template needs too much memory", slow=True)
    except UndefinedError as error:
        return Rendered(error=str(error.message))
    except Exception as error:  # noqa: BLE001 - whatever a template can come to, it is its row's failure
        return Rendered(error=_words(error))


def _render(template: Template, row: dict[str, Any]) -> str:
    parts: list[str] = []
    length = 0
    for part in template.generate(row):
        length += len(part)
        if length > OUTPUT_MAX:
            raise TooMuch(f"the text is longer than {OUTPUT_MAX} characters")
        parts.append(part)
    return "".join(parts)


def _words(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "the template is nested too deep"
    return f"{type(error).__name__}: {error}"[:500]


@contextmanager
def limited() -> Iterator[None]:
    """Interrupt what takes longer than a row may; have the system kill what cannot be interrupted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + ROW_KILL_S + 1, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, ROW_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(number: int, frame: Any) -> None:
    del number, frame
    raise TooMuch(f"the template took longer than {ROW_S} s")


def confine() -> None:
    """Give up whatever rendering does not need: memory beyond a limit, files and sockets that are not open yet."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked to stop, and ends us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer requests until there are no more: one answer for each row at once, or one for each template."""
    decode = msgspec.json.Decoder(Request).decode
    encode = msgspec.json.Encoder().encode

    def send(answer: msgspec.Struct) -> None:
        text = encode(answer)
        outgoing.write(len(text).to_bytes(LENGTH_BYTES) + text)
        outgoing.flush()

    while head := incoming.read(LENGTH_BYTES):
        request = decode(incoming.read(int.from_bytes(head)))
        if request.rows:
            for row in request.rows:
                send(render(request.templates, row, limited))
        else:
            for source, _ in request.templates:
                send(look(source, limited))


def warm() -> None:
    """Have everything imported that rendering may need, before there are no files any more."""
    row = {"record": {"a": "2026-01-01", "b": "é"}}
    render(
        [("{% for each in record.items() %}{{ each[1] | upper }}{% endfor %}{{ record.a | date('%d %b') }}", True)], row
    )
    for wrong in ("{{ record.c }}", "{{ 1 / 0 }}", "{% if %}", "{{ 'x' | date }}", "{{ 1 | nothing }}"):
        render([(wrong, True)], row)  # what errors are written with is imported too
        look(wrong)


if __name__ == "__main__":
    os.nice(5)
    sys.setrecursionlimit(500)
    signal.signal(signal.SIGPROF, _too_long)
    warm()
    confine()
    serve(sys.stdin.buffer, sys.stdout.buffer)

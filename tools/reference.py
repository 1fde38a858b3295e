"""Write docs/reference from the code: `python tools/reference.py`, or `--check` to see whether it is current.

Settings, options, codes, routes and public names are said once, where they are defined; these pages are read off them.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import click
import msgspec

import headway
import headway.testing
from headway.cli import exits, main
from headway.cli.command import global_options
from headway.clock import SystemClock
from headway.config import ClientSettings, Settings, WorkerSettings
from headway.durations import format_ms
from headway.errors import HeadwayError
from headway.ids import Signer
from headway.kernel.permissions import NEEDS
from headway.kinds import format_bytes
from headway.protocol.schedules import ScheduleDeclaration
from headway.runs.service import Service
from headway.server import FEATURES, NATIVE_SURFACE
from headway.setting import settings_of
from headway.store.sqlite.open import open_memory
from headway.surfaces import tables
from headway.web.asgi import Api
from headway.web.metrics import ServerCollector
from headway.web.route import SCOPES, Route
from headway.worker.declaration.app import TaskFunction
from headway.worker.declaration.options import TaskOptions
from headway.worker.declaration.schedule import ScheduleOptions

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "docs/reference"
HEAD: Final = "<!-- Written by tools/reference.py from the code: change that, not this. -->\n\n"
KIB: Final = 1024

OPTIONS: Final = {
    "name": "Name of the task, by which runs are started; default: the function's name.",
    "title": "Name for people, such as `Daily e-mail report`, which [Tadabase's clients](../compatibility/tadabase.md) show.",
    "version": "Version for people, kept with every run.",
    "description": "One sentence; default: the docstring's first paragraph.",
    "executor": "`inline` (on the worker's event loop), `thread`, `process` (a child that can be killed), or `ray` (on a Ray cluster)."
    " Async functions are `inline` and plain ones `thread` if absent.",
    "queue": "Queue of its runs, unless a start names another.",
    "priority": "Priority, 0 to 10, higher first; within one priority, the run that has been due longest.",
    "retry": "A `headway.Retry`: number of attempts, back-off, and errors that are final.",
    "max_crashes": "Number of crashes of its worker after which a run fails with `poison`.",
    "timeout": "Limit of an attempt; then it is stopped and counts as failed.",
    "heartbeat_timeout": "Longest time of an attempt without a call on its context.",
    "grace": "Time for a run to stop by itself before it is killed.",
    "concurrency": "Number of the task's runs that may run at once, over all workers.",
    "concurrency_per_key": "The same for each `key`.",
    "rate": "A `headway.Rate`: number of runs that may begin in a period; a period's worth may begin at once.",
    "rate_per_key": "The same for each `key`.",
    "key": "Dotted path of the key in the input, for starts without a key.",
    "retention": "A `headway.Retention`: time for which finished runs are kept, by outcome.",
    "memory_limit": 'Of `executor="process"`: memory limit of a run, such as `"512MiB"`.',
    "resources": 'Of `executor="ray"`: resources that a run needs of its node, such as `{"num_cpus": 2, "num_gpus": 1}`.',
    "shared": "Whether every organisation may start it; default: that of `headway.App(shared=…)`.",
}
"""Options of `@app.task`, described."""


# -- reading the code --------------------------------------------------------------------------------------------------


@lru_cache
def field_docs(kind: type) -> dict[str, str]:
    """Return the docstrings that stand under a class's fields."""
    found: dict[str, str] = {}
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return found
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            value = text.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = one_line(value.value)
    return found


def one_line(text: str | None) -> str:
    """Return a text on one line, as a table's cell needs it."""
    return " ".join((text or "").split()).replace("|", "\\|")


def first_paragraph(text: str | None) -> str:
    """Return the first paragraph, on one line."""
    return one_line(inspect.cleandoc(text or "").partition("\n\n")[0])


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(heads)
    body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body])


def everything() -> None:
    """Import every module, so that every class is known."""
    for module in pkgutil.walk_packages(headway.__path__, "headway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


# -- settings ----------------------------------------------------------------------------------------------------------


def settings() -> str:
    """Return the page of settings."""
    return (
        "# Settings\n\n"
        "What can be set, in one table for each program. Options win over the environment, the environment over defaults. An"
        " empty variable is an absent one; a value out of range ends the program with a message that shows it. Durations"
        ' are written as `"30s"`, `"1h30m"`, `"3 days"` or ISO 8601 (a bare number in a variable whose name ends in `_MS` is'
        ' milliseconds); sizes as `"8 MiB"` or a number of bytes; flags as true or false; lists with commas, or by'
        " repeating the option. A variable that begins with `HEADWAY_` and is not in these tables is named in a warning when a"
        " server or a worker starts. Those that Kubernetes sets for a service called `headway`"
        " (`HEADWAY_PORT=tcp://…`, `HEADWAY_SERVICE_HOST` …) are ignored.\n\n"
        "## The server\n\n`headway serve`; commands on a store without a server (`doctor`, `keys create --store` …) read"
        " the variables too.\n\n"
        + _settings_table(Settings, *tables())
        + "\n\n## Workers\n\n`headway worker`. The settings of its connection are those of clients, below.\n\n"
        + _settings_table(WorkerSettings)
        + "\n\n## Clients\n\nClients in Python, workers and commands. Settings without a variable are arguments of"
        " `headway.Client`.\n\n" + _settings_table(ClientSettings) + "\n"
    )


def _settings_table(*kinds: type[msgspec.Struct]) -> str:
    rows = [
        [
            f"`{each.variable}`" if each.variable else f"(`{each.name}`)",
            f"`{each.option}`" if each.option else "",
            one_line(each.kind.accepts),
            f"`{_default(each.name, each.default)}`",
            field_docs(kind)[each.name],
        ]
        for kind in kinds
        for each in settings_of(kind)
    ]
    return table(("environment", "option", "accepted", "default", "meaning"), rows)


def _default(name: str, value: Any) -> str:
    if name.endswith("_ms"):
        return format_ms(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= KIB * KIB and value % (KIB * KIB) == 0:
        return format_bytes(value)
    if value in ("", ()):
        return " "
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


# -- the command line --------------------------------------------------------------------------------------------------


def _command(name: str) -> click.Command:
    found = main.root.get_command(click.Context(main.root), name)
    assert found is not None, name
    return found


def _options(command: click.Command) -> list[click.Parameter]:
    shared = {option.name for option in global_options()}
    return [parameter for parameter in command.params if parameter.name not in shared]


def cli() -> str:
    """Return the page of commands."""
    parts = [
        "# Commands\n",
        "`headway COMMAND --help` says the same. These options may stand before or after the name of any command:\n",
        _option_table(global_options()),
        "\n## Exit codes\n",
        table(("code", "meaning"), ([str(code.value), _exit_doc(code)] for code in exits.Exit)),
    ]
    for name in main.TABLE:
        parts += _section(_command(name), f"headway {name}")
    return "\n".join(parts).rstrip() + "\n"


def _exit_doc(code: exits.Exit) -> str:
    source = inspect.getsource(exits.Exit)
    match = re.search(rf'{code.name} = \d+\n\s+"""(.*?)"""', source, re.DOTALL)
    assert match is not None, code
    return one_line(match[1])


def _section(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    pieces = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    has_options = any(isinstance(parameter, click.Option) for parameter in _options(command))
    yield f"\n## {name}\n" if name.count(" ") == 1 else f"\n### {name}\n"
    if isinstance(command, click.Group):
        yield inspect.cleandoc(command.help or "")
    else:
        yield f"```text\n{name}{' [OPTIONS]' if has_options else ''} {pieces}".rstrip() + "\n```\n"
        text = inspect.cleandoc(command.help or "").replace("\b\n", "")
        yield re.sub(r"(?m)^ {4}(headway .*)$", r"    \1", text)
    if has_options:
        yield "\n" + _option_table(_options(command))
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _section(found, f"{name} {inner}")


def _option_table(options: Iterable[click.Parameter]) -> str:
    rows = []
    for option in options:
        if not isinstance(option, click.Option):
            continue
        record = option.get_help_record(click.Context(main.root))
        if record is not None:
            rows.append([f"`{one_line(record[0])}`", one_line(record[1])])
    return table(("option", "meaning"), rows)


# -- errors ------------------------------------------------------------------------------------------------------------


def errors() -> str:
    """Return the page of errors."""
    everything()
    known = sorted(_kinds(HeadwayError), key=lambda kind: (kind.status, kind.code))
    served = [kind for kind in known if kind.__module__.startswith(("headway.errors", "headway.web"))]
    rest = [kind for kind in known if kind not in served]
    return (
        "# Errors\n\n"
        "Every answer that is not a success is a problem document (RFC 9457, `application/problem+json`). `code` is for"
        " programs and never reused; `detail` and `hint` are for people; `errors` points into the input; `request_id` is"
        " also in the server's log. The Python client raises the class of the same name, found in `headway.errors`; all"
        " are `headway.HeadwayError`.\n\n"
        "## What the server answers\n\n"
        + table(("status", "code", "meaning", "hint"), map(_error_row, served))
        + "\n\nAnswers of 429 and 503 carry `Retry-After`; the request changed nothing and may be repeated with its"
        " `Idempotency-Key`, which the client does by itself.\n\n"
        "## What only Python sees\n\n"
        + table(
            ("class", "code", "meaning"), ([f"`{k.__name__}`", f"`{k.code}`", first_paragraph(k.__doc__)] for k in rest)
        )
        + "\n\n## How a run fails\n\n"
        "A run that fails does so with an `error` of its own, in a 200 answer: `code`, `type` (the exception's class),"
        " `message`, `retryable`, `details` (a traceback).\n\n"
        + table(("code", "meaning"), ([f"`{code}`", meaning] for code, meaning in RUN_ERRORS.items()))
        + "\n"
    )


RUN_ERRORS: Final = {
    "exception": "The function raised; `type` and `message` say what.",
    "failed": "The function raised `headway.Fail`; it may name a code of its own instead.",
    "retry_later": "The function raised `headway.RetryLater`, and no attempts were left.",
    "timeout": "The attempt took longer than the task's `timeout`.",
    "heartbeat_timeout": "The attempt gave no sign of life for longer than the task's `heartbeat_timeout`.",
    "crashed": "The worker vanished with it, or the child process that executed it died; it was tried again.",
    "poison": "It took its worker down as often as `max_crashes` allows; it is not tried again.",
    "invalid_input": "The input does not fit the function's signature any more; it is not tried again.",
    "invalid_output": "What the function returned is not JSON; it is not tried again.",
    "output_too_large": "What the function returned is larger than `HEADWAY_OUTPUT_MAX`; it is not tried again.",
    "task_missing": "The worker that claimed the run does not have the task.",
    "damaged": "A part of the run was damaged on the server's disk and cannot be read, so that it is not executed.",
    "abandoned": "It was asked to stop, and its worker never confirmed that it had.",
}
"""The codes that a run's `error` can have."""


def _kinds(root: type[HeadwayError]) -> Iterator[type[HeadwayError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _error_row(kind: type[HeadwayError]) -> list[str]:
    return [
        str(kind.status),
        f'<a id="{kind.code}"></a>`{kind.code}`',
        first_paragraph(kind.__doc__),
        one_line(kind.hint),
    ]


# -- HTTP --------------------------------------------------------------------------------------------------------------


def routes() -> tuple[Route, ...]:
    """Return the list of routes."""
    return tuple(importlib.import_module("headway.server").ROUTES)


def http() -> str:
    """Return the page of routes."""
    found = routes()
    structs: dict[str, type[msgspec.Struct]] = {}
    for entry in found:
        for kind in (entry.takes, entry.gives, entry.shows.brief if entry.shows else None):
            _collect(kind, structs)
    parts = [
        "# HTTP API\n",
        (
            "The server describes itself in OpenAPI 3.1 at `/openapi.json`, its other surfaces at `/openapi/tadabase.json` and"
            " `/openapi/cloudcoin.json` (`headway openapi --surface NAME` prints the same), and shows all at"
            ' `/docs`. Ids are UUIDs; times are RFC 3339 in UTC; durations are `"30s"` or ISO 8601. Unknown fields in requests'
            " are refused; answers may gain fields, which readers ignore. A verb follows its resource after a colon."
            " The tests generate clients from each document with openapi-typescript, @hey-api/openapi-ts and"
            " openapi-python-client; other generators for OpenAPI 3.1 should do as well.\n"
        ),
        "## Routes\n",
        table(("route", "what it does", "takes", "gives", "scope"), map(_route_row, found)),
        (
            "\nScopes say what a key will have to allow; as long as there are no keys, whoever reaches the loopback address may"
            " use every route.\n"
        ),
        table(("scope", "allows"), ([f"`{scope}`", meaning] for scope, meaning in SCOPES.items())),
        (
            "\n### What an effect needs\n\nWhatever the route, an answer shows what the key may read, and what a request does needs what"
            " that takes: the scope here, besides that of the route. An answer to a key that may change a noun and not read it is"
            ' *brief*: `"brief": true`, which one it is, its state and its version.\n'
        ),
        table(("to …", "takes", "where"), ([effect, f"`{need.scope}`", need.where] for effect, need in NEEDS.items())),
        "\n## Parameters\n",
        "Parameters that are not known are refused. Lists take `a,b`; labels are `label.NAME=value`.\n",
        *_queries(found),
        "## Metrics\n",
        "`GET /metrics`, in the text format of Prometheus. Counters begin at 0 with the server.\n",
        "The first organisation sees all, another its own runs and queues; a label says whose they are.\n",
        _metrics(),
        "\n## Requests and answers\n",
        *(_struct(name, kind) for name, kind in sorted(structs.items())),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _metrics() -> str:
    service = Service(open_memory(SystemClock()), Signer(b"x" * 32), Settings(), features=FEATURES)
    families = ServerCollector(Api(service, (NATIVE_SURFACE,))).collect()
    rows = [[f"`{family.name}`", family.type, family.documentation] for family in families]
    asyncio.run(service.store.close())
    return table(("metric", "kind", "meaning"), rows)


def _route_row(entry: Route) -> list[str]:
    statuses = ", ".join(str(status) for status in (entry.status, *entry.also))
    streams = ", or a stream" if entry.streams else ""
    takes = _link(entry.takes) + (" (optional)" if entry.takes is not None and entry.optional else "")
    return [
        f"`{entry.name}`",
        one_line(entry.summary),
        takes,
        f"{statuses} {_link(entry.gives)}{streams}".strip(),
        ", ".join(f"`{scope}`" for scope in entry.scopes),
    ]


def _link(kind: type | None) -> str:
    return "" if kind is None else f"[{kind.__name__}](#{kind.__name__.lower()})"


def _queries(found: Iterable[Route]) -> Iterator[str]:
    groups: dict[type[msgspec.Struct], list[str]] = {}
    for entry in found:
        if entry.query is not None:
            groups.setdefault(entry.query, []).append(f"`{entry.name}`")
    for kind, names in groups.items():
        yield f"{', '.join(names)}\n\n{_fields(kind)}\n"


def _collect(kind: Any, into: dict[str, type[msgspec.Struct]]) -> None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind.__name__ not in into:
            into[kind.__name__] = kind
            for inner in msgspec.structs.fields(kind):
                _collect(inner.type, into)
        return
    for inner in getattr(kind, "__args__", ()):
        _collect(inner, into)


def _struct(name: str, kind: type[msgspec.Struct]) -> str:
    said = inspect.cleandoc(kind.__doc__ or "") if "__doc__" in vars(kind) else ""
    return f"### {name}\n\n{said}\n\n{_fields(kind)}\n"


def _fields(kind: type[msgspec.Struct]) -> str:
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if isinstance(base, type) and issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            docs |= field_docs(base)
    schemas, components = msgspec.json.schema_components([kind], ref_template="{name}")
    schema = components.get(kind.__name__, schemas[0])
    needed = set(schema.get("required", ()))
    rows = [
        [f"`{name}`" + (" *" if name in needed else ""), _type(of), docs.get(name, "")]
        for name, of in schema.get("properties", {}).items()
    ]
    return table(("field", "type", "meaning"), rows) if rows else "No fields."


def _type(schema: dict[str, Any]) -> str:
    """Return a JSON Schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if "enum" in schema:
        return " \\| ".join(f"`{msgspec.json.encode(value).decode()}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " \\| ".join(dict.fromkeys(_type(part) for part in schema["anyOf"]))
    kind = schema.get("type", "any JSON")
    if kind == "array":
        items = schema.get("items") or {}
        if "prefixItems" in schema:
            return "[" + ", ".join(_type(part) for part in schema["prefixItems"]) + "]"
        text = f"list of {_type(items)}" if items else "list"
    elif kind == "object":
        inner = schema.get("additionalProperties")
        text = f"object of {_type(inner)}" if isinstance(inner, dict) and inner else "object"
    else:
        text = str(kind)
    return text + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    for least, most, unit in (
        ("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " names"),
    ):  # fmt: skip
        low, high = schema.get(least), schema.get(most)
        if low is not None and high is not None:
            return f", {low:,} to {high:,}{unit}"
        if high is not None:
            return f", up to {high:,}{unit}"
        if low is not None:
            return f", from {low:,}{unit}"
    return ""


# -- Python ------------------------------------------------------------------------------------------------------------


def python() -> str:
    """Return the page of public names."""
    parts = [
        "# Python\n",
        (
            "What `headway` and `headway.testing` name is the public API: it changes with a note in the changelog and, from 1.0"
            " on, only in major versions. Everything else inside the package may change at any time.\n"
        ),
        "## headway\n",
    ]
    for name in headway.__all__:
        parts += _name(name, getattr(headway, name))
    parts += ["## Options of `@app.task`\n", _task_options(), ""]
    parts += ["## Options of `@app.schedule`\n", _schedule_options(), ""]
    parts += [
        "## What a task has\n",
        "A function under `@app.task` can be called as before, and is the task for clients.\n",
    ]
    parts.append(table(("member", "meaning"), [row for row in _members(TaskFunction) if ".start" in row[0]]) + "\n")
    parts.append("## What a client has\n")
    for attribute in ("runs", "tasks", "queues", "workers", "schedules", "tables", "record_tasks", "mail_server"):
        client = headway.Client(url="http://127.0.0.1:1")
        kind = type(getattr(client, attribute))
        parts += _name(f"client.{attribute}", kind, plain=True)
        client.close()
    parts.append("The attributes of an `AsyncClient` have the same methods, awaited.\n")
    parts.append("## headway.testing\n")
    parts.append(_prose(headway.testing.__doc__) + "\n")
    for name in headway.testing.__all__:
        parts += _name(name, getattr(headway.testing, name))
    return "\n".join(parts).rstrip() + "\n"


def _task_options() -> str:
    fields = {field.name: field for field in msgspec.structs.fields(TaskOptions)}
    assert list(fields) == list(OPTIONS), "OPTIONS in tools/reference.py does not say what TaskOptions has"
    rows = [
        [f"`{name}`", f"`{fields[name].default!r}`" if fields[name].default is not None else "", one_line(meaning)]
        for name, meaning in OPTIONS.items()
    ]
    return table(("option", "default", "meaning"), rows)


def _schedule_options() -> str:
    """Return the options of `@app.schedule`: those of the declaration in the API, with its defaults."""
    meanings = field_docs(ScheduleOptions) | field_docs(ScheduleDeclaration)
    defaults = {field.name: field.default for field in msgspec.structs.fields(ScheduleDeclaration)}
    rows = [
        [
            f"`{name}`",
            f"`{defaults[name]!r}`" if isinstance(defaults[name], str | int) else "",
            one_line(meanings.get(name, "")),
        ]
        for name in ScheduleOptions.__struct_fields__
    ]
    return table(("option", "default", "meaning"), rows)


def _prose(doc: str | None) -> str:
    """Return a docstring as Markdown: what is indented, and what a shell would say, is code."""
    paragraphs = inspect.cleandoc(doc or "").split("\n\n")
    shown: list[str] = []
    for paragraph in paragraphs:
        if paragraph.startswith(("    ", ">>> ")):
            code = "\n".join(
                line.removeprefix("    ") if paragraph.startswith(" ") else line for line in paragraph.splitlines()
            )
            if shown and shown[-1].endswith("```") and paragraph.startswith(" "):
                shown[-1] = f"{shown[-1].removesuffix('```')}\n{code}\n```"
            else:
                shown.append(f"```python\n{code}\n```")
        else:
            shown.append(paragraph)
    return "\n\n".join(shown)


def _name(name: str, found: Any, *, plain: bool = False) -> Iterator[str]:
    yield f"### {name}\n"
    if isinstance(found, types.FunctionType):
        yield f"`{name}{_signature(found)}`\n"
    yield _prose(found.__doc__) + "\n"
    if isinstance(found, type):
        if not plain and issubclass(found, msgspec.Struct):
            docs = field_docs(found)
            rows = [
                [
                    f"`{field.name}`",
                    "" if field.default is msgspec.NODEFAULT else f"`{field.default!r}`",
                    docs.get(field.name, ""),
                ]
                for field in msgspec.structs.fields(found)
            ]
            yield table(("field", "default", "meaning"), rows) + "\n"
        elif members := list(_members(found)):
            yield table(("member", "meaning"), members) + "\n"


def _members(kind: type) -> Iterator[list[str]]:
    seen: set[str] = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("headway") or base is HeadwayError:
            continue
        for name, member in vars(base).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            if isinstance(member, property):
                yield [f"`.{name}`", first_paragraph(member.__doc__)]
            elif isinstance(member, types.FunctionType):
                prefix = "await " if inspect.iscoroutinefunction(member) else ""
                yield [f"`{prefix}.{name}{one_line(_signature(member))}`", first_paragraph(member.__doc__)]


def _signature(function: types.FunctionType) -> str:
    """Return the parameters without their annotations, which the type checker knows."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


# -- writing -----------------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Return every page of the reference."""
    made = {"settings": settings, "cli": cli, "errors": errors, "http-api": http, "python": python}
    return {FOLDER / f"{name}.md": HEAD + make() for name, make in made.items()}


def run() -> int:
    """Write the pages, or check them."""
    stale = []
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT))
    if stale:
        print("Not current: ", *stale, "- run python tools/reference.py", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    raise SystemExit(run())

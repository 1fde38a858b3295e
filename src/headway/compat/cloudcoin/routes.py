"""Commands start runs, and a run is asked for under every URL that their documentation ever had."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from headway.compat.cloudcoin import dialect, words
from headway.compat.cloudcoin.commands import Commands
from headway.compat.cloudcoin.dialect import CloudcoinDialect
from headway.compat.cloudcoin.settings import CloudcoinSettings
from headway.compat.cloudcoin.words import Generation
from headway.errors import BadParameter, RouteNotFound, RunNotFound
from headway.ids import canonical_id
from headway.kernel.run import Run
from headway.protocol.runs import StartRun
from headway.web.call import Call, StartGate
from headway.web.frames import RunBodies
from headway.web.reply import Reply
from headway.web.route import Route, Scope, route
from headway.web.runs import REPLAYED

RUN_TYPE: Final = "cloudcoin"
"""The type of runs started on this surface; requests without a key see no others."""


class TaskQuery(msgspec.Struct):
    """Which task is asked for; one of the two."""

    task_id: str = ""
    id: str = ""


class Commanding:
    """POST /api/v1/{command}: the handlers, with the table of commands."""

    def __init__(self, commands: Commands, gate: StartGate) -> None:
        self._commands = commands
        self._gate = gate

    async def command(self, call: Call) -> Reply:
        """Start the task that the command names, with the body as its input."""
        command = call.name()
        task = self._commands.task(call.method, command)
        if task is None:
            raise RouteNotFound(f"{call.method} {command[:80]} is no command")
        started = await self._gate.start(call, StartRun(task=task, input=msgspec.Raw(call.raw_body.strip() or b"{}")))
        url = f"{_here(call)}/api/system/tasks?id={started.run.id}"
        return Reply(
            200,
            words.kicked_off(started.run, command, url, whole=call.may("see a run")),
            (REPLAYED,) if started.replayed else (),
        )


class Polling:
    """The handlers of one generation, with the answers that they gave last."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._kept = RunBodies()

    async def by_path(self, call: Call) -> Reply:
        """Say how the task in the path is doing."""
        return await self._told(call, call.arguments["id"])

    async def by_query(self, call: Call) -> Reply:
        """Say how the task in the query is doing, `?task_id=` or `?id=`."""
        asked = _asked(call.raw_query)
        call.arguments = {"id": asked}
        return await self._told(call, asked)

    async def _told(self, call: Call, text: str) -> Reply:
        run_id = canonical_id(text)
        if run_id is None:
            raise RunNotFound(f"{text[:80]!r} is not the id of a task")
        run = await call.service.runs.get(run_id)
        if call.principal is dialect.KEYLESS and run.run_type != RUN_TYPE:
            raise RunNotFound(f"there is no run {run_id}")
        return Reply(200, self._kept.get(run) or self._kept.put(run, await self._words(call, run)))

    async def _words(self, call: Call, run: Run) -> bytes:
        partial = None
        if self._generation != "current" and run.started_at is not None and not run.final:
            partial = await call.service.history.newest_result(run.id)
        return words.told(run, self._generation, partial.value if partial is not None else None)


def _asked(query: bytes) -> str:
    try:
        given = parse_qs(query.decode("ascii"), errors="strict", max_num_fields=dialect.PARAMETERS_MAX)
    except ValueError:
        given = {}
    found = [text for name in ("task_id", "id") for text in given.get(name, ())]
    if len(found) != 1:
        raise BadParameter("say which task: ?task_id=… or ?id=…, once", parameter=dialect.TASK_ID)
    return found[0]


def _here(call: Call) -> str:
    """Return the server's address, as the client has called it."""
    return f"http://{call.header(b'host')}"


def routes(settings: CloudcoinSettings, gate: StartGate) -> tuple[Route, ...]:
    """Return the routes of the surface; raise ValueError for an alias that is none."""
    commands = Commanding(Commands(settings.aliases), gate)
    speaks_current, speaks_flat, speaks_newer = (
        CloudcoinDialect(generation, settings) for generation in ("current", "flat", "newer")
    )
    current, flat, newer = Polling("current"), Polling("flat"), Polling("newer")

    def said(method: str, path: str, handler: Any, scope: Scope, summary: str, **more: Any) -> Route:
        return route(method, path, handler, scope, summary, unparsed=True, **{"dialect": speaks_current, **more})

    run = ("run_not_found", "run_purged")
    start = ("unknown_task", "task_inactive", "malformed_json", "invalid_input", "payload_too_large", "draining")
    polled = {"gives": words.TaskReply, "problems": run}
    return (
        said("POST", "/api/v1/{name}", commands.command, "run:start", "Start the task that a command names.",
             gives=words.StartedReply, problems=start, headers=("Idempotency-Key",)),
        said("PUT", "/api/v1/{name}", commands.command, "run:start", "The same, for the commands that are a PUT: /fix.",
             operation="put_command", gives=words.StartedReply, problems=start, headers=("Idempotency-Key",)),
        said("GET", "/api/v1/{name}", commands.command, "run:start", "The same, for those that the settings name.",
             operation="get_command", gives=words.StartedReply, problems=start),
        said("GET", "/api/v1/tasks/{id}", current.by_path, "run:read", "Poll a task (generations A and B).", **polled),
        said("GET", "/api/v1/task/{id}", current.by_path, "run:read", "The same, as older documents have it.",
             operation="by_older_path", **polled),
        said("GET", "/api/v1/get-task-status/{id}", current.by_path, "run:read", "The same, by its alias.",
             operation="by_alias", **polled),
        said("GET", "/get-task-status/{id}", current.by_path, "run:read", "The same, by its alias.",
             operation="by_root_alias", **polled),
        said("GET", "/api/transactions/task", flat.by_query, "run:read", "Poll a task (generation C).",
             operation="by_query_of_transactions", query=TaskQuery, gives=words.FlatTask, problems=run, dialect=speaks_flat),
        said("GET", "/api/task", flat.by_query, "run:read", "The same, by its short path.",
             operation="by_short_query", query=TaskQuery, gives=words.FlatTask, problems=run, dialect=speaks_flat),
        said("GET", "/api/system/tasks", newer.by_query, "run:read", "Poll a task (generation D).",
             operation="by_query_of_system", query=TaskQuery, gives=words.NewerReply, problems=run, dialect=speaks_newer),
    )  # fmt: skip

"""Reports of workers: each is fenced by its lease epoch, and all of a request share one transaction."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, assert_never

import msgspec

from headway.config import Settings
from headway.errors import Forbidden, HeadwayError, InvalidInput, InvalidState, LeaseLost, RunStopping
from headway.ids import Signer, canonical_id
from headway.kernel import lifecycle, progress
from headway.kernel.authority import EVERYBODY, Principal
from headway.kernel.inheritance import FAILED_CHILD, HEIR, ORIGIN, STEP_FAILURE
from headway.kernel.namespace import Namespace
from headway.kernel.permissions import NEEDS, Effect, lacking_for_child, of_start, within
from headway.kernel.query import FIRST
from headway.kernel.run import FINAL, Blocker, Run, RunError, State
from headway.protocol import workers as wire
from headway.protocol.runs import StartRun
from headway.protocol.values import duration, invalid, timestamp
from headway.runs import continuing
from headway.runs.inputs import canonical
from headway.runs.starting import NewRun, RunFactory, insert
from headway.runs.transitions import CHILD_RESULT, change, move, unblock
from headway.store.command import Command
from headway.store.corruption import is_json
from headway.store.unit_of_work import UnitOfWork

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

SIGNAL: Final = "signal:"
"""Prefix of steps that are received signals: `signal:NAME#N`, N counting from 1."""
RESERVED_STEPS: Final = (SIGNAL, CHILD_RESULT, FAILED_CHILD, HEIR, ORIGIN, STEP_FAILURE)
"""Prefixes of steps that only the server writes, such as those by which retries inherit."""
TOKEN: Final = "token"  # noqa: S105 - the purpose of the signature


_NULL_OUTPUT: Final = lifecycle.Succeeded("null")


def json_text(raw: msgspec.Raw, settings: Settings, pointer: str) -> str:
    """Return JSON in its canonical form; raise InvalidInput or PayloadTooLarge beyond the limits of outputs."""
    return canonical(raw, bytes_max=settings.output_max, depth_max=settings.depth_max, pointer=pointer)[0]


def _succeeded(report: wire.SucceededReport, settings: Settings) -> lifecycle.Succeeded | lifecycle.Errored:
    if bytes(report.output) == b"null":
        return _NULL_OUTPUT
    try:
        return lifecycle.Succeeded(json_text(report.output, settings, "/output"))
    except HeadwayError as error:
        # The function has returned and would return the same again, so the run fails.
        code = "output_too_large" if error.status == 413 else "invalid_output"  # noqa: PLR2004
        return lifecycle.Errored(RunError(code=code, message=error.detail, retryable=False))


def _errored(report: wire.ErroredReport, _: Settings) -> lifecycle.Errored | lifecycle.Crashed:
    after = None if report.retry_after is None else duration(report.retry_after, "/retry_after")
    if report.error.code == "crashed":
        return lifecycle.Crashed(report.error.message)
    error = RunError(
        code=report.error.code,
        type=report.error.type,
        message=report.error.message,
        retryable=report.error.retryable,
        details=report.error.details,
    )
    return lifecycle.Errored(error, after, random.random())  # noqa: S311 - jitter is no secret


def _suspended(report: wire.SuspendedReport, _: Settings) -> lifecycle.Suspended:
    if not report.blockers and report.timeout is None:
        raise InvalidInput("a suspended run needs a blocker or a timeout: name one")
    blockers = tuple(
        Blocker(kind="signal", name=spec.name, number=spec.number)
        if spec.kind == "signal"
        else Blocker(kind="run", run_id=canonical_id(spec.run_id) or spec.run_id)
        for spec in report.blockers
    )
    return lifecycle.Suspended(blockers, None if report.timeout is None else duration(report.timeout, "/timeout"))


EVENTS: Final[dict[type[wire.Report], Callable[[Any, Settings], lifecycle.Event]]] = {
    wire.SucceededReport: _succeeded,
    wire.ErroredReport: _errored,
    wire.SuspendedReport: _suspended,
    wire.SleptReport: lambda report, _: lifecycle.Slept(timestamp(report.until, "/until")),
    wire.ReleasedReport: lambda *_: lifecycle.Released(),
    wire.StoppedReport: lambda *_: lifecycle.Stopped(),
}
"""Outcome report → its event of the lifecycle; a translation raises InvalidInput or PayloadTooLarge for invalid values."""


class CheckedReport(msgspec.Struct, frozen=True):
    """A report after all checks that need no transaction."""

    report: wire.AnyReport
    value: str = "null"
    event: lifecycle.Event | None = None
    child: NewRun | None = None
    refusal: HeadwayError | None = None
    organisation: int = FIRST
    """Organisation of the run that the report was checked for."""
    by: Principal = EVERYBODY
    """The principal of the worker's key."""


def _of_child(report: wire.ChildReport) -> StartRun:
    return msgspec.structs.replace(report.run, parent_id=report.run_id)


def _effects(report: wire.ChildReport) -> Iterable[Effect]:
    spec = report.run
    return of_start(spec.task, spec.dedupe.on_conflict if spec.dedupe else "return")


def _check_name(name: str) -> None:
    """Raise InvalidInput for the name of a step that only the server writes."""
    if name.startswith(RESERVED_STEPS):
        message = f"names of steps do not begin with {name.partition(':')[0]}:, since the server's own do"
        raise invalid("/name", message, "reserved")


class ReportProcessor:
    """Checks reports before the transaction, and applies them in it."""

    def __init__(self, run_factory: RunFactory, signer: Signer, settings: Settings) -> None:
        self._run_factory = run_factory
        self._signer = signer
        self._settings = settings

    async def prepare(
        self, worker_id: str, reports: Iterable[wire.AnyReport], organisation: int, by: Principal
    ) -> ApplyReports:
        """Return the command for the reports of a worker of the organisation, each checked as far as no transaction is needed."""
        checked: list[CheckedReport] = []
        run_ids: set[str] = set()
        for report in reports:
            if isinstance(report, wire.ChildReport):
                item = await self._check_child(report, organisation, by)
                if item.child is not None and item.child.run.parent_id:
                    run_ids.add(item.child.run.parent_id)
            else:
                item = self.check(report, organisation, by)
            checked.append(item)
            run_ids.add(report.run_id)
        return ApplyReports(self, worker_id, checked, run_ids, len(checked))

    async def _check_child(self, report: wire.ChildReport, organisation: int, by: Principal) -> CheckedReport:
        """Check the report of a child as `check` does; an input that takes long is validated in a child process."""
        try:
            _check_name(report.name)
            new = await self._run_factory.make(_of_child(report), Namespace(organisation), run_type="child")
            _authorize_child(by, new, _effects(report))
        except HeadwayError as error:
            return CheckedReport(report, refusal=error, organisation=organisation, by=by)
        return CheckedReport(report, child=new, organisation=organisation, by=by)

    def check(
        self, report: wire.AnyReport, organisation: int, by: Principal = EVERYBODY, *, shared: bool = False
    ) -> CheckedReport:
        """Check a report; an error, also of the key's permissions, becomes the `refusal` of this report alone.

        `organisation` is that of the run, as a rule the worker's own. `shared`: the run's task is shared by another
        organisation, and names of child tasks are looked up there first.
        """
        try:
            if isinstance(report, (wire.StepReport, wire.StepFailureReport, wire.ChildReport)):
                _check_name(report.name)
            translate = EVENTS.get(type(report))
            if translate is not None:
                return CheckedReport(report, event=translate(report, self._settings))
            match report:
                case wire.StepReport() | wire.ResultReport():
                    return CheckedReport(report, value=json_text(report.value, self._settings, "/value"))
                case wire.StepFailureReport():
                    return CheckedReport(report, value=_step_failure_value(report))
                case wire.ChildReport():
                    spec, namespace = _of_child(report), Namespace(organisation)
                    new = self._run_factory.make_at_once(spec, namespace, run_type="child", shared_first=shared)
                    _authorize_child(by, new, _effects(report))
                    return CheckedReport(report, child=new, organisation=organisation, by=by)
                case _:
                    return CheckedReport(report)
        except HeadwayError as error:
            return CheckedReport(report, refusal=error, organisation=organisation, by=by)

    def apply(self, uow: UnitOfWork, run: Run, checked: CheckedReport) -> wire.Reply | None:
        """Apply a report to its run, whose lease is valid; return the reply to reports that ask for one."""
        report = checked.report
        match report:
            case (
                wire.SucceededReport() | wire.ErroredReport() | wire.SuspendedReport()
                | wire.SleptReport() | wire.ReleasedReport() | wire.StoppedReport()
            ):  # fmt: skip
                assert checked.event is not None, "an outcome is translated into an event"
                _apply(uow, run, report, checked.event)
            case wire.ProgressReport():
                after = progress.advance(run, report.done, report.total, report.message, uow.now_ms)
                change(uow, run, after)
            case wire.LogReport():
                self._log(uow, run, report)
            case wire.ResultReport():
                number = uow.add_result(run.id, report.name, checked.value)
                line = _encode({"number": number, "name": report.name, "value": msgspec.Raw(checked.value.encode())})
                change(uow, run, run, "run.result", line.decode())
            case wire.StepReport():
                _step(uow, run, report.name, checked.value)
            case wire.StepFailureReport():
                _step_failure(uow, run, report, checked.value)
            case wire.ChildReport():
                return self._child(uow, run, report, checked.child)
            case wire.TokenReport():
                return wire.Reply(index=0, token=self._signer.seal(TOKEN, f"{run.id} {report.name}"))
            case _:
                assert_never(report)
        return None

    def _log(self, uow: UnitOfWork, run: Run, report: wire.LogReport) -> None:
        """Add a log line, unless the history is full; the last line before that says so."""
        bound = self._settings.log_lines_max
        if run.seq > bound:
            return
        message, level = report.message, report.level
        if run.seq == bound:
            message, level = f"the history is full at {bound} lines: further log lines are dropped", "warning"
        line: dict[str, Any] = {"level": level, "message": message, "attempt": run.attempt}
        if report.fields and run.seq < bound:
            line["fields"] = report.fields
        change(uow, run, run, "run.log", _encode(line).decode())

    def _child(self, uow: UnitOfWork, run: Run, report: wire.ChildReport, new: NewRun | None) -> wire.Reply:
        """Start a child once: a child that an earlier attempt started is found by its step."""
        known = uow.step(run.id, report.name)
        if known is not None:
            child_id = _decode(known.value) if is_json(known.value) else None
            if not isinstance(child_id, str):
                raise InvalidInput(f"the step {report.name!r} of this run started no child")
            return wire.Reply(index=0, run_id=child_id)
        if run.state is State.STOPPING:
            raise RunStopping
        assert new is not None
        child = self._insert_child(uow, run, report.name, new)
        _step(uow, run, report.name, f'"{child.id}"')
        return wire.Reply(index=0, run_id=child.id)

    def _insert_child(self, uow: UnitOfWork, parent: Run, step: str, new: NewRun) -> Run:
        """Start the child; in a retry, it continues from the steps of the child that failed in the earlier run."""
        before = continuing.inherit_child(uow, parent, step, new.run)
        if before is None:
            return insert(uow, new)[0]
        planned = continuing.plan(uow, before)
        new = msgspec.structs.replace(new, run=msgspec.structs.replace(new.run, previous_id=before.id))
        child, created = insert(uow, new)
        if created:
            continuing.inherit(uow, before, child, planned)
        return child


@dataclass(eq=False)
class ApplyReports(Command[tuple[list[wire.Rejection], list[wire.Reply]]]):
    """The reports of one request; the result are the refused reports and the replies that some ask for."""

    processor: ReportProcessor
    worker_id: str
    reports: list[CheckedReport]
    run_ids: set[str]
    weight: int
    trusts = True

    @property
    def ends_attempts(self) -> bool:
        """Whether a report may have ended an attempt."""
        return any(checked.event is not None or checked.refusal is not None for checked in self.reports)

    def apply(self, uow: UnitOfWork) -> tuple[list[wire.Rejection], list[wire.Reply]]:
        """Apply the reports in order; each with an error, such as LeaseLost for an old epoch, is rejected by itself."""
        rejected: list[wire.Rejection] = []
        replies: list[wire.Reply] = []
        for index, given in enumerate(self.reports):
            checked, report = given, given.report
            run = uow.run(report.run_id)
            try:
                if run is None or run.epoch != report.epoch or run.worker_id != self.worker_id:
                    raise LeaseLost
                if run.organisation != checked.organisation and isinstance(report, wire.ChildReport):
                    shared = not Namespace(run.organisation).owns(run.task)
                    checked = self.processor.check(report, run.organisation, checked.by, shared=shared)
                if checked.refusal is not None:
                    raise checked.refusal
                reply = self.processor.apply(uow, run, checked)
                if reply is not None:
                    replies.append(msgspec.structs.replace(reply, index=index))
            except HeadwayError as error:
                uow.doubt(report.run_id)
                rejected.append(wire.Rejection(index=index, status=error.status, code=error.code, detail=error.detail))
        return rejected, replies


def _authorize_child(by: Principal, new: NewRun, effects: Iterable[Effect]) -> None:
    """Raise Forbidden for a child that the worker's key may not start."""
    effect = lacking_for_child(by, effects, new.run.queue)
    if effect is not None:
        scope, queue = NEEDS[effect].scope, Namespace.unqualify(new.run.queue)
        elsewhere = "" if within(by, new.run.queue) else f", or a key for the queue {queue[:200]}"
        raise Forbidden(f"to {effect} in the queue {queue[:200]} needs the scope {scope}{elsewhere}", scope=scope)


def _step(uow: UnitOfWork, run: Run, name: str, value: str) -> None:
    if uow.step(run.id, name) is None:
        uow.add_step(run.id, name, value)
        change(uow, run, run, "run.step", _encode({"name": name, "attempt": run.attempt}).decode())


def _step_failure_value(report: wire.StepFailureReport) -> str:
    retry_at = None if report.retry_at is None else timestamp(report.retry_at, "/retry_at")
    error = report.error
    failure = wire.StepFailure(retry_at=retry_at, code=error.code, type=error.type, message=error.message)
    return _encode(failure).decode()


def _step_failure(uow: UnitOfWork, run: Run, report: wire.StepFailureReport, value: str) -> None:
    name = f"{STEP_FAILURE}{report.name}:{report.number}"
    if uow.step(run.id, name) is None:
        uow.add_step(run.id, name, value)
        line = {
            "name": report.name, "number": report.number, "attempt": run.attempt, "retry_at": report.retry_at,
            "error": report.error,
        }  # fmt: skip
        change(uow, run, run, "run.step_failed", _encode(line).decode())


def _apply(uow: UnitOfWork, run: Run, report: wire.OutcomeReport, event: lifecycle.Event) -> None:
    if isinstance(event, lifecycle.Suspended):
        _suspend(uow, run, event)
        return
    note = {"note": report.note} if isinstance(report, wire.ReleasedReport) and report.note else {}
    move(uow, run, event, **note)
    if run.state is State.STOPPING and isinstance(event, lifecycle.Succeeded):
        # Taken as the word that it has stopped, not as its outcome: the stop was durable first.
        raise RunStopping


def _suspend(uow: UnitOfWork, run: Run, event: lifecycle.Suspended) -> None:
    """Suspend the run, and unblock it at once if a blocker has ended meanwhile."""
    for blocker in event.blockers:
        if blocker.kind == "run":
            child = uow.run(blocker.run_id)
            known = uow.step(run.id, CHILD_RESULT + blocker.run_id) if child is None else child.parent_id == run.id
            if not known and not continuing.take_over(uow, run, blocker.run_id):
                raise InvalidState("a run can wait only for its own children", state=str(run.state))
    after = move(uow, run, event)
    for blocker in event.blockers:
        if after.state is State.SUSPENDED and _has_come(uow, run, blocker):
            after = unblock(uow, after, blocker)


def _has_come(uow: UnitOfWork, run: Run, blocker: Blocker) -> bool:
    if blocker.kind == "run":
        child = uow.run(blocker.run_id)
        told = run.previous_id is not None and uow.step(run.id, CHILD_RESULT + blocker.run_id) is not None
        return child is None or child.state in FINAL or told
    return uow.step(run.id, f"{SIGNAL}{blocker.name}#{blocker.number}") is not None


def token_of(signer: Signer, token: str) -> tuple[str, str] | None:
    """Return the run id and the name that a token was made for, or None for an unknown token."""
    text = signer.unseal(TOKEN, token)
    if text is None:
        return None
    run_id, _, name = text.partition(" ")
    return run_id, name

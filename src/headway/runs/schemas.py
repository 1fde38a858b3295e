"""Checks inputs against the schemas of their tasks: on the event loop if that is quick, else in a child process.

An upper bound of the cost of a check is known beforehand, from the schema (`kernel.schemas.cost`) and the size of the
input. Nearly all inputs are checked on the event loop, in microseconds. The validator cannot be interrupted and blocks
the loop, so costly checks are sent to a child process.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final
from weakref import WeakSet

import msgspec

from headway.errors import InputTooCostly, InvalidInput, SchemaTooCostly
from headway.evaluation import checking
from headway.evaluation.children import EvaluationDied, EvaluationPool
from headway.evaluation.messages import Check, Fault, Verdict
from headway.kernel.schemas.cost import Cost, TooCostly, cost_of

STEPS_MAX: Final = 500_000
"""Most steps of a check on the event loop: 7 ms."""
WEIGHT_MAX: Final = 50_000
"""Most weight of the patterns of a schema that is compiled on the event loop: 10 ms."""
SIZE_MAX: Final = 128 * 1024
"""Most characters of a schema that is compiled on the event loop."""
EXPLAINED_MAX: Final = 5_000
"""Most steps, times the depth of nested errors, of collecting an input's errors on the event loop."""
COPIED_MAX: Final = 5_000_000
"""Most steps, times the characters of the input, of the same: each error has a copy of its part of the input."""
TOGETHER_MAX: Final = 100_000
"""Steps after which a loop of checks yields to the event loop."""
LEARNED_STEPS: Final = 10
"""Steps counted for each character of a schema that is compiled."""
MEMORY_MAX: Final = 512 * 1024 * 1024
"""Most estimated bytes of the compiled schemas in the cache."""

_decode: Final = msgspec.json.Decoder().decode
_verdict: Final = msgspec.json.Decoder(Verdict).decode


class Question(msgspec.Struct, frozen=True):
    """A check too costly for the event loop: `Schemas.judge` carries it out in a child process."""

    schema: str
    text: str
    pointer: str
    refuted: bool
    """Whether the input is known to be invalid, and only its errors are missing."""

    def refusal(self) -> InvalidInput:
        """Return the error for callers that cannot wait for a child process."""
        if self.refuted:
            return refused(self.pointer, [])
        return _input_too_costly(self.pointer, "takes too long to be done here")


class CompiledSchema(msgspec.Struct, frozen=True):
    """The cost and the validator of a schema."""

    cost: Cost | None = None
    too_costly: TooCostly | None = None
    validator: Any = None
    """None if the schema is too large to be compiled on the event loop."""
    rate: float = float("inf")
    """Upper bound of the steps for each character of an input."""


class Schemas:
    """A cache of the schemas of all tasks: compiling takes a hundred times longer than checking."""

    def __init__(self, children: EvaluationPool) -> None:
        self._children = children
        self._known: dict[str, CompiledSchema] = {}
        self._memory = 0
        self._judged: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.spent = 0.0
        """Steps since the last yield to the event loop."""

    def check(self, schema: str, text: str, value: Any, pointer: str = "/input") -> Question | None:
        """Return None for a valid input; raise InvalidInput with JSON pointers to its errors.

        `text` is the input as JSON, `value` the same decoded. Returns a Question if the check is too costly for the
        event loop, and raises SchemaTooCostly if the schema is too costly for any input.
        """
        if schema == "{}":
            return None
        known = self._known.get(schema) or self._learn(schema)
        if known.too_costly is not None:
            raise too_costly(known.too_costly, pointer, "the schema of the task")
        steps = len(text) * known.rate
        if known.validator is None or (steps > STEPS_MAX and _steps(known, text, value)[0] > STEPS_MAX):
            return Question(schema, text, pointer, refuted=False)
        self.spent += steps
        if known.validator.is_valid(value):
            return None
        _, errors, depth = _steps(known, text, value)
        if errors * depth > EXPLAINED_MAX or errors * len(text) > COPIED_MAX:
            return Question(schema, text, pointer, refuted=True)
        raise refused(pointer, checking.faults(known.validator, value))

    async def yield_when_busy(self) -> None:
        """Yield to the event loop if much was checked since the last yield; call it between two checks."""
        if self.spent > TOGETHER_MAX:
            self.spent = 0.0
            await asyncio.sleep(0)

    async def judge(self, question: Question, organisation: int) -> None:
        """Carry out a check in a child process, within the organisation's share of these.

        Raises InvalidInput, InputTooCostly if the check exceeds the child's time or memory, and Overloaded.
        """
        if (task := asyncio.current_task()) is not None:
            self._judged.add(task)
        async with self._children.turn(organisation) as child:
            try:
                await child.ask(Check(question.schema, question.text))
                verdict = _verdict(await child.answer())
            except EvaluationDied:
                if question.refuted:
                    raise question.refusal() from None
                raise _input_too_costly(
                    question.pointer, "takes more time or memory than there is for one input"
                ) from None
            if verdict.unusable:
                raise _unusable("/input_schema", verdict.unusable)
            if not verdict.valid:
                faults: list[Fault] = []
                with contextlib.suppress(EvaluationDied):  # the errors found until then are returned
                    for _ in range(2):
                        faults = _verdict(await child.answer()).faults
                raise refused(question.pointer, faults)

    def has_judged(self) -> bool:
        """Tell whether an input of the current asyncio task was checked in a child process."""
        return asyncio.current_task() in self._judged

    async def declare(self, schema: str, organisation: int, pointer: str = "/input_schema") -> None:
        """Raise InvalidInput for a schema that is invalid or has external references, SchemaTooCostly if too costly."""
        if schema == "{}":
            return
        try:
            known = self._known.get(schema) or self._learn(schema)
        except InvalidInput as error:
            raise _unusable(pointer, error.errors[0]["message"]) from None
        if known.too_costly is not None:
            raise too_costly(known.too_costly, pointer, "the schema")
        await self.yield_when_busy()
        if known.validator is not None:
            return
        async with self._children.turn(organisation) as child:
            try:
                await child.ask(Check(schema))
                verdict = _verdict(await child.answer())
            except EvaluationDied:
                cause = TooCostly("", "compiling it takes too much time or memory")
                raise too_costly(cause, pointer, "the schema") from None
        if verdict.unusable:
            raise _unusable(pointer, verdict.unusable)

    def _learn(self, schema: str) -> CompiledSchema:
        """Compute a schema's cost, and compile it if that is quick; raise InvalidInput for an invalid one."""
        said = _decode(schema)
        self.spent += LEARNED_STEPS * len(schema)
        try:
            cost = cost_of(said)
        except TooCostly as error:
            known = CompiledSchema(too_costly=error)
        else:
            quick = cost.weight <= WEIGHT_MAX and len(schema) <= SIZE_MAX and cost.by_depth
            try:
                validator = checking.compiled(said) if quick else None
            except checking.Unusable as error:
                raise _unusable("/input_schema", str(error)) from None
            known = CompiledSchema(cost, None, validator, _rate(cost))
        self._remember(schema, known)
        return known

    def _remember(self, schema: str, known: CompiledSchema) -> None:
        self._known[schema] = known
        self._memory += _memory(schema, known)
        while self._memory > MEMORY_MAX and len(self._known) > 1:
            oldest = next(iter(list(self._known)))  # a copy: the writer's thread may add a schema meanwhile
            gone = self._known.pop(oldest, None)
            self._memory -= 0 if gone is None else _memory(oldest, gone)


def _memory(schema: str, known: CompiledSchema) -> int:
    if known.validator is None or known.cost is None:
        return 1_000 + len(schema)
    return 1_000 + 20 * len(schema) + 64 * known.cost.weight + known.cost.patterns * checking.DFA_BYTES


def _rate(cost: Cost) -> float:
    """Return an upper bound of the steps for each character of an input; a value or a name has at least two."""
    if cost.grows:
        return float("inf")
    most = cost.by_depth[-1]
    return most.containers + most.values + most.bytes


def _steps(known: CompiledSchema, text: str, value: Any) -> tuple[float, float, float]:
    """Return upper bounds of a check's steps, of its errors, and of the depth to which these are nested."""
    assert known.cost is not None
    containers = text.count("{") + text.count("[")
    values = 1 + containers + text.count(",") + text.count(":")
    depth = containers
    if known.cost.grows and values <= EXPLAINED_MAX:
        depth = _depth(value)  # else the number of containers is the bound
    steps = known.cost.steps(containers=containers, values=values, size=len(text), depth=depth)
    errors = known.cost.steps(containers=containers, values=values, size=0, depth=depth)
    return steps, errors, 1.0 + known.cost.chain * min(containers, 100)


def _depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(_depth, parts), default=0)


def refused(pointer: str, faults: list[Fault]) -> InvalidInput:
    """Return the error for an invalid input, with the known faults."""
    if not faults:
        message = "it does not fit the schema; where cannot be said in the time that there is"
        faults = [Fault("", "schema", message)]
    errors = [{"pointer": pointer + each.path, "code": each.code, "message": each.message} for each in faults]
    first = errors[0]
    return InvalidInput(f"{first['pointer'][1:].replace('/', '.')}: {first['message']}", errors=errors)


def too_costly(cause: TooCostly, pointer: str, what: str) -> SchemaTooCostly:
    """Return the error for a schema that costs too much; `what` says which schema that is."""
    where = f"{pointer}{cause.pointer}" if what == "the schema" else cause.pointer
    errors = [{"pointer": where, "code": "too_costly", "message": str(cause)}]
    return SchemaTooCostly(f"{what} costs too much to check with, at {where or '/'}: {cause}", errors=errors)


def _input_too_costly(pointer: str, why: str) -> InputTooCostly:
    message = f"checking it against the schema of the task {why}"
    errors = [{"pointer": pointer, "code": "too_costly", "message": message}]
    return InputTooCostly(f"{pointer[1:]}: {message}", errors=errors)


def _unusable(pointer: str, message: str) -> InvalidInput:
    errors = [{"pointer": pointer, "code": "schema", "message": message[:500]}]
    return InvalidInput(f"the input schema cannot be used: {message}", errors=errors)

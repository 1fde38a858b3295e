"""Templates of users, rendered in child processes, so that a template above the limits fails only its own row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from headway.evaluation.children import EvaluationDied, EvaluationPool
from headway.evaluation.messages import Look, LookAnswer, Render, RenderAnswer
from headway.outbound.failure import SendFailed

SOURCE_MAX: Final = 32 * 1024
ROWS_AT_ONCE: Final = 50
"""Most rows of one request; a child renders as many of them as its time allows."""

_rendered: Final = msgspec.json.Decoder(RenderAnswer).decode
_looked: Final = msgspec.json.Decoder(LookAnswer).decode


class Templates:
    """Renders templates."""

    def __init__(self, children: EvaluationPool) -> None:
        self._children = children

    async def render(
        self, templates: Sequence[tuple[str, bool]], rows: Sequence[dict[str, Any]], organisation: int
    ) -> list[list[str] | SendFailed]:
        """Return for each row the texts of all templates, (source, whether it is HTML), or why there are none."""
        done: list[list[str] | SendFailed] = []
        while len(done) < len(rows):
            done += await self._turn(list(templates), rows[len(done) : len(done) + ROWS_AT_ONCE], organisation)
        return done

    async def _turn(
        self, templates: list[tuple[str, bool]], rows: Sequence[dict[str, Any]], organisation: int
    ) -> list[list[str] | SendFailed]:
        """Render the first rows; a row at which the child dies has failed, and is the last one rendered."""
        done: list[list[str] | SendFailed] = []
        async with self._children.turn(organisation, most=math.inf) as child:  # record tasks run few at once
            try:
                await child.ask(Render(templates, list(rows)))
                while len(done) < len(rows):
                    rendered = _rendered(await child.answer())
                    if rendered.later:
                        break
                    done.append(_outcome(rendered))
            except EvaluationDied:
                message = "the template was too much to be rendered"
                done.append(SendFailed("template", message, retryable=False, unreachable=True))
        return done

    async def look(self, source: str, organisation: int) -> LookAnswer:
        """Return the names that a template refers to, or its error."""
        if len(source) > SOURCE_MAX:
            return LookAnswer(error=f"a template has {SOURCE_MAX} characters at most")
        async with self._children.turn(organisation) as child:
            try:
                await child.ask(Look(source))
                return _looked(await child.answer())
            except EvaluationDied:
                return LookAnswer(error="the template is too much to be read")


def _outcome(rendered: RenderAnswer) -> list[str] | SendFailed:
    if rendered.texts is not None:
        return rendered.texts
    return SendFailed("template", f"the template failed: {rendered.error}", retryable=False, unreachable=rendered.slow)

"""How something that leaves the server fails: in words for whoever reads the record's error, and whether to try again."""

from __future__ import annotations


class SendFailed(Exception):
    """A call or a mail was not taken."""

    def __init__(
        self, code: str, message: str, *, retryable: bool, unreachable: bool = False, after_ms: int | None = None
    ) -> None:
        """`unreachable` is about the target and not about what was sent: the next one would fare no better."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.unreachable = unreachable
        self.after_ms = after_ms
        """How long the target asks us to wait."""


SHOWN_MAX = 300


def shown(text: str) -> str:
    """Return text from outside on one line, short, without what a terminal or a log would obey."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 2 * SHOWN_MAX]).split())
    return line if len(line) <= SHOWN_MAX else line[:SHOWN_MAX] + "…"

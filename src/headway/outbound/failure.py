"""Failure of a call or a mail: the message for the record's error, and whether to try again."""

from __future__ import annotations


class SendFailed(Exception):
    """A call or a mail was not accepted."""

    def __init__(
        self, code: str, message: str, *, retryable: bool, unreachable: bool = False, after_ms: int | None = None
    ) -> None:
        """`unreachable` means that the target failed, not the content, so that the next record would fail as well."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.unreachable = unreachable
        self.after_ms = after_ms
        """Wait that the target asked for, in milliseconds."""


SHOWN_MAX = 300


def shown(text: str) -> str:
    """Return foreign text on one line, short, without control characters."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 2 * SHOWN_MAX]).split())
    return line if len(line) <= SHOWN_MAX else line[:SHOWN_MAX] + "…"

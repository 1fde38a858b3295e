"""Standard streams without another end: descriptors that were closed, or whose reader is gone, lead to /dev/null."""

from __future__ import annotations

import os
import select
from typing import Final

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2


def open_closed() -> None:
    """Open closed descriptors on /dev/null: else the next file or socket would get the number, and our output."""
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            _lead_nowhere(number)


def replace_lost() -> None:
    """Replace standard streams whose terminal or reader is gone by /dev/null: later writes to it do not fail.

    Nor does the exit code, which Python makes 120 if it cannot write the rest.
    """
    for number in (STDOUT, STDERR):
        poll = select.poll()
        poll.register(number, 0)  # asks for errors alone
        if poll.poll(0):
            _lead_nowhere(number)


def _lead_nowhere(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)

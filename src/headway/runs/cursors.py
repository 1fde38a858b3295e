"""Cursors: opaque page tokens, each good for the requests of one organisation only."""

from __future__ import annotations

from headway.ids import Signer


class Cursors:
    """Page tokens of an organisation."""

    __slots__ = ("conceal", "reveal")

    def __init__(self, signer: Signer) -> None:
        self.conceal = signer.conceal
        """`conceal(purpose, text)` returns a token for the text."""
        self.reveal = signer.reveal
        """`reveal(purpose, token)` returns the text, or None for a token of another purpose, organisation or store."""

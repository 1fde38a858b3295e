"""Fixtures of real receivers: a mail server and a web server on loopback."""

import pytest
from tests.outbound.receivers import MailBox, Site

__all__ = ["mailbox", "site"]


@pytest.fixture
async def site():
    made = Site()
    await made.begin()
    yield made
    await made.end()


@pytest.fixture
async def mailbox():
    made = MailBox()
    await made.begin()
    yield made
    await made.end()

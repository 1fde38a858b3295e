"""Real receivers on loopback, and certificates that the tests trust."""

import ssl

import pytest
import trustme
from tests.outbound.fixtures import *
from tests.running import *


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def trusting(authority):
    """What a client has that trusts the tests' own certificates."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def certified(authority):
    """What a server on loopback has that proves who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context

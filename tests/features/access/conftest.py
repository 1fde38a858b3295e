"""Fixtures of the tests of access: harnesses and HTTP servers on each store."""

from tests.running import *  # all of them: the fixtures use each other
from tests.web.conftest import serving  # noqa: F401 - a fixture

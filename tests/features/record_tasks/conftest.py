"""Fixtures of the tests of record tasks: harnesses on each store, and real receivers."""

from tests.outbound.fixtures import *
from tests.running import *  # all of them: the fixtures use each other

"""Fixtures of the tests of record tasks: harnesses on each store."""

from tests.running import *  # all of them: the fixtures use each other

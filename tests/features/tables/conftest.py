"""Fixtures of the tests of tables: harnesses and HTTP servers on each store, and databases of users."""

from tests.features.tables.databases import mariadb, near  # noqa: F401 - fixtures
from tests.running import *  # all of them: the fixtures use each other
from tests.web.conftest import serving  # noqa: F401 - a fixture

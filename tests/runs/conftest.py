from tests.running import *  # all of them: the fixtures use each other
from tests.runs.far import mariadb, near  # noqa: F401 - fixtures

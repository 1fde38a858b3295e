import pytest
from tests.cli.streaming import carry_out, server  # noqa: F401 - fixtures
from tests.postgres.fixtures import *  # they use each other

from headway.cli.main import main


@pytest.fixture
def headway(capfd, monkeypatch):
    """Call the command line; return exit code, stdout and stderr."""
    monkeypatch.delenv("HEADWAY_URL", raising=False)
    monkeypatch.delenv("HEADWAY_SERVER", raising=False)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        shown = capfd.readouterr()
        return ended.value.code, shown.out, shown.err

    return call

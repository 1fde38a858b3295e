import pytest
from tests.faults.server import Place


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    yield found
    found.clean_up()

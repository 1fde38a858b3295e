import pytest
from tests.faults.nursery import Nursery
from tests.faults.server import Place


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    yield found
    found.clean_up()


@pytest.fixture(scope="module")
def nursery():
    found = Nursery()
    yield found
    found.close()

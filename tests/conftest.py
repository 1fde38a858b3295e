"""What holds for every test."""

import pytest


def pytest_collection_modifyitems(items):
    """Refuse a test that is given two times to take: the one above the function would count, and not the parameter's."""
    for item in items:
        given = {mark.args for mark in item.iter_markers("timeout")}
        if len(given) > 1:
            raise pytest.UsageError(f"{item.nodeid} has several timeouts, of which only the first counts: {given}")

"""Each handler names the codes of the errors that its routes declare, and no others."""

import re

import pytest
from tests.web.kit import EVERY_SURFACE, routes_of

from headway.web.openapi import codes_of

ROUTES = routes_of(EVERY_SURFACE)


def paragraphs(handler):
    return [" ".join(part.split()) for part in (handler.__doc__ or "").split("\n\n")]


def errors(handler):
    return {
        code
        for part in paragraphs(handler)
        if part.startswith("Errors: ")
        for code in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", part)
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_handler_names_the_errors_of_its_route(route):
    missing = {*route.problems} - errors(route.handler)
    assert not missing, f"its docstring has to name {', '.join(f'`{code}`' for code in sorted(missing))} as errors"


@pytest.mark.parametrize(
    "handler", dict.fromkeys(route.handler for route in ROUTES), ids=lambda handler: handler.__qualname__
)
def test_a_handler_names_no_error_that_none_of_its_routes_declares(handler):
    declared = {code for route in ROUTES if route.handler == handler for code in codes_of(route)}
    undeclared = errors(handler) - declared
    assert not undeclared, f"its routes have to declare {', '.join(f'`{code}`' for code in sorted(undeclared))}"

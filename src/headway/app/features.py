"""Features of the server, in the order of their hooks, and the native API with their routes."""

from __future__ import annotations

from typing import Final

from headway.feature import Feature
from headway.features.schedules.feature import SCHEDULES
from headway.http import routes
from headway.http.route import Route

FEATURES: Final[tuple[Feature, ...]] = (SCHEDULES,)
_ROUTES: Final[tuple[Route, ...]] = tuple(route for feature in FEATURES for route in feature.routes)
ROUTES: Final = (*routes.ROUTES, *_ROUTES)
NATIVE_SURFACE: Final = routes.native(_ROUTES)
CHECKS: Final = tuple(check for feature in FEATURES for check in feature.checks)
"""Checks of the rows of features, for `headway doctor`."""

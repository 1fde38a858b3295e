"""Verification of stores with the checks of all features, as `headway doctor --verify` makes it."""

from __future__ import annotations

from functools import partial

from headway.server import CHECKS
from headway.store.postgres import verify as of_postgres
from headway.store.sqlite import verify as of_sqlite

verify = partial(of_sqlite.verify, checks=CHECKS)
"""Findings of a file, or of a connection to it."""
verify_postgres = partial(of_postgres.verify, checks=CHECKS)
"""Findings of a connection to PostgreSQL."""

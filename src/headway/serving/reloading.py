"""Reload: the files that a server reads again on SIGHUP."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("headway.server")


class Reloads:
    """Functions that read files again, by their names in the log."""

    def __init__(self) -> None:
        self._reads: dict[str, Callable[[], None]] = {}

    def add(self, name: str, read: Callable[[], None]) -> None:
        """Call `read` on each reload. If it raises, the previous content has to stay in use."""
        self._reads[name] = read

    def run(self) -> None:
        """Call all functions, and log each."""
        for name, read in self._reads.items():
            try:
                read()
            except Exception as error:  # noqa: BLE001 - a file that is wrong now ends nothing
                log.error("server.not_reloaded what=%s error=%s: what was read before stays in use", name, error)  # noqa: TRY400
            else:
                log.info("server.reloaded what=%s", name)
        if not self._reads:
            log.info("server.reloaded nothing: settings are read at the start alone")

"""Exit codes of a worker process, by which its supervisor decides about the next one."""

from __future__ import annotations

from typing import Final

UNUSABLE_CODE: Final = 2
"""The settings cannot be used: another try with the same ones would fail too. argparse ends with the same code."""
NOT_LOADED_CODE: Final = 3
"""The app cannot be loaded: another try helps after a change of the app only."""
REFUSED_CODE: Final = 4
"""The server refused the worker, or there is no key."""
RESTART_CODE: Final = 75
"""A function did not end in time, so that the process has to: it is started again."""
DRAINED_CODE: Final = 76
"""The server drained the worker: it is not started again."""
RELOAD_CODE: Final = 77
"""The app has changed: the process is started again at once."""

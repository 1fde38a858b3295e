"""Options of a worker's connection to Ray, checked before its first claim; light, since every worker imports them."""

from __future__ import annotations

import importlib.util
import os
from typing import Annotated

import msgspec
from msgspec import Raw

from headway.config import RAY_CAPACITY
from headway.setting import PYTHON_ONLY, check_all
from headway.worker.declaration.loading import AppNotLoaded, as_module


class RayUnusable(Exception):
    """Runs cannot go to Ray from here; the message says in one sentence what to do."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a driver."""

    spec: str
    """The app as the cluster imports it, as module:attribute."""
    address: str
    runtime_env: Raw
    capacity: int


class RayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Ray options of a worker."""

    address: str = ""
    """Address of the cluster; default: RAY_ADDRESS, else "auto", the cluster that this machine is part of."""
    runtime_env: str = ""
    """Runtime environment that Ray brings to the nodes, as JSON; default: HEADWAY_RAY_RUNTIME_ENV."""
    capacity: Annotated[int, RAY_CAPACITY, PYTHON_ONLY] = 100
    """Most runs on Ray at once; with 0 the worker leaves them to others, and needs no Ray."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be used: raise ValueError."""
        check_all(self)

    def settings(self, spec: str) -> Settings:
        """Return the settings of a driver; raise RayUnusable for settings that cannot work."""
        if importlib.util.find_spec("ray") is None:
            raise RayUnusable(
                "The app has Ray tasks, and Ray is not installed: `pip install 'headway[ray]'`, or leave them to other "
                "workers with `headway worker --ray-capacity 0`."
            )
        text = self.runtime_env or os.environ.get("HEADWAY_RAY_RUNTIME_ENV") or "{}"
        try:
            msgspec.json.decode(text, type=dict[str, object])
        except msgspec.MsgspecError as error:
            raise RayUnusable(f"HEADWAY_RAY_RUNTIME_ENV is not the JSON of a runtime environment: {error}.") from None
        address = self.address or os.environ.get("RAY_ADDRESS") or "auto"
        try:
            module = as_module(spec)
        except AppNotLoaded as error:
            raise RayUnusable(str(error)) from None
        return Settings(spec=module, address=address, runtime_env=Raw(text.encode()), capacity=self.capacity)

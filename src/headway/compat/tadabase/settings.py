"""Settings of the Tadabase surface."""

from __future__ import annotations

from typing import Annotated, Final

from headway.kinds import ORIGIN, Many
from headway.surfaces import SurfaceSettings


class TadabaseSettings(SurfaceSettings, frozen=True, kw_only=True):
    """Settings of the Tadabase surface. Raises ValueError for bad values."""

    origins: Annotated[tuple[str, ...], Many(ORIGIN), "HEADWAY_TADABASE_ORIGINS"] = ()
    """Origins of web pages that may use the Tadabase surface from another site, and nothing else."""


SETTINGS: Final = TadabaseSettings

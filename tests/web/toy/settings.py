"""Settings of the toy surface."""

from typing import Annotated

from headway.kinds import Text
from headway.surfaces import SurfaceSettings


class ToySettings(SurfaceSettings, frozen=True, kw_only=True):
    greeting: Annotated[str, Text("a greeting", 1, 20), "HEADWAY_TOY_GREETING"] = "hello"


SETTINGS = ToySettings

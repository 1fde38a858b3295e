"""Settings of the CloudCoin surface."""

from __future__ import annotations

from typing import Annotated, Final

from headway.compat.cloudcoin.commands import Commands
from headway.kinds import ORIGIN, Flag, Many, Text
from headway.setting import LOCAL_ONLY, Former, naming_setting
from headway.surfaces import SurfaceSettings


class CloudcoinSettings(SurfaceSettings, frozen=True, kw_only=True):
    """Settings of the CloudCoin surface. Raises ValueError for bad values."""

    aliases: Annotated[
        tuple[str, ...], Many(Text("an alias, command=task or GET command=task", 1)), "HEADWAY_CLOUDCOIN_ALIASES"
    ] = ()
    """Further commands of the CloudCoin surface, as `command=task`, or `GET command=task` and `PUT command=task` for
    other methods than POST."""
    loopback_without_key: Annotated[
        bool, Flag(), "HEADWAY_CLOUDCOIN_LOOPBACK_WITHOUT_KEY", LOCAL_ONLY, Former("cloudcoin_anonymous")
    ] = False
    """Accept requests of this machine on the CloudCoin surface without a key even when keys exist: they may start tasks
    of the first organisation and see the runs started so. Refused together with the same settings as
    `loopback_without_key`."""
    origins: Annotated[tuple[str, ...], Many(ORIGIN), "HEADWAY_CLOUDCOIN_ORIGINS"] = ()
    """Origins of web pages that may use the CloudCoin surface from another site, and nothing else."""
    strict: Annotated[bool, Flag(), "HEADWAY_CLOUDCOIN_STRICT"] = False
    """Answer errors on the CloudCoin surface with HTTP 200, as the original does."""

    def check(self) -> None:
        """Raise ValueError, naming the setting, for a malformed alias."""
        with naming_setting(CloudcoinSettings, "aliases"):
            Commands(self.aliases)


SETTINGS: Final = CloudcoinSettings

"""Which settings no server runs with, alone or together."""

from __future__ import annotations

from itertools import combinations

import pytest

from headway.compat.cloudcoin.settings import CloudcoinSettings
from headway.compat.tadabase.settings import TadabaseSettings
from headway.config import Settings, check, from_environment, variable

KEYLESS = {
    variable("loopback_without_key"): {"loopback_without_key": True},
    "HEADWAY_CLOUDCOIN_LOOPBACK_WITHOUT_KEY": {"surfaces": (CloudcoinSettings(loopback_without_key=True),)},
}
FORWARDING = {
    "behind_proxy": True, "trusted_proxy": ("10.0.0.1",), "allow_host": ("headway.example.org",), "host": "10.0.0.9",
}  # fmt: skip


@pytest.mark.parametrize("keyless", KEYLESS)
@pytest.mark.parametrize("others", [some for many in range(1, 5) for some in combinations(FORWARDING, many)])
def test_nobody_is_let_in_without_a_key_where_the_requests_of_others_arrive(keyless, others):
    chosen = {name: FORWARDING[name] for name in others}
    if "host" in chosen:
        chosen["behind_proxy"] = True
    check(Settings(**chosen))
    check(Settings(**KEYLESS[keyless]))
    with pytest.raises(ValueError, match=rf"{keyless} is for this machine alone.*leave one of the two out"):
        check(Settings(**KEYLESS[keyless], **chosen))


def test_others_than_loopback_are_not_listened_on_without_a_proxy_and_a_key():
    for host in ("127.0.0.1", "::1", "[::1]", "localhost", "127.9.9.9"):
        check(Settings(host=host), locked=False)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.com"):
        with pytest.raises(ValueError, match=r"refusing to listen.*in the clear"):
            check(Settings(host=host))
        with pytest.raises(ValueError, match=r"refusing to listen.*without keys"):
            check(Settings(host=host, behind_proxy=True), locked=False)
        check(Settings(host=host, behind_proxy=True))
        check(Settings(host=host, tls_cert="server.pem"))


@pytest.mark.parametrize(
    ("table", "name"), [(Settings, "allow_origin"), (CloudcoinSettings, "origins"), (TadabaseSettings, "origins")]
)
def test_origins_are_written_as_browsers_write_them(table, name):
    for origin in ("https://a.example", "http://localhost:3000", "http://[::1]:9", "chrome-extension://abcdef"):
        table(**{name: (origin,)})
    for origin in (
        "*", "null", "a.example", "https://a.example/", "https://A.example", "https://a.example:443", "http://a:80", "https://*.a",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"{name}.*is not an origin"):
            table(**{name: (origin,)})


@pytest.mark.parametrize("old", ["HEADWAY_ANONYMOUS_LOOPBACK", "HEADWAY_CLOUDCOIN_ANONYMOUS"])
@pytest.mark.parametrize("value", ["0", "1"])
def test_a_setting_of_before_is_refused_with_where_to_look_instead(old, value):
    with pytest.raises(ValueError, match=rf"{old} was renamed: see HEADWAY_.*LOOPBACK_WITHOUT_KEY"):
        from_environment({old: value})

"""A surface is plugged in by its place in the list of surfaces alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.web.access_kit import first_key
from tests.web.kit import serving

from headway import config, surfaces
from headway.clock import ManualClock
from headway.config import Settings
from headway.ids import Signer
from headway.runs.service import Service
from headway.server import NATIVE_SURFACE
from headway.serving.offline import openapi
from headway.store.sqlite.open import open_memory

ROOT = Path(config.__file__).parent
NAMES = ("tadabase", "cloudcoin")


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(surfaces, "SURFACES", [*surfaces.SURFACES, "tests.web.toy"])


def speaking(**settings):
    return serving(speaks=(NATIVE_SURFACE, *surfaces.plugged()), **settings)


def test_the_setting_of_a_surface_is_read_checked_and_known():
    settings = config.from_environment({"HEADWAY_TOY_GREETING": "moin"})
    (table,) = (each for each in surfaces.tables() if each.__name__ == "ToySettings")
    assert settings.of(table).greeting == "moin"
    assert Settings().of(table).greeting == "hello"
    with pytest.raises(ValueError, match=r"HEADWAY_TOY_GREETING: .* is not a greeting"):
        config.from_environment({"HEADWAY_TOY_GREETING": "x" * 21})
    assert config.environment_warnings({"HEADWAY_TOY_GREETING": "moin"}) == []


async def test_a_surface_starts_runs_and_answers_and_refuses_in_its_own_words():
    settings = config.from_environment({"HEADWAY_TOY_GREETING": "moin"})
    async with speaking(surfaces=settings.surfaces) as server:
        started = await server.post("/toy/backup")
        assert (started.status, started.json["greeting"]) == (200, "moin")
        assert (await server.get(f"/v1/runs/{started.json['id']}")).json["run_type"] == "toy"
        for path in ("/toy/missing", "/toy/backup/nowhere"):
            assert set((await server.post(path)).json) == {"sorry"}
        server.api.drain()
        assert (await server.post("/toy/backup")).json == {"sorry": "draining"}


async def test_the_credentials_of_a_surface_are_taken_once_and_by_all_routes():
    async with speaking() as server:
        party = await first_key(server)
        assert (await server.post("/toy/backup", peer="10.0.0.9")).json == {"sorry": "unauthenticated"}
        assert (await server.post("/toy/backup", peer="10.0.0.9", x_toy_key=party.key)).status == 200
        assert (await server.get("/v1/runs", peer="10.0.0.9", x_toy_key=party.key)).status == 200
        others = {"x_toy_key": party.key, "authorization": "Bearer hw_another_key"}
        assert (await server.get("/v1/runs", peer="10.0.0.9", **others)).status == 401


async def test_a_surface_has_its_document_its_heading_and_its_headers_for_web_pages():
    async with speaking(allow_origin=("https://page.example",)) as server:
        assert list((await server.get("/openapi/toy.json")).json["paths"]) == ["/toy/{name}"]
        assert b"<h2>toy</h2>" in (await server.get("/docs")).body
        asked = {"origin": "https://page.example", "access_control_request_method": "POST"}
        allowed = (await server.ask("OPTIONS", "/toy/backup", **asked)).headers["access-control-allow-headers"]
        assert "X-Toy-Key" in allowed.split(", ")
    assert openapi("toy")["info"]["title"] == "Toy"


def test_nothing_but_the_list_names_a_surface():
    paths = [*ROOT.glob("*.py"), *(ROOT / "web").rglob("*.py"), *(ROOT / "serving").rglob("*.py")]
    named = {
        path.name
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        for text in (getattr(node, "value", None), getattr(node, "id", None), getattr(node, "module", None))
        if isinstance(text, str) and any(name in text.lower() for name in NAMES)
    }
    assert named == {"surfaces.py"}


def test_surfaces_hold_the_services_of_their_organisation_and_nothing_that_leads_past_them():
    served = vars(Service(open_memory(ManualClock()), Signer(b"x" * 32), Settings()).of(1))
    assert not served.keys() & {"store", "settings", "signer", "service", "organisations"}
    reached = {
        f"{path.name}: {ast.unparse(node)}"
        for path in (ROOT / "compat").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"server", "store", "signer"}
    }
    assert reached == set()

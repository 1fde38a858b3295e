"""The benchmarks fill stores by hand, past the service; what they make has to be a store like any other."""

from __future__ import annotations

import importlib

from tests.tidy.code import ROOT

from headway.store.sqlite.checkup import checkup


def test_the_stores_of_the_growth_benchmark_are_what_the_doctor_calls_well(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    growth = importlib.import_module("growth")
    growth.fill(tmp_path / "store.db", 300, 0.5)
    assert [check for check in checkup(tmp_path / "store.db", verify=True) if not check[1]] == []

"""An app is named in words people use, and a wrong name is answered with one sentence."""

import pytest
from tests.worker.rough import app

from headway.worker.loading import AppNotLoaded, load_app


@pytest.mark.parametrize("spec", ["tests.worker.rough:app", "tests/worker/rough.py:app", "tests.worker.rough"])
def test_an_app_is_found_by_module_or_by_file(spec):
    assert load_app(spec) is app


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no_such_module:app", "no module 'no_such_module'"), ("tests.worker.nothing:app", "no module"),
        ("tests.worker.rough:apple", "no attribute 'apple'"), ("tests.worker.rough:time", "not a headway.App"),
        ("no/such/file.py:app", "no file"), (":app", "Name the app"), ("tests.worker.rough:add", "not a headway.App"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_answered_with_one_sentence(spec, said):
    with pytest.raises(AppNotLoaded, match=said) as caught:
        load_app(spec)
    assert "\n" not in str(caught.value)


def test_what_a_module_raises_is_told(tmp_path, monkeypatch):
    (tmp_path / "broken_app.py").write_text("import not_installed_anywhere")
    (tmp_path / "raising_app.py").write_text("raise RuntimeError('no database')")
    (tmp_path / "leaving_app.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    for name, said in [
        ("broken", "needs 'not_installed_anywhere'"),
        ("raising", "no database"),
        ("leaving", "SystemExit"),
    ]:
        with pytest.raises(AppNotLoaded, match=said):
            load_app(f"{name}_app:app")

"""`headway keys create`: the key on stdout, and on stderr the headers in which clients of another API show it."""

import re
import urllib.request

import pytest
from tests.cli.streaming import environment  # noqa: F401 - fixtures
from tests.cli.terminal import on_a_terminal, plain


def headers(text):
    return dict(re.findall(r"(X-Tadabase-App-\w+): (\S+)", text))


def test_a_key_that_is_made_comes_with_the_headers_that_tadabases_clients_send(server, carry_out):
    _, url, _, _ = server
    code, out, err = carry_out("open", ["keys", "create", "app", "--scope", "read"])
    key_id, secret = re.fullmatch(r"hw_([0-9a-f]+)_(\S+)\n", out).groups()
    shown = headers(err)
    assert (code, shown["X-Tadabase-App-Key"]) == (0, key_id)
    assert secret not in err
    assert f"what follows hw_{key_id}_ in the key" in err
    asked = urllib.request.Request(f"{url}/api/v1/tasks", headers=shown | {"X-Tadabase-App-Secret": secret})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 200


def test_a_terminal_that_shows_the_key_shows_its_secret_in_the_header_too(tmp_path):
    _, screen = on_a_terminal(
        80, "keys", "create", "first", "--scope", "all", "--store", f"sqlite:///{tmp_path}/h.db", whole=True
    )
    shown = headers(plain(screen))
    [key] = re.findall(r"hw_\S+", plain(screen).splitlines()[0])
    assert key == f"hw_{shown['X-Tadabase-App-Key']}_{shown['X-Tadabase-App-Secret']}"
    assert all(len(line) <= 80 for line in plain(screen).splitlines())


@pytest.mark.parametrize(("scope", "code"), [("read", 6), ("all", 0)])
def test_the_first_key_may_make_others(headway, tmp_path, scope, code):
    ended, _, err = headway("keys", "create", "first", "--scope", scope, "--store", f"sqlite:///{tmp_path}/h.db")
    assert ended == code
    assert ("key:admin" in err) == (code != 0)

"""Files and standard input from which commands read: UTF-8 with or without a byte order mark, other encodings named."""

import io
import json
import sys
from urllib.parse import parse_qs

import msgspec
import pytest
from tests.client import samples
from tests.client.server import Answer, serving

from headway.cli import mail_server
from headway.client import credential
from headway.errors import BadParameter
from headway.features.tables.file_routes import UploadFile

TEXT = json.dumps({"who": "Zoë"}, ensure_ascii=False)


class Stdin:
    """Standard input as a pipe gives it: bytes below, text above."""

    def __init__(self, data):
        self.buffer = io.BytesIO(data)


def sent(headway, *words):
    """Return the exit code, the input that a start has sent, and what stands on stderr."""
    with serving(lambda _: Answer(202, samples.run())) as fake:
        code, _, err = headway("run", "greet", "--detach", *words, "--url", fake.url)
    return code, fake.requests[-1].json()["input"] if fake.requests else None, err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_an_input_file_may_begin_with_a_byte_order_mark(headway, tmp_path, encoding):
    (tmp_path / "in.json").write_text(TEXT, encoding=encoding)
    assert sent(headway, "--input", f"@{tmp_path / 'in.json'}")[:2] == (0, {"who": "Zoë"})


def test_an_input_file_may_have_any_name(headway, tmp_path):
    (tmp_path / "in\udcff.json").write_text(TEXT)
    assert sent(headway, "--input", f"@{tmp_path}/in\udcff.json")[:2] == (0, {"who": "Zoë"})
    code, _, err = sent(headway, "--input", f"@{tmp_path}/no\udcff.json")
    assert (code, "no\\udcff.json" in err) == (2, True)


@pytest.mark.parametrize("name", ["p\udcff.csv", "a\\b.csv", "a\nb.csv", "p" * 210 + ".csv"], ids=ascii)
def test_an_imported_file_may_have_any_name(headway, tmp_path, name):
    (tmp_path / name).write_text("Name\nAda\n")
    with serving(lambda _: Answer(422)) as fake:
        headway("tables", "import", "people", str(tmp_path / name), "--url", fake.url)
    named = parse_qs(fake.requests[0].path.partition("?")[2])["name"]
    assert msgspec.convert({"name": named[0]}, UploadFile).name.endswith(".csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_standard_input_may_begin_with_a_byte_order_mark(headway, monkeypatch, encoding):
    monkeypatch.setattr(sys, "stdin", Stdin(TEXT.encode(encoding)))
    assert sent(headway, "--input", "-")[:2] == (0, {"who": "Zoë"})


def test_input_in_the_command_line_may_begin_with_one_as_a_shell_reads_it_from_a_file(headway):
    assert sent(headway, "--input", f"\ufeff{TEXT}")[:2] == (0, {"who": "Zoë"})


@pytest.mark.parametrize(("encoding", "named"), [("utf-16", "UTF-16"), ("utf-32", "UTF-32"), ("latin-1", "not UTF-8")])
@pytest.mark.parametrize("way", ["file", "stdin"])
def test_another_encoding_is_named_with_what_to_do(headway, tmp_path, monkeypatch, encoding, named, way):
    (tmp_path / "in.json").write_text(TEXT, encoding=encoding)
    monkeypatch.setattr(sys, "stdin", Stdin(TEXT.encode(encoding)))
    code, given, err = sent(headway, "--input", f"@{tmp_path / 'in.json'}" if way == "file" else "-")
    assert (code, given) == (2, None)
    assert named in err
    assert "save it as UTF-8" in err


def test_a_key_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "key"
    path.write_text("hw_k1_secret\n", encoding="utf-8-sig")
    path.chmod(0o600)
    assert credential.key(file=str(path)) == "hw_k1_secret"


def test_a_key_file_in_another_encoding_says_what_to_do(tmp_path):
    path = tmp_path / "key"
    path.write_text("hw_k1_secret\n", encoding="utf-16")
    path.chmod(0o600)
    with pytest.raises(BadParameter, match="UTF-16; save it as UTF-8"):
        credential.key(file=str(path))


def test_a_password_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "password").write_text("s3cret\r\n", encoding="utf-8-sig")
    assert mail_server._read(str(tmp_path / "password")) == "s3cret"

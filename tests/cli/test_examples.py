"""The examples' functions by themselves; with a server they are run by the end-to-end tests."""

import hashlib
import zipfile

import pytest
from examples import backup, nightly


class Context:
    """What the backup asks of its context; `stop_after` makes a progress report raise, as a stop does."""

    run_id = "0199"
    fencing_token = 1

    def __init__(self, stop_after=None):
        self.reports = []
        self.lines = []
        self.stop_after = stop_after

    def progress(self, done, total, message):
        self.reports.append((done, total, message))
        if self.stop_after is not None and len(self.reports) > self.stop_after:
            raise KeyboardInterrupt

    def log(self, text):
        self.lines.append(text)

    def step(self, _name, function, *arguments):
        return function(*arguments)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "data"
    (made / "deep").mkdir(parents=True)
    (made / "b.txt").write_text("b" * 5000)
    (made / "deep" / "a.bin").write_bytes(bytes(range(256)))
    (made / "empty").touch()
    (made / "link").symlink_to(made / "b.txt")
    return made


def test_a_backup_is_whole_and_says_so(folder, tmp_path):
    target = tmp_path / "out" / "data.zip"
    ctx = Context()
    result = backup.backup(ctx, str(folder), str(target))
    with zipfile.ZipFile(target) as bundle:
        assert bundle.testzip() is None
        assert bundle.namelist() == ["b.txt", "deep/a.bin", "empty"]
        assert bundle.read("deep/a.bin") == bytes(range(256))
    assert result == {
        "archive": str(target),
        "files": 3,
        "bytes": 5256,
        "compressed": target.stat().st_size,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
    }
    assert ctx.reports[-1] == (3, 3, "")


def test_another_attempt_ends_with_the_same_bytes(folder, tmp_path):
    target = str(tmp_path / "data.zip")
    assert backup.backup(Context(), str(folder), target) == backup.backup(Context(), str(folder), target)


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_a_backup_that_is_stopped_leaves_what_was_there(folder, tmp_path, stop_after):
    target = tmp_path / "data.zip"
    target.write_bytes(b"yesterday's")
    with pytest.raises(KeyboardInterrupt):
        backup.backup(Context(stop_after), str(folder), str(target))
    assert target.read_bytes() == b"yesterday's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.zip"]


def test_what_a_killed_attempt_has_left_is_removed(folder, tmp_path):
    left_over = tmp_path / ".data.zip.0199-0"
    left_over.write_bytes(b"half")
    backup.backup(Context(), str(folder), str(tmp_path / "data.zip"))
    assert not left_over.exists()


def test_an_archive_inside_the_folder_does_not_contain_itself(folder):
    target = folder / "data.zip"
    backup.backup(Context(), str(folder), str(target))
    assert backup.backup(Context(), str(folder), str(target))["files"] == 3


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(NotADirectoryError):
        backup.backup(Context(), str(tmp_path / "nowhere"))


def test_the_nightly_report_counts_requests(tmp_path):
    log, target = tmp_path / "access.log", tmp_path / "report.json"
    log.write_text('1.2.3.4 - - [22/Nov/2026] "GET / HTTP/1.1" 200 12\n1.2.3.4 - - [x] "GET /y HTTP/1.1" 404 0\n\n')
    report = nightly.nightly_report(Context(), str(log), str(target))
    assert report == {"requests": 2, "by_class": {"2xx": 1, "4xx": 1}}
    assert target.exists()

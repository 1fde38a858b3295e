"""Rules about the seeded bugs: their places in the code, their tests and the page that lists them."""

import ast
import builtins
import re
import textwrap

import pytest
from tests.faults import mutants as faults
from tests.kernel import mutants as engine
from tests.mutation import Change, PlaceGone, Source
from tests.ray import mutants as ray
from tests.tidy.code import ROOT
from tests.web import mutants as access

ALL = (*engine.MUTANTS, *faults.MUTANTS, *access.MUTANTS, *ray.MUTANTS)
CODE = """
class Session:
    def lapses_at(self, lease_ms):
        end = max(self.heard_ms, self.since_ms) + lease_ms
        if self.broken:
            end = min(end, self.broke_ms)
            self.tell(end, by=self.clock)
        return end
"""


@pytest.fixture
def source(tmp_path):
    """Return a function that makes the source of a package with one module, its code changed by pairs of texts."""

    def write(*changes, module="sessions"):
        code = CODE
        for old, new in changes:
            assert old in code
            code = code.replace(old, new)
        (tmp_path / f"{module}.py").write_text(code)
        return Source(tmp_path)

    return write


def apply(source, pattern, replacement, place="Session.lapses_at"):
    [text] = source.changed([Change(place, pattern, replacement)]).values()
    return text


def test_each_seeded_bug_has_exactly_one_place_and_changes_the_code():
    source, gone = Source(), []
    for mutant in ALL:
        try:
            texts = source.changed(mutant.changes)
        except (PlaceGone, SyntaxError) as error:
            gone.append(f"{mutant.name}: {error}")
            continue
        for path, text in texts.items():
            if path.suffix == ".sql":
                assert text != source.sql[path], mutant.name
            else:
                assert ast.dump(ast.parse(text)) != ast.dump(source.trees[path]), mutant.name
    assert not gone, "\n".join(gone)


def names_in(*trees):
    """Return the identifiers of trees: variables, attributes, definitions, imports and keywords."""
    fields = [value for tree in trees for node in ast.walk(tree) for _, value in ast.iter_fields(node)]
    texts = [value for value in fields if isinstance(value, str)]
    return {part for text in texts if "\n" not in text for part in text.split(".")}


def test_seeded_bugs_use_names_that_exist_so_that_none_is_found_by_a_name_error():
    source, gone = Source(), []
    known = names_in(*source.trees.values()) | set(dir(builtins))
    for change in (change for mutant in ALL for change in mutant.changes if not change.place.startswith("sql:")):
        replacement, pattern = (ast.parse(textwrap.dedent(text)) for text in (change.replacement, change.pattern))
        bound = {
            node.id for node in ast.walk(replacement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        bound |= {
            node.name for node in ast.walk(replacement) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.alias)
        }
        bound |= {node.asname for node in ast.walk(replacement) if isinstance(node, ast.alias) and node.asname}
        used = {node.id for node in ast.walk(replacement) if isinstance(node, ast.Name)}
        used |= {node.attr for node in ast.walk(replacement) if isinstance(node, ast.Attribute)}
        gone += [f"{change.place}: {name}" for name in sorted(used - known - bound - names_in(pattern))]
    assert not gone, "\n".join(gone)


@pytest.mark.parametrize("mutants", [engine.MUTANTS, faults.MUTANTS, access.MUTANTS, ray.MUTANTS])
def test_seeded_bugs_have_names_of_their_own(mutants):
    assert len({mutant.name for mutant in mutants}) == len(mutants)


def test_the_tests_of_all_seeded_bugs_exist():
    for mutant in ALL:
        path, _, function = mutant.test.split("[")[0].partition("::")
        assert (ROOT / path).is_file(), mutant.name
        assert not function or f"def {function}(" in (ROOT / path).read_text("utf-8"), mutant.name


def test_a_pattern_matches_code_that_was_renamed_reformatted_and_moved(source):
    pattern, replacement = "end = max(self.heard_ms, A) + lease_ms", "end = max(self.heard_ms, A) + 3 * lease_ms"
    assert "end = max(self.heard_ms, self.since_ms) + 3 * lease_ms" in apply(source(), pattern, replacement)
    changed = source(
        ("= max(self.heard_ms, self.since_ms) +", "= (\n  max(  # of both\n   self.heard_at, self.since_ms)\n   ) +"),
        ("end", "over"),
        ("lease_ms", "length_ms"),
        ("Session", "WorkerSession"),
        ("lapses_at", "expires_at"),
        module="elsewhere",
    )
    (changed.folder / "sessions.py").unlink()
    text = apply(Source(changed.folder), pattern, replacement)
    assert "over = max(self.heard_at, self.since_ms) + 3 * length_ms" in text


def test_a_name_that_the_code_still_has_stands_for_itself_only(source):
    with pytest.raises(PlaceGone, match="0 times"):
        apply(source(), "max(self.since_ms, self.heard_ms)", "0")
    with pytest.raises(PlaceGone, match="0 times"):
        apply(source(), "min(lease_ms, self.broke_ms)", "0")


def test_a_pattern_that_matches_twice_is_refused(source):
    with pytest.raises(PlaceGone, match="2 times"):
        apply(source(), "end = A", "end = 0")


def test_rests_of_bodies_and_arguments_are_kept(source):
    assert "if False:\n            end = min(" in apply(source(), "if self.broken: ...", "if False: ...")
    text = apply(source(), "self.tell(A, ...)", "self.tell(A + 1, ...)")
    assert "self.tell(end + 1, by=self.clock)" in text
    text = apply(source(), "self.tell(..., by=A)", "self.tell(..., by=None)")
    assert "self.tell(end, by=None)" in text


def test_statements_are_removed_and_added(source):
    text = apply(source(), "self.tell(...)", "pass")
    assert "self.tell" not in text
    text = apply(source(), "return end", "end += 1\nreturn end")
    assert textwrap.indent("end += 1\nreturn end", " " * 8) in text


def test_a_source_is_as_before_after_a_change(source):
    package = source()
    before = {path: ast.dump(tree) for path, tree in package.trees.items()}
    apply(package, "self.tell(...)", "pass")
    assert {path: ast.dump(tree) for path, tree in package.trees.items()} == before


CONTROLS = {
    "test_only_a_sync_that_the_cut_meets_may_say_that_it_was_done_and_was_not": "has no Headway in it",
    "test_a_disk_that_lies_about_its_syncs_is_found_out": "is the seeded bug",
    "test_a_database_that_does_not_wait_for_its_disk_is_found_out": "is the seeded bug",
    "test_a_wait_that_fails_says_how_it_is_then_and_not_how_it_was_when_it_began": "is about how the tests wait",
    "test_what_a_worker_reports_after_it_was_cut_off_changes_nothing": "two things stand in the way: no one bug lets it through",
}
"""Fault tests that no bug is seeded for, and why."""


def test_every_fault_test_has_a_bug_that_it_was_seen_to_find():
    found = {mutant.test.split("[")[0].rpartition("::")[2] for mutant in faults.MUTANTS}
    others = ("linearizability/test_linearizability.py", "servers/test_outages.py", "servers/test_standby.py")
    modules = [*(ROOT / "tests").glob("faults/test_*.py"), *(ROOT / "tests" / name for name in others)]
    tests = [
        name
        for path in modules
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert len(tests) > 50
    assert sorted({*tests} - found) == sorted(CONTROLS)


def test_every_bug_that_the_fault_tests_find_is_published():
    page = (ROOT / "docs/explanation/fault-tests.md").read_text(encoding="utf-8")
    again = re.compile(r"-\d$")  # the same bug, found by another test as well
    names = [again.sub("", mutant.name) for mutant in faults.MUTANTS]
    assert [name for name in names if f"| {name} " not in page and f"`{name}`" not in page] == []

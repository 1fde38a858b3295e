"""Plain words: the first sentence of a docstring starts with a noun phrase or an imperative verb, and types are nouns.

Both rules hold for every module except those in the lists `RIDDLES` and `PARTICIPLES`. To bring a folder or a module under
a rule: delete its line, run this file, and mend what it prints. A folder may be replaced by those of its modules that are
still to be mended. A module that moves takes its line along; a new module needs none. Private members, and all members
of packages that are not public, need no docstring: delete one that only repeats the name.
"""

import ast
import re

import pytest
from tests.tidy.code import MODULES, PACKAGE, ROOT
from tests.tidy.code import name as module_name

RIDDLES = set()
"""Modules, and folders without their subfolders, whose first sentences break the rule; the list only shrinks."""

PARTICIPLES = set()
"""Modules, and folders without their subfolders, with participles as names of types; the list only shrinks.

A type is named by a noun: `ClaimResult` instead of `Claimed`, `Refusal` instead of `Told`.
"""


def words(text):
    return set(text.split())


OPENERS = words(
    "what whatever who whoever whom whose where wherever how why which whichever that those these this it its they them "
    "their he his she her somebody someone something nobody nothing anybody anyone anything everybody everyone everything "
    "when while if unless because since as so than until till once of from in into to by for on under over with without "
    "at after before between up about among against through not only there is are was were may can has had"
)
"""First words that are neither a noun phrase nor an imperative verb."""

RELATIVE = re.compile(
    r"\b(?:(?:ones?|those|they|all) (?:that|which|who|whose|whom)|those of them|who(?:m|s)?ever"
    r"|(?:some|any|every|no)body|someone)\b",
    re.IGNORECASE,
)
"""Relative clauses without a noun, and persons without a role."""

FREE = re.compile(r"\w+ (?:what|whatever|whom)\b|(?:Return|Tell|Say|Name) whose?\b")
"""An imperative verb with a clause in the place of its object: "Return what …"."""

FUNCTION_WORDS = OPENERS | words("a an the and or but be been being whether more most also again back out off")
PRONOUN = re.compile(r"\b(?:it|its|they|them|their|theirs|he|him|his|she|her)\b", re.IGNORECASE)

EVENTS = {"kernel/lifecycle.py", "protocol/workers.py"}
"""Modules of lifecycle events and reports, whose names are past participles by rule."""
AFTER_COMMIT = {"CommitEvent", "Timer"}
"""Bases of after-commit events, whose names are past participles as well."""

IMPERATIVES = {"UpdateConnected"}
"""Types that end like a participle, but name an action by its verb."""

IRREGULAR = words(
    "Told Known Kept Ready Given Heard Made Done Said Sent Lost Held Gone Begun Written Seen Found Taken Left Shown Drawn "
    "Bound Built Hidden Brought Born Spent Met Broken Chosen Paid Led Fed Won Meant Thrown Forgotten Fallen"
)
VAGUE = words("Told Known Kept Ready Reached Given Heard Held Asked Looked Shown Made Said Done Met")
"""Participles that do not say what happened even as the name of an error."""


def first_sentence(text):
    plain = re.sub(r"`[^`]*`", "`code`", " ".join(text.split()))
    return re.split(r"(?<=[.!?])(?=\s|$)", plain, maxsplit=1)[0]


def docstrings(tree):
    """Yield line and text of the docstrings of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for line in node.body:
                match line:
                    case ast.Expr(ast.Constant(str(text))):
                        yield line.lineno, text


def fault(sentence):
    """Return the words that break the rule and the advice against them, or None."""
    first = re.match(r"[\w`'-]*", sentence)[0]
    if first.lower() in OPENERS:
        return first, "begin with a noun phrase or an imperative verb"
    if free := FREE.match(sentence):
        return free[0], "give the verb a noun as its object"
    if relative := RELATIVE.search(sentence):
        return relative[0], "name the thing or the role by its noun"
    if (pronoun := PRONOUN.search(sentence)) and not first.endswith(("s", "`")):  # nouns: "Tables and their …"
        before = re.findall(r"[\w`'-]+", sentence[: pronoun.start()])[1:]
        if all(word.lower() in FUNCTION_WORDS for word in before):
            return pronoun[0], "a pronoun needs its noun before it in the sentence"
    return None


def riddles(path):
    found = sorted((line, first_sentence(text)) for line, text in docstrings(ast.parse(path.read_text("utf-8"))))
    broken = [(line, sentence, fault(sentence)) for line, sentence in found]
    return [f'{name(path)}:{line}: "{said[0]}" in "{text}": {said[1]}' for line, text, said in broken if said]


def classes(path):
    return [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)]


def participles(path):
    found = []
    for node in classes(path) if name(path) not in EVENTS else ():
        if node.name in IMPERATIVES or AFTER_COMMIT & {ast.unparse(base) for base in node.bases}:
            continue
        last = re.findall(r"[A-Z][a-z]*", node.name)[-1]
        regular = last.endswith("ed") and not last.endswith("eed")
        if last in VAGUE if is_error(node) else last in IRREGULAR or regular:
            found.append(f"{name(path)}:{node.lineno}: class {node.name}: name the type by a noun")
    return found


def is_error(node):
    """Say whether a class is an exception, by the names of its bases."""
    return any(re.search(r"Error|Exception|Conflict|NotFound|Invalid|Unavailable|Gone|Broken|Locked|NotSucceeded", base)
               for base in map(ast.unparse, node.bases))  # fmt: skip


SCRIPTS = [path for folder in ("tools", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
"""Scripts and examples, which have no exceptions."""


def name(path):
    return module_name(path) if PACKAGE in path.parents else path.relative_to(ROOT).as_posix()


def held(exceptions):
    return [*SCRIPTS, *(path for path in MODULES if not any(within(path, place) for place in exceptions))]


def within(path, place):
    return place in {name(path), f"{name(path.parent)}/"}


@pytest.mark.parametrize(("rule", "exceptions"), [(riddles, RIDDLES), (participles, PARTICIPLES)])
def test_words_are_plain(rule, exceptions):
    found = [line for path in held(exceptions) for line in rule(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("rule", "exceptions"), [(riddles, RIDDLES), (participles, PARTICIPLES)])
def test_the_lists_of_exceptions_are_not_longer_than_needed(rule, exceptions):
    needless = [place for place in exceptions if not any(rule(path) for path in MODULES if within(path, place))]
    assert not needless, f"delete from the list: {sorted(needless)}"


@pytest.mark.parametrize(
    "sentence",
    [
        "What it gives with those.", "Return what is told to the caller.", "Those of them that are ready.",
        "Nobody is there.", "Its name.", "End it.", "Let it go.", "Return the ones that are due.", "Of the run.",
        "Whether it is due.", "When the run began, in milliseconds.", "The key of somebody else.",
    ],
)  # fmt: skip
def test_a_riddle_is_found(sentence):
    assert fault(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Return the refusal, or None to admit.", "Lanes that this transaction made ready.", "No requests in flight.",
        "Whether the run is protected.", "Return a run with its steps.", "POST /v1/runs: start a run.",
        "`start` and its options.", "Wait until the run ends, and return its output.", "One line of history.",
        "Tables and their records.",
    ],
)  # fmt: skip
def test_a_plain_sentence_passes(sentence):
    assert fault(sentence) is None

"""The project's Markdown pages, and the code in them.

A fence says how it is tested by its language and by what follows it:

    python title="app.py"           is written to that file; with `append` it is added to the file of that name
    python                          is executed, with `client = headway.Client()` in front of it
    console                         `$ command` is executed; what follows is its output, where … stands for anything, and
                                    a comment `# exit 1` says how it ends
    skip="why"                      is not executed, for that reason
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
EXECUTED = {"python", "console"}
KNOWN = {*EXECUTED, "text", "json", "mermaid", "nginx", "ini", "toml", "sql", "http", "yaml"}

_FENCE = re.compile(r"^( *)```(.*)$")
_ATTRIBUTE = re.compile(r"(\w+)=(.*)", re.DOTALL)


@dataclass
class Fence:
    line: int
    language: str
    attributes: dict[str, str]
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def executed(self) -> bool:
        return self.language in EXECUTED and "skip" not in self.attributes


@dataclass
class Command:
    text: str
    expected: list[str]

    @property
    def exit_code(self) -> int:
        found = re.search(r"# exit (\d+)$", self.text)
        return int(found[1]) if found else 0


def fences(page: Path) -> list[Fence]:
    found: list[Fence] = []
    inside, indent = None, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if inside is None and match:
            indent, (language, *words) = match[1], shlex.split(match[2]) or [""]
            pairs = [_ATTRIBUTE.fullmatch(word) for word in words]
            attributes = {p[1] if p else word: p[2] if p else "" for p, word in zip(pairs, words, strict=True)}
            inside = Fence(number, language, attributes)
        elif inside is not None and match and not match[2]:
            found.append(inside)
            inside = None
        elif inside is not None:
            inside.lines.append(line.removeprefix(indent))
    assert inside is None, f"{page}:{inside.line} is not closed"
    return found


def commands(fence: Fence) -> list[Command]:
    found: list[Command] = []
    for line in fence.lines:
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif found and found[-1].text.endswith("\\") and not found[-1].expected:
            found[-1].text += "\n" + line.removeprefix("> ")
        elif line.strip():
            assert found, f"line {fence.line}: output without a command"
            found[-1].expected.append(line)
    return found


def missing(expected: list[str], output: str) -> str | None:
    """Return the first expected line that the output does not have, in order."""
    rest = iter(line.strip() for line in output.splitlines())
    for line in expected:
        if line.strip() == "…":
            continue
        pattern = re.compile(".*".join(map(re.escape, line.strip().split("…"))))
        if not any(pattern.fullmatch(shown) for shown in rest):
            return line
    return None


def anchors(page: Path) -> set[str]:
    """Return the names that a link can have after `#`, as GitHub makes them."""
    text = page.read_text(encoding="utf-8")
    plain = re.sub(r"(?ms)^ *```.*?^ *```$", "", text)
    headings = re.findall(r"(?m)^#{1,6} (.+)$", plain)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


def links(page: Path) -> list[str]:
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"))
    text = re.sub(r"`[^`\n]*`", "", text)
    return re.findall(r"\]\(([^)\s]+)\)", text)

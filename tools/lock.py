"""Write the lock, `locks/*.txt`, from pyproject.toml: `python tools/lock.py` keeps the versions that still fit.

    python tools/lock.py --upgrade          takes the newest of everything
    python tools/lock.py --upgrade apsw …   takes the newest of these
    python tools/lock.py --check            says whether the lock is made from this pyproject.toml; asks no index

Each file is a whole set of requirements with hashes for one use, for every Python and platform that Headway supports. All
are parts of one resolution, so that a package has the same version in each of them; only `lowest.txt` has versions of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ROOT / "locks"
PROJECT: Final = "pyproject.toml"
EXTRAS: Final = (PROJECT, "--extra=postgres", "--extra=external", "--extra=pydantic")
PARTS: Final = {
    "build": ("--group=build",),
    "run": (PROJECT,),
    "image": EXTRAS,
    "dev": (*EXTRAS, "--group=dev"),
    "ray": (PROJECT, "--extra=ray"),
    "patroni": ("--group=patroni",),
    "lock": ("--group=lock",),
}
"""The files and their extras and groups. Those of the nightly tests are apart, as not every Python has them."""
LOWEST: Final = "lowest"
"""The file with the oldest allowed version of each dependency, and the tools of the core tests."""
HEADER: Final = "# Written by tools/lock.py from the requirements of pyproject.toml, whose hash is {}.\n"


def fingerprint() -> str:
    """Return the hash of everything in pyproject.toml that decides what is in the lock."""
    project = tomllib.loads((ROOT / PROJECT).read_text(encoding="utf-8"))
    names = ("requires-python", "dependencies", "optional-dependencies")
    said: list[Any] = [project["build-system"]["requires"], project["dependency-groups"]]
    said += [project["project"][name] for name in names]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def stale() -> list[str]:
    """Return the files that are not made from this pyproject.toml."""
    header = HEADER.format(fingerprint())
    paths = [LOCKS / f"{part}.txt" for part in (*PARTS, LOWEST)]
    return [
        str(path.relative_to(ROOT)) for path in paths if not path.is_file() or not path.read_text().startswith(header)
    ]


def uv(folder: Path) -> list[str]:
    """Install uv into a folder, as the lock has it; return the command that is `uv pip` with the index of pip."""
    python = folder / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    subprocess.run([*install, "-r", LOCKS / "lock.txt"], check=True)
    return [sys.executable, str(ROOT / "tools/index.py"), str(folder / "bin/uv"), "pip"]


class Resolver:
    """Finds versions that fit together."""

    def __init__(self, folder: Path) -> None:
        """Install uv into a folder."""
        self._output, self._uv = folder / "requirements.txt", uv(folder)
        project = tomllib.loads((ROOT / PROJECT).read_text(encoding="utf-8"))["project"]
        self._python = project["requires-python"].removeprefix(">=")

    def resolve(self, known: str, *words: str) -> str:
        """Return the requirements for these words, with the versions of `known` where they fit."""
        self._output.write_text(known)
        options = ["--universal", f"--python-version={self._python}", "--generate-hashes", "--no-header", "--quiet"]
        command = [*self._uv, "compile", *options, f"--output-file={self._output}", *words]
        if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode:
            raise SystemExit("there are no versions that fit together, or the index cannot be reached: see above")
        return self._output.read_text()


def pins(text: str) -> dict[str, str]:
    """Return the versions of a lock's packages; where they are needed differs from part to part."""
    return dict(line.split()[0].split("==") for line in text.splitlines() if line[:1].isalnum())


def core_tools(locked: dict[str, str]) -> str:
    """Return the requirements of the core tests at their locked versions; their ranges are not tested."""
    group = tomllib.loads((ROOT / PROJECT).read_text(encoding="utf-8"))["dependency-groups"]["core"]
    names = [re.split(r"[\[<>=!~; ]", requirement)[0] for requirement in group]
    return "".join(f"{name}=={locked[name]}\n" for name in names)


def write(upgrades: list[str]) -> None:
    """Write every file of the lock, and the bill of materials that follows from it."""
    header = HEADER.format(fingerprint())
    known = "".join(path.read_text() for path in sorted(LOCKS.glob("*.txt")) if path.stem != LOWEST)
    with tempfile.TemporaryDirectory() as folder:
        resolver = Resolver(Path(folder))
        everything = resolver.resolve(
            known, *dict.fromkeys(word for words in PARTS.values() for word in words), *upgrades
        )
        for part, words in PARTS.items():
            text = resolver.resolve(everything, *words)
            if other := pins(text).items() - pins(everything).items():
                raise SystemExit(f"locks/{part}.txt would differ from the others in {', '.join(sorted(dict(other)))}")
            (LOCKS / f"{part}.txt").write_text(header + text)
        tools = Path(folder) / "tools.txt"
        tools.write_text(core_tools(pins(everything)))
        lowest = resolver.resolve("", *EXTRAS, str(tools), "--resolution=lowest-direct", "--no-annotate")
        (LOCKS / f"{LOWEST}.txt").write_text(header + lowest)
    subprocess.run([sys.executable, ROOT / "tools/bill.py"], check=True)


def main() -> int:
    """Write the lock, or report its stale files."""
    parser = argparse.ArgumentParser(description="Write the lock from pyproject.toml.")
    parser.add_argument("--upgrade", nargs="*", metavar="PACKAGE", help="take the newest of these, or of all")
    parser.add_argument("--check", action="store_true", help="say whether the lock fits pyproject.toml")
    chosen = parser.parse_args()
    if chosen.check:
        if names := stale():
            print(f"not made from this pyproject.toml: {', '.join(names)}; run python tools/lock.py", file=sys.stderr)
        return bool(stale())
    upgrades = [f"--upgrade-package={name}" for name in chosen.upgrade or []]
    write(["--upgrade"] if chosen.upgrade == [] else upgrades)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Write the bill of materials of a release, `locks/headway.cdx.json`, from the lock: CycloneDX, in every wheel and sdist.

`python tools/bill.py`, or `--check` to see whether it is current; `tools/lock.py` runs it. It names what the tests of this
release ran with: the dependencies, and as optional those of the extras `postgres` and `external`.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
BILL: Final = ROOT / "locks/headway.cdx.json"
PIN: Final = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)(?: ; ([^\\]+?))?(?: \\)?")
PROJECT: Final = "headway (pyproject.toml)"
"""The name in the lock's comments for direct requirements of pyproject.toml; a group's name follows it."""


class Package(NamedTuple):
    """A package of the lock: where it is needed (a marker, or nothing), the hashes of its files, and who needs it."""

    name: str
    version: str
    marker: str
    hashes: list[str]
    needed_by: list[str]

    @property
    def url(self) -> str:
        """Return the package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def packages(part: str) -> list[Package]:
    """Read a file of the lock."""
    found: list[Package] = []
    for line in (ROOT / f"locks/{part}.txt").read_text(encoding="utf-8").splitlines():
        if pin := PIN.fullmatch(line):
            found.append(Package(pin[1], pin[2], pin[3] or "", [], []))
        elif line.startswith("    --hash=sha256:"):
            found[-1].hashes.append(line.split(":")[1].removesuffix(" \\"))
        elif found and (by := line.removeprefix("    # via").removeprefix("    #  ").strip()):
            found[-1].needed_by.append(by)
    return found


def shipped() -> list[Package]:
    """Return the direct and indirect requirements of Headway and its extras in the lock's file for development."""
    all_of_them, reached = packages("dev"), {PROJECT}
    while more := {each.name for each in all_of_them if reached & set(each.needed_by)} - reached:
        reached |= more
    return [each for each in all_of_them if each.name in reached]


def bill() -> str:
    """Return the document. It holds no time and no chance: the same lock gives the same bytes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    components, always = shipped(), {each.name for each in packages("run")}
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": own,
            },
        },
        "components": [_component(each, required=each.name in always) for each in components],
        "dependencies": [
            {"ref": url, "dependsOn": _urls(each for each in components if name in each.needed_by)}
            for url, name in [(own, PROJECT), *((each.url, each.name) for each in components)]
        ],
    }
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document)).urn
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _component(package: Package, *, required: bool) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.url,
        "name": package.name,
        "version": package.version,
        "scope": "required" if required else "optional",
        "purl": package.url,
        # One hash for each file that the release of the package has: any of them may be the one installed.
        "externalReferences": [
            {
                "type": "distribution",
                "url": package.url,
                "hashes": [{"alg": "SHA-256", "content": content} for content in package.hashes],
            }
        ],
    }
    if package.marker:
        component["properties"] = [{"name": "headway:marker", "value": package.marker}]
    return component


def _urls(found: Iterable[Package]) -> list[str]:
    return sorted(each.url for each in found)


def main() -> int:
    """Write the bill, or say that it is not current."""
    current = BILL.exists() and BILL.read_text(encoding="utf-8") == bill()
    if "--check" not in sys.argv[1:]:
        BILL.write_text(bill(), encoding="utf-8")
    elif not current:
        print("locks/headway.cdx.json is not what the lock says: run python tools/bill.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

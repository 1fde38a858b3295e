"""Links between the pages, and from the pages to the tests that prove what they say, lead somewhere."""

import re

import pytest
from tests.docs.pages import PAGES, ROOT, anchors, links

OUTSIDE = re.compile(r"^(https?|mailto):")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = []
    for link in links(page):
        if OUTSIDE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_index():
    index = ROOT / "docs/README.md"
    reached, todo = set(), [ROOT / "README.md", index]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if not OUTSIDE.match(link)]
        todo += [target for target in targets if target.suffix == ".md" and target.is_file()]
    assert set(PAGES) <= reached


def test_every_promise_names_the_tests_that_hold_it():
    rows = re.findall(r"(?m)^\| (P\d+) \|.*\| (.*) \|$", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(rows) >= 11
    for promise, proof in rows:
        named = re.findall(r"\]\((tests/\w+/test_\w+\.py)\)", proof)
        assert named, promise
        assert [path for path in named if not (ROOT / path).exists()] == [], promise

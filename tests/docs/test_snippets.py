"""The code in the pages works: files, commands and scripts of a page are executed in their order, on a real server."""

import shutil

import pytest
from tests.docs.pages import KNOWN, PAGES, ROOT, commands, fences
from tests.docs.sandbox import Sandbox

EXECUTABLE = [page for page in PAGES if any(fence.executed for fence in fences(page)) and "reference" not in page.parts]
NAMES = [str(page.relative_to(ROOT)) for page in EXECUTABLE]


@pytest.mark.parametrize("page", EXECUTABLE, ids=NAMES)
def test_the_code_of_a_page_works(page, tmp_path):
    sandbox = Sandbox(tmp_path)
    try:
        for fence in fences(page):
            if not fence.executed:
                continue
            if "title" in fence.attributes:
                sandbox.write(fence)
            elif fence.language == "python":
                sandbox.python(fence)
            else:
                for command in commands(fence):
                    if command.text.startswith("curl") and shutil.which("curl") is None:
                        continue
                    sandbox.command(command)
    finally:
        sandbox.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_says_what_it_is(page):
    assert {fence.language for fence in fences(page)} <= KNOWN


def test_the_code_that_is_not_executed_says_why():
    reasons = [fence.attributes.get("skip", "no") for page in PAGES for fence in fences(page)]
    assert "" not in reasons

"""No circles of imports in the package, counting imports for type checkers and imports within functions."""

import pytest
from tools.shape import ROOT, package_circles

CIRCLES = package_circles(ROOT)


@pytest.mark.parametrize("package", CIRCLES)
def test_the_modules_of_a_package_import_each_other_in_no_circle(package):
    assert [] == CIRCLES[package]

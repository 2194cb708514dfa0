# SPDX-License-Identifier: Apache-2.0
"""The links of the documentation lead somewhere, and its index lists every page."""
import re

import pytest

from mesh import ROOT

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


def links(page):
    """The files that a page leads to; a place within a page, and other sites, are none."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_to_a_file(page):
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_the_index_lists_every_page():
    listed = {(ROOT / "docs" / link).resolve() for link in links(ROOT / "docs/README.md")}
    assert [page.name for page in PAGES if page.parent.name == "docs" and page.name != "README.md" and page not in listed] == []

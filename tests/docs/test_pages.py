"""What holds of every page: links lead somewhere, and each page is in the site."""

import re

import pytest

from tests.docs.pages import DOCS, PAGES, REPOSITORY, read


def headings(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    for path, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert target.exists(), (page, path)
        if anchor and target.suffix == ".md":
            assert anchor in headings(str(target.resolve().relative_to(REPOSITORY))), (page, path, anchor)


def test_every_page_is_in_the_index() -> None:
    listed = re.findall(r"```\{toctree\}.*?```", read("docs/index.md"), re.DOTALL)
    for page in [*DOCS.glob("*.md"), *DOCS.glob("methods/*.md"), *DOCS.glob("notebooks/*.ipynb")]:
        name = str(page.relative_to(DOCS).with_suffix(""))
        assert name == "index" or any(f" <{name}>\n" in tree for tree in listed), name


def test_every_picture_is_shown() -> None:
    shown = "".join(read(page) for page in PAGES)
    for picture in DOCS.glob("images/**/*.*"):
        assert picture.name in shown, picture

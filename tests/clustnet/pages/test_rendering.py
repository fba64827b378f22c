import base64

import jinja2
import pytest

from clustnet.pages.rendering import data_url, render


def test_values_are_escaped_and_none_may_lack() -> None:
    plot = {"title": "<b>", "text": "&", "light": "l", "dark": "d"}
    page = render("evaluation", "plots.html", plots=[plot])
    assert "<h2>&lt;b&gt;</h2>" in page
    assert 'alt="&lt;b&gt;. &amp;"' in page
    with pytest.raises(jinja2.UndefinedError):
        render("evaluation", "plots.html")


def test_whole_page_loads_nothing_from_elsewhere() -> None:
    page = render("training.visualize", "visualize.html", run="a & b", method="m", data="d", layers={}, clusters=[])
    assert page.startswith("<!doctype html>")
    assert "<title>What a &amp; b sees</title>" in page
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in page
    assert "--page: light-dark(" in page
    assert ".pair img:first-child" in page


def test_a_picture_becomes_an_address() -> None:
    head, _, packed = data_url(b"\x89PNG").partition(",")
    assert (head, base64.b64decode(packed)) == ("data:image/png;base64", b"\x89PNG")
    assert data_url(b"\xff\xd8", "jpeg").startswith("data:image/jpeg;base64,")

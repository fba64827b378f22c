import base64

import jinja2
import pytest

from clustnet.pages import data_url, render


def test_values_are_escaped_and_none_may_lack() -> None:
    plot = {"title": "<b>", "text": "&", "light": "l", "dark": "d"}
    page = render("evaluation", "plots.html", plots=[plot])
    assert "<h2>&lt;b&gt;</h2>" in page
    assert 'alt="&lt;b&gt;. &amp;"' in page
    with pytest.raises(jinja2.UndefinedError):
        render("evaluation", "plots.html")


def test_a_picture_becomes_an_address() -> None:
    head, _, packed = data_url(b"\x89PNG").partition(",")
    assert (head, base64.b64decode(packed)) == ("data:image/png;base64", b"\x89PNG")
    assert data_url(b"\xff\xd8", "jpeg").startswith("data:image/jpeg;base64,")

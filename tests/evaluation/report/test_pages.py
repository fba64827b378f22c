import base64
from pathlib import Path

import jinja2
import pytest

from clustnet.errors import UserError
from evaluation.report.pages import data_url, render, replacing_report


def test_a_failed_report_leaves_the_earlier_one(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "scores.json").write_text("earlier")

    def fail() -> None:
        with replacing_report(folder) as temporary:
            (temporary / "scores.json").write_text("later")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot be written to .*report \(No space left on device\); name another"):
        fail()
    assert (folder / "scores.json").read_text() == "earlier"


def test_values_are_escaped_and_none_may_lack() -> None:
    plot = {"title": "<b>", "text": "&", "light": "l", "dark": "d"}
    page = render("plots.html", plots=[plot])
    assert "<h2>&lt;b&gt;</h2>" in page
    assert 'alt="&lt;b&gt;. &amp;"' in page
    with pytest.raises(jinja2.UndefinedError):
        render("plots.html")


def test_a_picture_becomes_an_address() -> None:
    head, _, packed = data_url(b"\x89PNG").partition(",")
    assert (head, base64.b64decode(packed)) == ("data:image/png;base64", b"\x89PNG")

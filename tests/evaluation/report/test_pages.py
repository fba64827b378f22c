from pathlib import Path

import pytest

from clustnet.errors import UserError
from evaluation.report.pages import replacing_report


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

import hashlib

import pytest

from clustnet import cli


def test_the_key_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", "ann", "--scopes", "admin,predict"]) == cli.DONE
    shown = capsys.readouterr()
    secret = shown.err.strip().removeprefix("The key, shown only now: ")
    assert shown.out == f"ann predict,admin {hashlib.sha256(secret.encode()).hexdigest()}\n"


def test_a_key_may_predict_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", "ann"]) == cli.DONE
    assert capsys.readouterr().out.startswith("ann predict ")


@pytest.mark.parametrize("arguments", [["a b"], ["ann", "--scopes", "root"]])
def test_wrong_words_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", *arguments]) == cli.WRONG_INPUT
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n"), shown.err[:10]) == ("", 1, "clustnet: ")

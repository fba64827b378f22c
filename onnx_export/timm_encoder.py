"""Encoders made from timm models, with weights that timm downloads or that a file holds."""

from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from clustnet.encoders import DESCRIPTION, GRAPH, Encoder, EncoderSpec
from clustnet.errors import UserError
from clustnet.files import replacing_folder, sha256_of, write_text
from onnx_export.encoders import check_encoder_parity, write_encoder

NOT_STATED = "not stated"


class Normalised(nn.Module):
    """A network with its normalisation: ``image`` uint8 [N, H, W, 3] -> ``embedding`` float32 [N, D].

    Args:
        network: maps normalised pixels, float32 [N, 3, H, W], to embeddings, float32 [N, D].
        mean: the mean of each channel, of pixels scaled to 0..1.
        std: the standard deviation of each channel, likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the embeddings of images."""
        embedding: Tensor = self.network((image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std)
        return embedding


def make_encoder(
    name: str,
    out: Path,
    weights: Path | None = None,
    size: int | None = None,
    licence: str | None = None,
    trained_on: str | None = None,
) -> EncoderSpec:
    """Write the encoder of a timm model to a folder, whole or not at all, and return its description.

    Args:
        name: the model's name in timm.
        out: the folder; an earlier encoder there is replaced.
        weights: a file with the model's weights; None lets timm download its own.
        size: height and width of the images, in pixels; by default what the model was made for.
        licence: the licence of the weights; by default the one that timm states for the weights it downloads.
        trained_on: the data and labels that the weights were trained on.

    Raises:
        UserError: timm has no such model, its weights cannot be had or do not fit, it cannot read RGB images of
            ``size``, or ``out`` exists and is not an encoder.
        ParityError: the graph does not compute what the model does.
    """
    if out.exists() and not (out / DESCRIPTION).is_file():
        raise UserError(f"{out} exists and is not an encoder; choose another --out or remove it.")
    network = _network(name, weights, size)
    config: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    channels, height, width = config["input_size"]
    if channels != 3:
        raise UserError(f"The model {name} reads {channels} channels, but an encoder reads 3; choose another.")
    known = network.pretrained_cfg if weights is None else {}
    module = Normalised(network, config["mean"], config["std"]).eval()
    with replacing_folder(out) as folder:
        write_encoder(folder / GRAPH, module, (height, width))
        spec = EncoderSpec(
            name=name,
            sha256=sha256_of(folder / GRAPH),
            licence=licence or known.get("license") or NOT_STATED,
            source=f"timm {timm.__version__}, {'its own weights' if weights is None else weights.name}",
            trained_on=trained_on or (known.get("tag") and f"timm's tag {known['tag']}") or NOT_STATED,
            size=(height, width),
            mean=config["mean"],
            std=config["std"],
            crop=config["crop_pct"] if config.get("crop_mode", "center") == "center" else 1.0,
        )
        write_text(folder / DESCRIPTION, spec.model_dump_json(indent=1, exclude_none=True) + "\n")
        encoder = Encoder(folder / GRAPH, folder / DESCRIPTION, device="cpu")
        check_encoder_parity(module, encoder)
        write_text(folder / DESCRIPTION, encoder.spec.model_dump_json(indent=1, exclude_none=True) + "\n")
    return encoder.spec


def _network(name: str, weights: Path | None, size: int | None) -> Any:
    """Return timm's model without its classifier."""
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0]}*")[:3]
        hint = f"; did you mean {' or '.join(near)}" if near else "; timm.list_models() has all names"
        raise UserError(f"timm has no model {name!r}{hint}.")
    if weights is None:
        network = _downloaded(name)
    else:
        network = timm.create_model(name, pretrained=False, num_classes=0)
        _load(network, name, weights)
    if size:
        _resize(network, name, size)
    return network.eval()


def _resize(network: Any, name: str, size: int) -> None:
    """Let a model read images of another size.

    Raises:
        UserError: the model reads only one size.
    """
    if hasattr(network, "set_input_size"):
        network.set_input_size(img_size=(size, size))
    elif network.pretrained_cfg.get("fixed_input_size"):
        raise UserError(f"The model {name} reads only one image size; leave out --size.")
    network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, size, size)}


def _downloaded(name: str) -> Any:
    """Return a timm model with the weights that timm downloads."""
    try:
        return timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # noqa: BLE001 - timm, its hub and the network raise a dozen types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"timm cannot get the weights of {name} ({reason}); name a file with them by --weights."
        ) from None


def _load(network: Any, name: str, path: Path) -> None:
    """Load the weights in a file into a network, except those of a classifier.

    Raises:
        UserError: the file holds no weights, or those of another model.
    """
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), device="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch and safetensors raise a dozen types
        reason = str(error).splitlines()[0]
        raise UserError(f"The weights {path} cannot be read ({reason}); name a file with a plain state dict.") from None
    classifiers = network.pretrained_cfg.get("classifier") or ()
    prefixes = tuple(f"{prefix}." for prefix in ((classifiers,) if isinstance(classifiers, str) else classifiers))
    kept = {key: value for key, value in state.items() if not (prefixes and key.startswith(prefixes))}
    wanted = network.state_dict()
    wrong = [
        key
        for key in {**wanted, **kept}
        if key not in wanted or key not in kept or kept[key].shape != wanted[key].shape
    ]
    if wrong:
        raise UserError(
            f"The weights {path} do not belong to {name}: {len(wrong)} tensors do not fit, the first being {wrong[0]}."
        )
    network.load_state_dict(kept)

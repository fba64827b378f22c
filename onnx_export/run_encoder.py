"""The encoder of a run, as a graph that reads photographs."""

from pathlib import Path

from torch import Tensor, nn
from torchvision.transforms.v2.functional import rgb_to_grayscale

from clustnet import __version__
from clustnet.encoders import DESCRIPTION, GRAPH, OF_RUN, Encoder, EncoderSpec
from clustnet.errors import UserError
from clustnet.files import replacing_folder, sha256_of, write_text
from onnx_export.encoders import check_encoder_parity, write_encoder
from training.models.mixture import GatedExperts
from training.models.spec import ImageSpec
from training.recipe.recipe import BaseRecipe
from training.runs.run_folder import RunFolder


class RunEncoder(nn.Module):
    """The encoder of a network for colour or grey: ``image`` uint8 [N, H, W, 3] -> ``embedding`` float32 [N, D].

    Args:
        model: the trained network.
        colour: whether it reads three channels.
    """

    def __init__(self, model: GatedExperts, colour: bool) -> None:
        super().__init__()
        self.normalise, self.encoder, self.colour = model.normalise, model.encoder, colour

    def forward(self, image: Tensor) -> Tensor:
        """Return the embeddings of images."""
        if not self.colour:
            image = rgb_to_grayscale(image.permute(0, 3, 1, 2).float()).squeeze(1)
        embedding: Tensor = self.encoder(self.normalise(image))
        return embedding


def export_encoder(run: Path, out: Path | None = None) -> EncoderSpec:
    """Write the encoder of a run, whole or not at all, and return its description.

    Args:
        run: a finished run of a method that reads images.
        out: the folder; an earlier encoder there is replaced. By default it lies in the run's folder, whose path then
            names the encoder.

    Raises:
        UserError: ``run`` is not a finished run or reads embeddings, or ``out`` exists and is not an encoder.
        ParityError: the graph does not compute what the network does.
    """
    folder = RunFolder.kept(run)
    recipe, spec, model = folder.recipe(), folder.spec(), folder.load_network()
    if not isinstance(spec, ImageSpec):
        raise UserError(
            f"{run} reads the embeddings of an encoder, {recipe.encoder and recipe.encoder.name}; name that."
        )
    out = out or run / OF_RUN
    if out.exists() and not (out / DESCRIPTION).is_file():
        raise UserError(f"{out} exists and is not an encoder; choose another --out or remove it.")
    height, width, *channels = spec.image_shape
    module, grey = RunEncoder(model, bool(channels)).eval(), not channels
    with replacing_folder(out) as made:
        write_encoder(made / GRAPH, module, (height, width))
        described = EncoderSpec(
            name=f"{recipe.method}-{run.resolve().name}",
            sha256=sha256_of(made / GRAPH),
            licence="that of the run's images",
            source=f"ClustNet {__version__}, method {recipe.method}, seed {recipe.seed}",
            trained_on=_trained_on(recipe, spec),
            size=(height, width),
            # The graph normalises by itself.
            mean=spec.mean * (3 if grey else 1),
            std=spec.std * (3 if grey else 1),
        )
        write_text(made / DESCRIPTION, described.model_dump_json(indent=1, exclude_none=True) + "\n")
        encoder = Encoder(made / GRAPH, made / DESCRIPTION, device="cpu")
        check_encoder_parity(module, encoder)
        write_text(made / DESCRIPTION, encoder.spec.model_dump_json(indent=1, exclude_none=True) + "\n")
    return encoder.spec


def _trained_on(recipe: BaseRecipe, spec: ImageSpec) -> str:
    """Return which images and labels the network has seen."""
    labels = f"the coarse labels {', '.join(spec.coarse_labels)}" if len(spec.coarse_labels) > 1 else "no label"
    return f"training images of {recipe.data.name}, with {labels}"

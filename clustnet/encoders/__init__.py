"""Encoders, which turn any photograph into an embedding, and a cache of embeddings.

``open_encoder("lite0").embed(images)`` is all that most callers need.
"""

from pathlib import Path

from clustnet.bundles.predictor import Device
from clustnet.encoders.encoder import Concatenated, Embeds, Encoder
from clustnet.encoders.spec import EncoderSpec, read_spec
from clustnet.errors import UserError

__all__ = [
    "DESCRIPTION",
    "ENCODERS",
    "GRAPH",
    "OF_RUN",
    "Concatenated",
    "Embeds",
    "Encoder",
    "EncoderSpec",
    "find_encoder",
    "open_encoder",
    "read_spec",
]

GRAPH, DESCRIPTION = "encoder.onnx", "encoder.json"
# The encoders that come with the project; a wheel has them in this package.
IN_WHEEL = Path(__file__).resolve().parent / "models"
ENCODERS = IN_WHEEL if IN_WHEEL.is_dir() else Path(__file__).resolve().parents[2] / "models" / "encoders"
# The encoder's folder inside a run.
OF_RUN = "encoder"
MAX_ENCODERS = 4


def find_encoder(name: str | Path) -> tuple[Path, Path]:
    """Return the graph and the description of an encoder.

    Args:
        name: the name of an encoder that comes with the project, a folder with ``encoder.onnx`` and ``encoder.json``,
            a FILE.onnx with FILE.json beside it, or a run from which ``clustnet encoder RUN`` has made an encoder.

    Raises:
        UserError: there is no such encoder.
    """
    path = Path(name)
    if path.suffix == ".onnx" and path.is_file():
        return path, path.with_suffix(".json")
    own = ENCODERS / name if len(path.parts) == 1 else path
    for folder in (own, path, path / OF_RUN):
        if (folder / GRAPH).is_file():
            return folder / GRAPH, folder / DESCRIPTION
    if (path / "recipe.yaml").is_file():
        raise UserError(f"The run {name} has no encoder yet; make it with: clustnet encoder {name}")
    known = sorted(folder.parent.name for folder in ENCODERS.glob(f"*/{GRAPH}"))
    raise UserError(
        f"There is no encoder {str(name)!r}; name {' or '.join(known)}, a folder with {GRAPH}, or a FILE.onnx with "
        "FILE.json beside it."
    )


def open_encoder(
    name: str | Path, device: Device = "auto", threads: int = 1, size: tuple[int, int] | None = None
) -> Embeds:
    """Return an encoder, or several whose embeddings are concatenated.

    Args:
        name: see ``find_encoder``; ``a,b`` for several encoders.
        device: as for ``clustnet.bundles.predictor.Predictor``.
        threads: threads inside one inference; 0 uses all cores.
        size: height and width of the images; by default the size that the encoders read. An encoder that reads several
            sizes adapts to one that does not.

    Raises:
        UserError: there is no such encoder, it is damaged, or it does not read images of this size.
    """
    names = [word.strip() for word in str(name).split(",")]
    if "" in names or len(names) > MAX_ENCODERS or len(set(names)) < len(names):
        raise UserError(
            f"The encoder {str(name)!r} must be one name, or up to {MAX_ENCODERS} different ones as in a,b."
        )
    found = [find_encoder(word) for word in names]
    if size is None:
        specs = [read_spec(*files) for files in found]
        size = next((spec.size for spec in specs if spec.multiple is None), specs[0].size)
    encoders = tuple(Encoder(*files, device=device, threads=threads, size=size) for files in found)
    return encoders[0] if len(encoders) == 1 else Concatenated(encoders)

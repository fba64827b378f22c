"""Small runs to review, written as ``clustnet discover`` leaves them, without any training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from clustnet.files import replacing_folder
from training.discover.collection import CLUSTERS
from training.discover.reading import IMAGES, THUMBNAILS, write_lists
from training.discover.reading import Image as Listed
from training.discover.subtypes import SUBTYPES, Row, typicality, write_subtypes

LABELS = ("animals", "vehicles")
COLOURS = ((200, 60, 60), (60, 160, 60), (60, 60, 200), (200, 180, 60))
SIDE = 24


def write_run(run: Path, images: int = 60, draw: Callable[[Path, tuple[int, ...], int], None] | None = None) -> Path:
    """Write a run with two coarse labels of two subtypes each, whose images are told apart by their colours.

    The first image of ``vehicles`` is a suspect, and the last one of ``animals`` a near duplicate of the first.
    """
    draw = draw or _draw
    generator = np.random.default_rng(0)
    group = np.sort(np.arange(images) % 4)
    names = [f"{LABELS[number // 2]}/{place:05}.jpg" for place, number in enumerate(group.tolist())]
    subtypes = [f"{LABELS[number // 2]}/{number % 2 + 1}" for number in group.tolist()]
    space = (np.eye(4)[group] * 3 + generator.normal(0, 0.5, (images, 4))).astype(np.float32)
    listed = []
    for place, (name, number) in enumerate(zip(names, group.tolist(), strict=True)):
        path = run / IMAGES / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(path, COLOURS[number], place)
        listed.append(Listed(name, f"train/{name}", "train", LABELS[number // 2], "0" * 64, SIDE, SIDE, 1))
    write_lists(run, listed, [])
    np.save(run / THUMBNAILS, np.zeros((images, 16, 16), np.uint8))
    with replacing_folder(run / CLUSTERS) as folder:
        np.save(folder / "space.npy", space)
        np.save(folder / "clusters.npy", group % 2)
    write_subtypes(run / SUBTYPES, _rows(names, subtypes, typicality(space, group).tolist()))
    return run


def _rows(names: list[str], subtypes: list[str], typical: list[float]) -> list[Row]:
    rows = [
        Row(name, "train", name.partition("/")[0], subtype, subtype, 0.9, share, 0, "", "")
        for name, subtype, share in zip(names, subtypes, typical, strict=True)
    ]
    first = next(place for place, row in enumerate(rows) if row.coarse == "vehicles")
    rows[first] = rows[first]._replace(suspect="animals", confidence=0.4)
    rows[first - 1] = rows[first - 1]._replace(duplicate_of=rows[0].file)
    return rows


def _draw(path: Path, colour: tuple[int, ...], place: int) -> None:
    noise = np.random.default_rng(place).integers(-40, 40, (SIDE, SIDE, 1))
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)

"""``clustnet discover IMAGES --add OLD --bundle B``: look for new subtypes among images that a model abstains from.

The new run has the images of the run OLD as they were reviewed, and those of IMAGES that the bundle's model abstains
from; the latter are clustered within their coarse labels. Images that the model knows or that OLD has are left out::

    RUN/added/    what was read of IMAGES
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.preparation import prepare
from clustnet.corrections.session import Session
from clustnet.datasets.folder import read_file
from clustnet.errors import UserError
from clustnet.files import replacing_folder, write_text
from training.discover import clustering, embedding, reading
from training.discover.collection import CLUSTERS
from training.discover.found import found_by_discover
from training.discover.progress import show
from training.discover.reading import IMAGES, THUMBNAILS, Image
from training.discover.recipes import VIEWS
from training.discover.resuming import NEVER, REVIEWED, Resumed, ReviewedImage, link_all
from training.discover.sources import entries
from training.discover.steps import LISTING, REPRESENTATIONS
from training.discover.weighting import joined

ADDED = "added"
# Images per prediction.
BATCH = 256


class Added(Resumed):
    """A run that adds to an earlier one the images of ``arguments.images`` that ``arguments.bundle`` abstains from."""

    @property
    def added(self) -> Path:
        """The folder in which the new images are listed."""
        return self.run / ADDED

    def read(self) -> None:
        """Take the images of the earlier run, and the new ones that the model abstains from."""
        write_text(self.run / LISTING, self._listing())
        review = Session(self.before, found_by_discover(self.before)).review
        rows, old, problems = self._take(review)
        self.added.mkdir(parents=True, exist_ok=True)
        found_problems = reading.read(entries(self.arguments.images, self.arguments.columns), self.added, self.engine)
        listed = reading.load_files(self.added)
        check_labels(listed, review.found.labels)
        known = {image.sha256 for image in reading.load_files(self.before)}
        fresh = [place for place, image in enumerate(listed) if image.sha256 not in known]
        refused = abstained([self.added / IMAGES / listed[place].image for place in fresh], self._predictor())
        places = [place for place, refuses in zip(fresh, refused, strict=True) if refuses]
        check_some(places, len(listed))
        new = [
            placed(listed[place], place, self.arguments.images.name, len(review.found.labels) > 1) for place in places
        ]
        with replacing_folder(self.run / IMAGES) as folder:
            link_all(self.before, rows, old, folder)
            for place, image in zip(places, new, strict=True):
                reading.link(self.added / IMAGES / listed[place].image, folder / image.image)
        thumbnails = np.load(self.before / THUMBNAILS)[[row.place for row in rows]]
        reading.save_thumbnails(self.run, np.concatenate([thumbnails, np.load(self.added / THUMBNAILS)[places]]))
        added = [ReviewedImage(NEVER, image.file, "", "", 0, "") for image in new]
        reading.write_rows(self.run / REVIEWED, ReviewedImage._fields, [*rows, *added])
        before = reading.load_problems(self.before)
        reading.write_lists(self.run, [*old, *new], [*before, *problems, *found_problems])
        print(f"  {len(listed):,} new images, {len(listed) - len(fresh):,} of them known", flush=True)
        print(f"  the model abstains from {len(new):,}; they are added to {len(old):,} images", flush=True)

    def _predictor(self) -> Predictor:
        if self.arguments.bundle is None:
            raise ValueError("these arguments name no bundle")
        return Predictor(Bundle(self.arguments.bundle))

    def embed(self) -> None:
        """Compute the representations by which images are compared; the earlier run's images are already embedded."""
        self._take_embeddings()
        found = self.found
        choice = self._choice(found)
        views = VIEWS if choice.encoders else 0
        embedding.embed(found.images, choice, self.run, self.arguments.seed, views, self.engine)

    def cluster(self) -> None:
        """Find the subtypes of the new images within each coarse label; the others keep theirs."""
        found, reviewed = self.found, self.reviewed
        with (self.before / CLUSTERS / REPRESENTATIONS).open(newline="", encoding="utf-8") as file:
            weights = {row["name"]: float(row["weight"]) for row in csv.DictReader(file) if float(row["weight"]) > 0}
        space = joined(embedding.load_rows(self.run), weights)
        ids = [row.subtype if row.place != NEVER else "" for row in reviewed]
        new = np.array([row.place == NEVER for row in reviewed])
        for label, name in enumerate(found.labels):
            inside = found.inside(label)
            self._add_subtypes(name, inside[new[inside]], space, ids)
        rows = [row._replace(subtype=name) for row, name in zip(reviewed, ids, strict=True)]
        reading.write_rows(self.run / REVIEWED, ReviewedImage._fields, rows)
        self._write_clusters(ids, space)

    def _add_subtypes(self, label: str, places: NDArray[np.int64], space: NDArray[np.float32], ids: list[str]) -> None:
        """Cluster the new images of a coarse label, and give their clusters the next free ids."""
        if not len(places):
            return
        given = self.arguments.subtypes
        made, candidates = clustering.cluster(space[places], given.get(label, given.get("")), self.arguments.seed)
        clusters = clustering.largest_first(made)
        last = max((int(name.rpartition("/")[2]) for name in ids if name.startswith(f"{label}/")), default=0)
        for place, cluster in zip(places.tolist(), clusters.tolist(), strict=True):
            ids[place] = f"{label}/{last + 1 + cluster}"
        print(f"  new: {clustering.describe(label, clusters, candidates)}", flush=True)


def abstained(files: Sequence[Path], predictor: Predictor) -> list[bool]:
    """Return whether a model abstains from each image file.

    Raises:
        UserError: a file can no longer be read.
    """
    spec, threshold = predictor.manifest.input, predictor.manifest.abstention
    found: list[bool] = []
    parts = list(reading.batches(files, BATCH))
    for part in show(parts, [len(part) for part in parts], "predict"):
        images = np.stack([read_file(file, lambda content: prepare(content, spec)) for file in part])
        found += threshold.refuses(predictor.predict(images).confidence).tolist()
    return found


def placed(image: Image, place: int, source: str, divided: bool) -> Image:
    """Return a new image with a name and a path that no image of the earlier run has."""
    name = f"{ADDED}_{place:06}_{Path(image.image).name}"
    path = [image.split, *([image.coarse] if divided else []), name]
    return image._replace(file=f"{ADDED}:{source}/{image.file}", image="/".join(path))


def check_labels(images: Sequence[Image], labels: Sequence[str]) -> None:
    """Raise an error if a new image has a coarse label that the earlier run does not have.

    Raises:
        UserError: there is such an image; the message names its coarse label.
    """
    other = next((image for image in images if image.coarse not in labels), None)
    if other is not None:
        raise UserError(
            f"{other.file} has the coarse label {other.coarse!r}, but the run to add to has {', '.join(labels)}; sort "
            "the new images into folders of these names."
        )


def check_some(places: Sequence[int], images: int) -> None:
    """Raise an error if no images are left in which to look for new subtypes.

    Raises:
        UserError: the model abstains from none of the new images.
    """
    if not places:
        raise UserError(f"The model abstains from none of the {images:,} new images, so there is no new subtype.")

"""``clustnet discover --resume``: train again from what a person corrected in the review of an earlier run.

The earlier run is not changed. The new one starts from its embeddings and from its images, except those that the review
leaves out; the gate imitates the reviewed subtypes instead of clusters. Subtypes keep their ids and names::

    RUN/reviewed.csv    the subtype of each image in the review, as it was when the run was started
"""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clustnet.corrections.actions import LEAVING_OUT, MarkImages, Rename
from clustnet.corrections.log import LOG
from clustnet.corrections.session import Session
from clustnet.corrections.state import Review
from clustnet.encoders.cache import copy_embeddings
from clustnet.errors import UserError
from clustnet.files import replacing_folder, write_text
from training.discover import clustering, embedding, reading
from training.discover.collection import CLUSTERS, Collection
from training.discover.found import found_by_discover, is_discovered
from training.discover.reading import IMAGES, THUMBNAILS, Image, Problem
from training.discover.recipes import PARTITION
from training.discover.steps import LISTING, REPRESENTATIONS, Discovery, Step
from training.discover.subtypes import Assignment
from training.discover.writing import has_images

REVIEWED = "reviewed.csv"
NEVER = -1


class ReviewedImage(NamedTuple):
    """An image as it was reviewed.

    Args:
        place: its index in the earlier run; -1 for a new image.
        file: its name in IMAGES.
        subtype: id of its subtype.
        name: name of the subtype; empty if nobody named it.
        moved: 1 if a person chose the subtype.
        decisions: its marks that do not leave it out, separated by spaces.
    """

    place: int
    file: str
    subtype: str
    name: str
    moved: int
    decisions: str


class Resumed(Discovery):
    """A run that begins with the review of an earlier one, ``arguments.resume``."""

    @property
    def before(self) -> Path:
        """The earlier run."""
        if self.arguments.resume is None:
            raise ValueError("these arguments resume no run")
        return self.arguments.resume

    @property
    def steps(self) -> list[Step]:
        """The steps, the last of which carries over what a person decided about single images."""
        return [*super().steps, ("decisions", self.decide, self.run / LOG)]

    @property
    def reviewed(self) -> list[ReviewedImage]:
        """The images of this run as they were reviewed, in their order."""
        with (self.run / REVIEWED).open(newline="", encoding="utf-8") as file:
            _, *rows = csv.reader(file)
        return [ReviewedImage(int(row[0]), row[1], row[2], row[3], int(row[4]), row[5]) for row in rows]

    def read(self) -> None:
        """Take the images of the earlier run, without those that the review leaves out."""
        session = Session(self.before, found_by_discover(self.before))
        check_corrected(session, self.before)
        rows, moved, problems = self._take(session.review)
        with replacing_folder(self.run / IMAGES) as folder:
            link_all(self.before, rows, moved, folder)
        reading.save_thumbnails(self.run, np.load(self.before / THUMBNAILS)[[row.place for row in rows]])
        reading.write_rows(self.run / REVIEWED, ReviewedImage._fields, rows)
        write_text(self.run / LISTING, (self.before / LISTING).read_text(encoding="utf-8"))
        reading.write_lists(self.run, moved, [*reading.load_problems(self.before), *problems])
        print(f"  {len(rows):,} images; the review leaves out {len(problems):,}", flush=True)

    def _take(self, review: Review) -> tuple[list[ReviewedImage], list[Image], list[Problem]]:
        """Return the earlier run's images as they were reviewed and as they are listed here, and those left out."""
        rows, moved, problems = [], [], []
        for place, image in enumerate(reading.load_files(self.before)):
            why = review.left_out(image.file)
            if why:
                problems.append(Problem(image.file, image.split, image.coarse, LEAVING_OUT[why], "review"))
                continue
            subtype = review.subtypes[review.of[place]]
            decisions = " ".join(review.marks.get(image.file, {}).values())
            chosen = int(image.file in review.touched)
            rows.append(ReviewedImage(place, image.file, subtype.id, subtype.name, chosen, decisions))
            moved.append(relabelled(image, subtype.coarse, place))
        return rows, moved, problems

    def embed(self) -> None:
        """Take the embeddings of the earlier run."""
        places = [row.place for row in self.reviewed]
        self._take_embeddings()
        with replacing_folder(self.run / embedding.ROWS) as folder:
            for name, rows in embedding.load_rows(self.before).items():
                np.save(folder / f"{name}.npy", rows[places])

    def _take_embeddings(self) -> None:
        source = self.before / embedding.EMBEDDINGS
        if source.is_dir() and not (self.run / embedding.EMBEDDINGS).exists():
            with replacing_folder(self.run / embedding.EMBEDDINGS) as folder:
                copy_embeddings(source, folder)

    def cluster(self) -> None:
        """Take the reviewed subtypes as clusters, in the space of the earlier run."""
        space = Collection.of(self.before).space[[row.place for row in self.reviewed]]
        self._write_clusters([row.subtype for row in self.reviewed], space)

    def _write_clusters(self, ids: Sequence[str], space: embedding.Floats) -> None:
        """Write the clusters that the gate is to imitate, given the id of each image's subtype."""
        found, names = self.found, np.array(ids)
        clusters = np.zeros(len(names), np.int64)
        for label, name in enumerate(found.labels):
            inside = found.inside(label)
            clusters[inside] = clustering.largest_first(np.unique(names[inside], return_inverse=True)[1])
            sizes = ", ".join(f"{size:,}" for size in np.bincount(clusters[inside]))
            print(f"  reviewed: {name}: subtypes of {sizes} images", flush=True)
        partition = [(found.images[place].image, int(clusters[place])) for place in np.flatnonzero(found.train)]
        reading.write_rows(self.run / PARTITION, ("file", "cluster"), partition)
        with replacing_folder(self.run / CLUSTERS) as folder:
            np.save(folder / "clusters.npy", clusters)
            np.save(folder / "space.npy", space)
            shutil.copyfile(self.before / CLUSTERS / REPRESENTATIONS, folder / REPRESENTATIONS)

    def _assignment(self, found: Collection) -> Assignment:
        """Return the subtype of each image: that of the trained model, or that to which a person moved it."""
        return reviewed_assignment(super()._assignment(found), found, self.reviewed)

    def decide(self) -> None:
        """Carry over which suspects, outliers and near duplicates were dismissed, so that nobody is asked again."""
        session = Session(self.run, found_by_discover(self.run))
        for mark in ("right_label", "no_outlier", "no_duplicate"):
            files = tuple(row.file for row in self.reviewed if mark in row.decisions.split())
            if files:
                session.do([MarkImages.model_validate({"files": files, "mark": mark})])


def check_corrected(session: Session, run: Path) -> None:
    """Raise an error if the review changed nothing that a model could learn.

    Raises:
        UserError: nothing was corrected, or subtypes were only named.
    """
    if not session.history.done:
        raise UserError(f"Nothing was corrected in {run}; correct it with 'clustnet review {run}' and then resume it.")
    if all(isinstance(action, Rename) for action in session.history.done):
        raise UserError(
            f"In {run} subtypes were only named, and 'clustnet export {run}' takes names as they are; there is nothing "
            "to train again."
        )


def check_resumable(run: Path) -> None:
    """Raise an error if a run cannot be resumed.

    Raises:
        UserError: it is not a finished run of ``clustnet discover`` on images.
    """
    if not is_discovered(run):
        raise UserError(f"{run} is not a finished run of 'clustnet discover'; only such a run can be resumed.")
    if not has_images(run):
        raise UserError(f"{run} has embeddings without images, which cannot train a gate, so it cannot be resumed.")


def relabelled(image: Image, label: str, place: int) -> Image:
    """Return an image with its coarse label from the review, at a new path if that label is another one."""
    if label == image.coarse:
        return image
    split, _, rest = image.image.split("/", 2)
    folder, _, name = rest.rpartition("/")
    return image._replace(
        image="/".join([split, label, *([folder] if folder else []), f"{place}_{name}"]), coarse=label
    )


def reviewed_assignment(made: Assignment, found: Collection, reviewed: Sequence[ReviewedImage]) -> Assignment:
    """Return the subtypes with the ids of the review.

    A cell of the trained model stands for the subtype that most of its images have in the review. An image whose
    subtype has no cell keeps it, and so does one that a person moved.

    Args:
        made: the cells in use, and the cell of each image.
        found: the images.
        reviewed: the same images as they were reviewed.
    """
    known = {row.subtype: (found.images[place].coarse, row.name) for place, row in enumerate(reviewed)}
    ids = sorted(known, key=lambda name: (known[name][0], int(name.rpartition("/")[2])))
    own = np.array([ids.index(row.subtype) for row in reviewed])
    stands_for = np.full(len(made.names), NEVER)
    for cell in range(len(made.names)):
        inside = own[(made.subtype == cell) & found.train]
        if len(inside):
            stands_for[cell] = np.bincount(inside).argmax()
    told = stands_for[made.subtype]
    kept = np.array([row.moved for row in reviewed], bool) | ~np.isin(own, stands_for) | (told == NEVER)
    return Assignment(
        tuple(ids),
        tuple(known[name][0] for name in ids),
        np.where(kept, own, told),
        made.confidence,
        tuple(known[name][1] or name for name in ids),
    )


def link_all(before: Path, rows: Sequence[ReviewedImage], images: Sequence[Image], folder: Path) -> None:
    """Link images of an earlier run into a folder."""
    old = reading.load_files(before)
    for row, image in zip(rows, images, strict=True):
        reading.link(before / IMAGES / old[row.place].image, folder / image.image)

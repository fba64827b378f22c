"""The steps of ``clustnet discover``; each leaves its work whole, so that a second call goes on with the next.

==========  ==========================================================================
read        files.csv, problems.csv, images/ (see ``reading``)
embed       embeddings/, small/, rows/ (see ``embedding``)
cluster     clusters/: the cluster of each image, the candidates, the representations
train       the run itself: recipe.yaml, checkpoints/, scores.csv (see ``training.runs``)
write       subtypes.csv, summary.csv, merges.csv, sheets/, report.html
==========  ==========================================================================
"""

import csv
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError
from clustnet.files import replacing_folder, write_table, write_text
from training.discover import clustering, duplicates, embedding, merges, reading, sheets, subtypes
from training.discover.arguments import AUTO, Arguments, check_subtypes
from training.discover.arrays import holds_embeddings, load_embedded, read_embedded
from training.discover.embedding import Choice, chosen, load_rows, principal
from training.discover.progress import show, time_text
from training.discover.reading import Image
from training.discover.recipes import PARTITION, VIEWS, recipe_of
from training.discover.report import Report, page
from training.discover.sources import entries
from training.discover.suspects import suspects
from training.discover.weighting import joined, weigh

CLUSTERS, LISTING, SHEETS, REPORT = "clusters", ".listing", "sheets", "report.html"
MERGES, SUMMARY = "merges.csv", "summary.csv"
EMBEDDED = "embedding"

Labels = NDArray[np.int64]


class Discovery:
    """One run of ``clustnet discover``.

    Args:
        arguments: what decides it.
        run: its folder.
    """

    def __init__(self, arguments: Arguments, run: Path) -> None:
        self.arguments, self.run = arguments, run
        self.images: list[Image] = []
        self.labels: list[str] = []
        self.coarse: Labels = np.empty(0, np.int64)
        self.is_train: NDArray[np.bool_] = np.empty(0, bool)
        self.embedded = holds_embeddings(arguments)

    @property
    def steps(self) -> list[tuple[str, Callable[[], None], Callable[[], bool]]]:
        """The name of each step, what does it, and whether it was done."""
        return [
            ("read", self.read, lambda: (self.run / reading.FILES).is_file()),
            ("embed", self.embed, lambda: (self.run / embedding.ROWS).is_dir()),
            ("cluster", self.cluster, lambda: (self.run / CLUSTERS).is_dir()),
            ("train", self.train, lambda: (self.run / REPORT).is_file()),
            ("write", self.write, lambda: (self.run / REPORT).is_file()),
        ]

    def go(self) -> None:
        """Do what is left of the steps, and say what was found.

        Raises:
            UserError: the images cannot be used, or the run was begun with other ones.
            KeyboardInterrupt: stopped by the user; its message says what is safe.
        """
        self.arguments.keep(self.run)
        for number, (name, work, done) in enumerate(self.steps, 1):
            if done():
                print(f"[{number}/{len(self.steps)}] {name}: done before", flush=True)
            else:
                print(f"[{number}/{len(self.steps)}] {name}", flush=True)
                began = time.monotonic()
                self._do(name, work)
                print(f"  {time_text(time.monotonic() - began)}", flush=True)
            if name == "read":
                self._take_images()
        self._tell()

    def _do(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"The steps before '{name}' are safe in {self.run}, and much of it; the same command goes on."
            ) from None

    def _take_images(self) -> None:
        """Load the list of images, and check that IMAGES has not changed since it was written."""
        if (self.run / LISTING).read_text(encoding="utf-8").strip() != self._listing():
            raise UserError(f"{self.arguments.images} has changed since {self.run} was begun; choose another --out.")
        self.images = reading.load_files(self.run)
        self.labels = reading.coarse_labels(self.images)
        check_subtypes(self.arguments.subtypes, self.labels)
        self.coarse = np.array([self.labels.index(image.coarse) for image in self.images])
        self.is_train = subtypes.is_train([image.split for image in self.images])

    def _listing(self) -> str:
        """Return what changes with IMAGES; of a table its own file counts."""
        path = self.arguments.images
        if path.is_dir():
            return reading.listing(entries(path, self.arguments.columns))
        return repr(reading.stamp(path))

    def read(self) -> None:
        """Look at every image and list what is used and what not."""
        write_text(self.run / LISTING, self._listing())
        if self.embedded:
            _, problems = read_embedded(load_embedded(self.arguments), self.run, self.arguments.images)
        else:
            problems = reading.read(entries(self.arguments.images, self.arguments.columns), self.run)
        for line in reading.describe(reading.load_files(self.run), problems):
            print(f"  {line}", flush=True)

    @property
    def choice(self) -> Choice:
        """What images are compared by."""
        return chosen(self.arguments.encoder, self.images, len(self.labels))

    def embed(self) -> None:
        """Compute what images are compared by."""
        if not self.embedded:
            embedding.embed(self.images, self.choice, self.run, self.arguments.seed, VIEWS if self.choice.encoders else 0)
            return
        found = load_embedded(self.arguments)
        by_name = {name: place for place, name in enumerate(found.names)}
        rows = embedding.unit(found.rows[[by_name[image.file] for image in self.images]])
        components = principal(lambda places: rows[places], self.is_train, self.arguments.seed)
        with replacing_folder(self.run / embedding.ROWS) as folder:
            np.save(folder / f"{EMBEDDED}.npy", components)

    def cluster(self) -> None:
        """Find the subtypes of each coarse label, and write what the gate is to imitate."""
        rows, seed = load_rows(self.run), self.arguments.seed
        train = np.flatnonzero(self.is_train)
        errors, weights = weigh({name: found[train] for name, found in rows.items()}, self.coarse[train], seed)
        for name in rows:
            error = f"neighbours of another coarse label {errors[name]:.3f}, " if name in errors else ""
            print(f"  {name}: {error}weight {weights.get(name, 0):.2f}", flush=True)
        space = joined(rows, weights)
        clusters = np.full(len(self.images), -1)
        table = []
        for label, name in enumerate(show(self.labels, len(self.labels), "cluster")):
            inside = train[self.coarse[train] == label]
            wanted = self.arguments.subtypes.get(name, self.arguments.subtypes.get("", None))
            found, candidates = clustering.cluster(space[inside], wanted, seed)
            clusters[inside] = clustering.largest_first(found)
            others = np.flatnonzero(~self.is_train & (self.coarse == label))
            clusters[others] = clustering.voted(space[inside], clusters[inside], space[others])
            print(f"  {clustering.describe(name, clusters[inside], candidates)}", flush=True)
            table += [
                {"coarse": name, "candidate": one.name, "agreement": one.agreement, "silhouette": one.silhouette,
                 "rank": one.rank, "chosen": int(one is candidates[0])}
                for one in candidates
            ]
        self._write_partition(train, clusters)
        with replacing_folder(self.run / CLUSTERS) as folder:
            np.save(folder / "clusters.npy", clusters)
            np.save(folder / "space.npy", space)
            write_table(folder / "candidates.csv", table)
            write_table(
                folder / "representations.csv",
                [{"name": name, "coarse_error": errors.get(name, ""), "weight": weights.get(name, 0.0)} for name in rows],
            )

    def _write_partition(self, train: Labels, clusters: Labels) -> None:
        rows = [(self.images[place].image, int(clusters[place])) for place in train]
        reading.write_rows(self.run / PARTITION, ("file", "cluster"), rows)

    def _weights(self) -> dict[str, float]:
        """Return the representations that count, by their name."""
        with (self.run / CLUSTERS / "representations.csv").open(newline="", encoding="utf-8") as file:
            return {row["name"]: float(row["weight"]) for row in csv.DictReader(file)}

    def train(self) -> None:
        """Train gate and experts to tell the subtypes apart."""
        if self.embedded:
            print("  embeddings without images train no gate, and there is nothing to serve", flush=True)
            return
        # Imported here, because they are slow to import.
        from training.runs.restarts import train_restarts
        from training.runs.run_folder import RunFolder

        weights = self._weights()
        encoders = [name for name in self.choice.encoders if weights.get(embedding.name_of(name), 0) > 0]
        counts = {
            name: int(self._clusters()[self.is_train & (self.coarse == label)].max()) + 1
            for label, name in enumerate(self.labels)
        }
        recipe = recipe_of(
            self.run, self.images, embedding.small_input(self.images).shape, counts, encoders, self.arguments.seed,
            self.arguments.epochs,
        )
        train_restarts(recipe, self.run, RunFolder(self.run).exists())

    def _clusters(self) -> Labels:
        found: Labels = np.load(self.run / CLUSTERS / "clusters.npy")
        return found

    def _assignment(self) -> subtypes.Assignment:
        """Return the subtype of each image: by the trained model, or by the clusters where there is none."""
        if self.embedded:
            return subtypes.of_clusters(self._clusters(), self.coarse, self.labels)
        from training.runs.run_folder import RunFolder

        folder = RunFolder.kept(self.run)
        tables = [folder.path / "images" / f"epoch_{folder.last_epoch():03}_{split}.csv" for split in ("train", "test")]
        train = subtypes.read_routing(tables[0])
        test = None if self.is_train.all() else subtypes.read_routing(tables[1])
        return subtypes.assigned([image.image for image in self.images], self.coarse, self.labels, train, test)

    def write(self) -> None:
        """Write the tables, the contact sheets and the report."""
        space, found = np.load(self.run / CLUSTERS / "space.npy"), self._assignment()
        groups = {
            label: merges.groups(space[self.coarse == number], found.subtype[self.coarse == number], found.names)
            for number, label in enumerate(self.labels)
        }
        tree = [merge for label, members in groups.items() for merge in merges.merge_tree(label, members)]
        near = {name: pair for members in groups.values() for name, pair in merges.nearest(members).items()}
        rows = self._rows(space, found)
        summaries = subtypes.summaries(found, near)
        subtypes.write_subtypes(self.run / subtypes.SUBTYPES, rows)
        reading.write_rows(self.run / SUMMARY, subtypes.Summary._fields, summaries)
        reading.write_rows(self.run / MERGES, merges.Merge._fields, [merge._replace(distance=round(merge.distance, 4)) for merge in tree])
        drawn = {} if self.embedded else self._draw(rows, summaries, found)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for image in self.images:
            counts[image.coarse][image.split] += 1
        title = self.arguments.images.resolve().name
        report = Report(
            title, counts, summaries, drawn, tree, rows, reading.load_problems(self.run), self._notes(), self._commands()
        )
        write_text(self.run / REPORT, page(report))

    def _rows(self, space: NDArray[np.float32], found: subtypes.Assignment) -> list[subtypes.Row]:
        """Return the table of all images."""
        wrong = suspects(space, self.coarse, self.is_train, self.arguments.seed)
        thumbnails = None if self.embedded else np.load(self.run / reading.THUMBNAILS)
        distance, nearest = duplicates.neighbours(space)
        twins = duplicates.near_duplicates(distance, nearest, thumbnails)
        typical = subtypes.typicality(space, found.subtype)
        far = subtypes.outliers(distance[:, -1])
        return [
            subtypes.Row(
                image.file,
                image.split,
                image.coarse,
                found.names[found.subtype[place]],
                found.names[found.subtype[place]],
                float(found.confidence[place]),
                float(typical[place]),
                int(far[place]),
                "" if wrong[place] < 0 else self.labels[wrong[place]],
                "" if twins[place] < 0 else self.images[twins[place]].file,
            )
            for place, image in enumerate(self.images)
        ]

    def _draw(
        self, rows: Sequence[subtypes.Row], summaries: Sequence[subtypes.Summary], found: subtypes.Assignment
    ) -> dict[str, bytes]:
        """Write the contact sheets, and return them as JPEG."""
        files = [self.run / reading.IMAGES / image.image for image in self.images]
        drawn = {}
        with replacing_folder(self.run / SHEETS) as folder:
            for number, line in enumerate(show(summaries, len(summaries), "sheets")):
                members = np.flatnonzero(found.subtype == number)
                if len(members):
                    title = f"{line.subtype}   {line.images:,} images, {line.sure:.0%} sure"
                    drawn_sheet = sheets.sheet(title, sheets.select(rows, members), files)
                    drawn_sheet.save(folder / sheets.file_name(line.subtype))
                    drawn[line.subtype] = sheets.jpeg(drawn_sheet)
        return drawn

    def _notes(self) -> list[str]:
        """Return how it was found, in sentences."""
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in self._weights().items())
        told = self.arguments.subtypes
        number = ", ".join(f"{label or 'each label'}: {count}" for label, count in told.items()) if told else AUTO
        sentences = [
            f"Images were compared by {weights}; a weight says how well the representation keeps the coarse labels apart, 0 leaves it out.",
            f"Number of subtypes: {number}.",
        ]
        if not told:
            sentences.append(
                "The number of subtypes cannot be estimated reliably, so there are rather too many: merges.csv says which are nearest."
            )
        return sentences

    def _commands(self) -> list[str]:
        """Return what to type next."""
        if self.embedded:
            return []
        bundle = f"models/{self.run.resolve().name}"
        return [f"clustnet export {self.run} --out {bundle}", f"CLUSTNET_BUNDLES={bundle} make serve"]

    def _tell(self) -> None:
        """Print what was found, where it is, and what to type next."""
        rows = subtypes.read_subtypes(self.run / subtypes.SUBTYPES)
        print()
        print(subtypes.table_text(subtypes.read_summaries(self.run / SUMMARY)))
        counts = {
            "suspects": sum(bool(row.suspect) for row in rows),
            "near duplicates": sum(bool(row.duplicate_of) for row in rows),
            "outliers": sum(row.outlier for row in rows),
        }
        print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
        if not self.arguments.subtypes:
            print("The number of subtypes is a proposal, rather too large than too small; merges.csv says which are nearest.")
        print(f"look:  {self.run / REPORT}")
        for word, command in zip(("next:", "then:"), self._commands(), strict=False):
            print(f"{word}  {command}")

"""The steps of ``clustnet discover``; each leaves finished work, so that a second call continues with the next.

=======  ==========================================================================================
read     files.csv, problems.csv, images/ (see ``reading``)
embed    embeddings/, small/, rows/ (see ``embedding``)
cluster  partition.csv, and clusters/ with the clusters, the candidates and the representations
train    the run itself: recipe.yaml, checkpoints/, scores.csv (see ``training.runs``)
write    subtypes.csv, summary.csv, merges.csv, sheets/, report.html (see ``writing``)
=======  ==========================================================================================
"""

import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clustnet.errors import UserError
from clustnet.files import replacing_folder, write_table, write_text
from training.discover import clustering, embedding, reading, subtypes
from training.discover.arguments import Arguments, check_subtypes
from training.discover.arrays import holds_embeddings, load_embedded, read_embedded
from training.discover.collection import CLUSTERS, Collection
from training.discover.embedding import Choice, chosen, load_rows, principal
from training.discover.engines import Engine, on_threads
from training.discover.glance import stamp
from training.discover.progress import show, time_text
from training.discover.recipes import PARTITION, VIEWS, recipe_of
from training.discover.sources import entries
from training.discover.weighting import joined, weigh
from training.discover.writing import REPORT, SUMMARY, has_images, write

TOO_MANY = (
    "The number of subtypes cannot be estimated reliably, so rather too many are made; merges.csv says which are "
    "nearest."
)
# The name of a step, the function that does it, and the path that exists once it is done.
Step = tuple[str, Callable[[], None], Path]
LISTING, EMBEDDED, REPRESENTATIONS = ".listing", "embedding", "representations.csv"


class Discovery:
    """One run of ``clustnet discover``.

    Args:
        arguments: everything that determines the run.
        run: its folder.
        cache: a folder of embeddings that several runs share; by default the run keeps its own.
        engine: reads and embeds images.
    """

    def __init__(self, arguments: Arguments, run: Path, cache: Path | None = None, engine: Engine = on_threads) -> None:
        self.arguments, self.run, self.cache, self.engine = arguments, run, cache, engine

    @property
    def steps(self) -> list[Step]:
        """The name of each step, the function that does it, and the path that exists once it is done."""
        return [
            ("read", self.read, self.run / reading.FILES),
            ("embed", self.embed, self.run / embedding.ROWS),
            ("cluster", self.cluster, self.run / CLUSTERS),
            # Called until the report exists; training itself finds out that a run is trained already.
            ("train", self.train, self.run / REPORT),
            ("write", self.write, self.run / REPORT),
        ]

    @property
    def found(self) -> Collection:
        """The images that are used."""
        return Collection.of(self.run)

    def go(self) -> None:
        """Do the remaining steps, and print what was found.

        Raises:
            UserError: the images cannot be used, or the run was started with other images or arguments.
            KeyboardInterrupt: stopped by the user; its message says what is safe.
        """
        self.arguments.keep(self.run)
        self._share_cache()
        for number, (name, work, result) in enumerate(self.steps, 1):
            done = result.exists()
            print(f"[{number}/{len(self.steps)}] {name}{': done before' if done else ''}", flush=True)
            if not done:
                began = time.monotonic()
                self._do(name, work)
                print(f"  {time_text(time.monotonic() - began)}", flush=True)
            if name == "read":
                self._check()
        self._tell()

    def _share_cache(self) -> None:
        """Link the run's embeddings to the shared cache, if there is one."""
        own = self.run / embedding.EMBEDDINGS
        if self.cache is None or own.exists():
            return
        self.cache.mkdir(parents=True, exist_ok=True)
        own.symlink_to(self.cache.resolve())

    def _do(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"What was done before the step '{name}' is safe in {self.run}; the same command continues."
            ) from None

    def _check(self) -> None:
        """Raise an error if IMAGES has changed since it was read, or if ``subtypes`` names an unknown coarse label."""
        if (self.run / LISTING).read_text(encoding="utf-8") != self._listing():
            raise UserError(f"{self.arguments.images} has changed since {self.run} was started; choose another --out.")
        check_subtypes(self.arguments.subtypes, self.found.labels)

    def _listing(self) -> str:
        """Return a fingerprint of IMAGES; for a table, of its file alone."""
        path = self.arguments.images
        if path.is_dir():
            return reading.listing(entries(path, self.arguments.columns))
        return repr(stamp(path))

    def read(self) -> None:
        """Look at every image, and list which ones are used and which are not."""
        write_text(self.run / LISTING, self._listing())
        if holds_embeddings(self.arguments):
            problems = read_embedded(load_embedded(self.arguments), self.run, self.arguments.images)
        else:
            problems = reading.read(entries(self.arguments.images, self.arguments.columns), self.run, self.engine)
        for line in reading.describe(reading.load_files(self.run), problems):
            print(f"  {line}", flush=True)

    def _choice(self, found: Collection) -> Choice:
        return chosen(self.arguments.encoder, found.images, len(found.labels))

    def embed(self) -> None:
        """Compute the representations by which images are compared."""
        found, seed = self.found, self.arguments.seed
        if has_images(self.run):
            choice = self._choice(found)
            views = VIEWS if choice.encoders else 0
            embedding.embed(found.images, choice, self.run, seed, views, self.engine)
            return
        embedded = load_embedded(self.arguments)
        rows = embedded.unit_rows(embedded.places([image.file for image in found.images]))
        components = principal(lambda places: rows[places], found.train, seed)
        with replacing_folder(self.run / embedding.ROWS) as folder:
            np.save(folder / f"{EMBEDDED}.npy", components)

    def cluster(self) -> None:
        """Find the subtypes of each coarse label, and write what the gate is to imitate."""
        found, rows, seed = self.found, load_rows(self.run), self.arguments.seed
        train = np.flatnonzero(found.train)
        errors, weights = weigh({name: some[train] for name, some in rows.items()}, found.coarse[train], seed)
        for name in rows:
            error = f"neighbours of another coarse label {errors[name]:.3f}, " if name in errors else ""
            print(f"  {name}: {error}weight {weights.get(name, 0):.2f}", flush=True)
        space = joined(rows, weights)
        clusters, candidates = self._clusters(found, space)
        partition = [(found.images[place].image, int(clusters[place])) for place in train]
        reading.write_rows(self.run / PARTITION, ("file", "cluster"), partition)
        with replacing_folder(self.run / CLUSTERS) as folder:
            np.save(folder / "clusters.npy", clusters)
            np.save(folder / "space.npy", space)
            write_table(folder / "candidates.csv", candidates)
            table = [(name, errors.get(name, ""), weights.get(name, 0.0)) for name in rows]
            reading.write_rows(folder / REPRESENTATIONS, ("name", "coarse_error", "weight"), table)

    def _clusters(
        self, found: Collection, space: embedding.Floats
    ) -> tuple[clustering.Labels, list[dict[str, object]]]:
        """Return the cluster of each image within its coarse label, and the candidates as rows of a table."""
        clusters, table = np.full(len(found.images), -1), []
        given = self.arguments.subtypes
        sizes = [len(found.inside(label)) for label in range(len(found.labels))]
        for label, name in enumerate(show(found.labels, sizes, "cluster")):
            train, others = found.inside(label, True), found.inside(label, False)
            made, candidates = clustering.cluster(space[train], given.get(name, given.get("")), self.arguments.seed)
            clusters[train] = clustering.largest_first(made)
            clusters[others] = clustering.voted(space[train], clusters[train], space[others])
            print(f"  {clustering.describe(name, clusters[train], candidates)}", flush=True)
            table += [{"coarse": name} | one.row() for one in candidates]
        return clusters, table

    def _weights(self) -> dict[str, float]:
        """Return the weight of each representation."""
        with (self.run / CLUSTERS / REPRESENTATIONS).open(newline="", encoding="utf-8") as file:
            return {row["name"]: float(row["weight"]) for row in csv.DictReader(file)}

    def train(self) -> None:
        """Train the gate and the experts to tell the subtypes apart."""
        if not has_images(self.run):
            print("  embeddings without images cannot train a gate, so there is nothing to serve", flush=True)
            return
        # Imported here, because they are slow to import.
        from training.runs.restarts import train_restarts
        from training.runs.run_folder import RunFolder

        found, weights = self.found, self._weights()
        encoders = [name for name in self._choice(found).encoders if weights[embedding.name_of(name)] > 0]
        counts = {name: int(found.clusters[found.inside(label)].max()) + 1 for label, name in enumerate(found.labels)}
        shape = embedding.small_input(found.images).shape
        recipe = recipe_of(found, shape, counts, encoders, self.arguments.seed, self.arguments.epochs)
        train_restarts(recipe, self.run, RunFolder(self.run).exists())

    def _assignment(self, found: Collection) -> subtypes.Assignment:
        """Return the subtype of each image: from the trained model, or from the clusters if there is none."""
        if not has_images(self.run):
            return subtypes.of_clusters(found.clusters, found.coarse, found.labels)
        # Imported here, because it is slow to import.
        from training.runs.run_folder import RunFolder

        folder = RunFolder.kept(self.run)
        tables = [folder.path / "images" / f"epoch_{folder.last_epoch():03}_{split}.csv" for split in ("train", "test")]
        train = subtypes.read_routing(tables[0])
        test = None if found.train.all() else subtypes.read_routing(tables[1])
        return subtypes.assigned([image.image for image in found.images], found.coarse, found.labels, train, test)

    def write(self) -> None:
        """Write the tables, the contact sheets and the report."""
        found, title = self.found, self.arguments.images.resolve().name
        write(found, self._assignment(found), title, self._notes(), self._commands(), self.arguments.seed)

    def _notes(self) -> list[str]:
        """Return sentences that say how the subtypes were found."""
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in self._weights().items())
        counts = ", ".join(f"{label or 'each label'}: {count}" for label, count in self.arguments.subtypes.items())
        given = f"Number of subtypes: {counts}."
        if self.arguments.resume is not None:
            given = f"The subtypes come from the review of {self.arguments.resume}."
        return [
            f"Images were compared by {weights}; a weight says how well it keeps the coarse labels apart, and 0 leaves "
            "it out.",
            TOO_MANY if self._guessed else given,
        ]

    @property
    def _guessed(self) -> bool:
        """Whether the number of subtypes was guessed, because none was given."""
        return not self.arguments.subtypes and self.arguments.resume is None

    def _commands(self) -> list[str]:
        """Return what to type next."""
        if not has_images(self.run):
            return [f"clustnet review {self.run}"]
        bundle = f"models/{self.run.resolve().name}"
        return [
            f"clustnet review {self.run}",
            f"clustnet export {self.run} --out {bundle}",
            f"CLUSTNET_BUNDLES={bundle} make serve",
        ]

    def _tell(self) -> None:
        """Print what was found, where it is, and what to type next."""
        rows = subtypes.read_subtypes(self.run / subtypes.SUBTYPES)
        print(f"\n{subtypes.table_text(subtypes.read_summaries(self.run / SUMMARY))}")
        counts = {
            "suspects": sum(bool(row.suspect) for row in rows),
            "near duplicates": sum(bool(row.duplicate_of) for row in rows),
            "outliers": sum(row.outlier for row in rows),
        }
        print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
        if self._guessed:
            print(TOO_MANY)
        print(f"look:  {self.run / REPORT}")
        for word, command in zip(("next", "then", "then"), self._commands(), strict=False):
            print(f"{word}:  {command}")

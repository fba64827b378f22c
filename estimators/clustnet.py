"""A scikit-learn estimator that covers the whole way from arrays to a bundle.

ClustNet().fit(images, labels).save("models/mine")
"""

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from clustnet.bundles.bundle import first_fault
from clustnet.bundles.predictor import Predictions
from clustnet.corrections.actions import Change, Merge, Rename
from clustnet.errors import UserError
from estimators.answering import Answering, Served, guessed
from estimators.arrays import checked_images, holds_images
from estimators.base import TakesImages, seed_of
from estimators.discovered import EmbeddedRun, ImageRun, correct, quietly, session_of
from estimators.pictures import draw
from estimators.scratch import Scratch
from review.run import open_run
from review.splitting import split
from training.discover.arguments import check_encoders

Floats = NDArray[np.float32]


class ClustNet(TakesImages, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Finds the subtypes inside each coarse label, and distinguishes them in new images.

    It works like ``clustnet discover``: images are embedded and clustered within their coarse labels, and a gate with
    weak experts is trained on the clusters. ``predict`` returns subtypes, ``LABEL/1``, ``LABEL/2``, ... or the names
    that ``name`` gave them; ``predict_coarse`` returns coarse labels as they were passed to ``fit``.

    Args:
        subtypes: number of subtypes of each coarse label: one number for all, ``{label: number}``, or ``auto`` for
            rather too many, to be merged.
        encoder: the encoder by which images are compared: ``auto``, ``none`` for pixels alone, or names as in
            ``clustnet.encoders.open_encoder``, separated by commas.
        epochs: passes over the images in training; None for as many as needed.
        random_state: seeds everything random; equal seeds give equal results.
        run: a folder, empty or not yet existing, to keep the run for ``clustnet review``; None for a temporary one.
        verbose: whether to print progress.

    Attributes:
        classes_: str [C], the subtypes: the values of ``predict`` and the columns of ``predict_proba``.
        coarse_labels_: [K], the distinct coarse labels; a loaded estimator has them as strings.
        model_: the model that answers.
        run_: the folder of the run; None for a loaded estimator.
        n_features_in_: the number of values in a row or an image.
    """

    def __init__(
        self,
        subtypes: int | Literal["auto"] | Mapping[Any, int] = "auto",
        *,
        encoder: str = "auto",
        epochs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        run: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.subtypes = subtypes
        self.encoder = encoder
        self.epochs = epochs
        self.random_state = random_state
        self.run = run
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> "ClustNet":  # noqa: N803 - scikit-learn's names
        """Find the subtypes.

        Args:
            X: images uint8 [N, H, W] or [N, H, W, 3], or embeddings [N, D].
            y: the coarse label of each, numbers or strings [N]; at least two distinct ones.

        Raises:
            ValueError: the arrays have another form, there is a single coarse label, or there are too few images; a
                ``UserError`` if a parameter is wrong or ``run`` is not an empty folder.
        """
        images = holds_images(X)
        rows: NDArray[Any]
        if images:
            rows, y = checked_images(X), column_or_1d(y, warn=True)
            check_consistent_length(rows, y)
            self.n_features_in_ = int(np.prod(rows.shape[1:]))
        else:
            rows, y = validate_data(self, X, y, dtype=(np.float32, np.float64))
        check_classification_targets(y)
        labels = _named(np.asarray(y))
        texts = [str(label) for label in np.asarray(y).tolist()]
        arguments, run = self._arguments(), self._folder()
        kind: type[ImageRun | EmbeddedRun] = ImageRun if images else EmbeddedRun
        check_encoders(arguments["encoder"])
        with quietly(self.verbose), one_sentence(), taken_back(run):
            self._run: ImageRun | EmbeddedRun | None = kind.of(rows, texts, arguments, run)
            self._take(labels)
            _check_kept(self.model_.coarse_labels, labels)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.str_]:  # noqa: N803
        """Return the subtype of each image, str [N]; it never contradicts ``predict_coarse``."""
        found = self._answers(X)
        return self.classes_[guessed(found, self.model_)]

    def predict_coarse(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the coarse label of each image, [N], as it was passed to ``fit``."""
        found = self._answers(X)
        labels: NDArray[Any] = self.coarse_labels_[found.coarse_probability.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Return the probability of each subtype, float32 [N, C], in the order of ``classes_``."""
        return self._answers(X).class_probability

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Return the routing distribution over the experts, float32 [N, E]."""
        return self._answers(X).routing

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:  # noqa: N803
        """Return the share of images whose coarse label is right; the true subtypes are not known."""
        return float(accuracy_score(y, self.predict_coarse(X), sample_weight=sample_weight))

    def name(self, subtype: str, name: str) -> "ClustNet":
        """Name a subtype, which is given by its id or its current name; an empty name removes it.

        Raises:
            UserError: there is no such subtype, or the name belongs to another one.
        """
        return self._corrected(lambda found: Rename(subtype=found(subtype), name=name))

    def merge(self, *subtypes: str) -> "ClustNet":
        """Merge subtypes of one coarse label into the first.

        Raises:
            UserError: there are fewer than two such subtypes, or they have different coarse labels.
        """
        if len(subtypes) < 2:
            raise UserError("merge needs two subtypes or more, as in merge('ok/1', 'ok/3').")
        return self._corrected(lambda found: Merge(subtypes=tuple(map(found, subtypes))))

    def split(self, subtype: str, parts: int = 2) -> "ClustNet":
        """Split a subtype by clustering its images again, and train again, so that the model knows the parts.

        For images, the new run is beside the earlier one, in a folder whose name ends in ``-2``, ``-3``, ...

        Raises:
            UserError: there is no such subtype, or it has too few images.
        """
        run = self._fitted_run()
        with quietly(self.verbose):
            self._corrected(
                lambda found: split(session_of(run).review, open_run(run.path).space, found(subtype), parts)
            )
            beside = _beside(run.path)
            with taken_back(beside):
                self._run = run.learned(beside)
            self._take(self._labels)
        return self

    def plot(self) -> Figure:
        """Return a figure of the subtypes: typical images of each, or a map of embeddings coloured by subtype.

        Raises:
            UserError: the estimator was loaded from a bundle, or its run is gone.
        """
        run = self._fitted_run()
        return draw(open_run(run.path), session_of(run).review)

    def save(self, bundle: str | Path, *, name: str | None = None, version: str = "1", examples: bool = True) -> Path:
        """Write a bundle, which ``make serve`` serves, and return its folder.

        Args:
            bundle: the bundle's folder; an earlier bundle there is replaced.
            name: name of the model; by default that of the folder.
            version: version of the model.
            examples: whether the bundle includes some training images of each subtype.

        Raises:
            UserError: the estimator was fitted on embeddings, the run is gone, or the folder is not a bundle.
        """
        run = self._fitted_run()
        with quietly(self.verbose):
            run.save(Path(bundle), name=name, version=version, examples=examples)
        return Path(bundle)

    @classmethod
    def load(cls, bundle: str | Path) -> "ClustNet":
        """Return an estimator that predicts with a bundle of any method, through onnxruntime.

        Raises:
            UserError: the folder is not an intact bundle.
        """
        made = cls()
        made._run = None
        made.model_ = Served(Path(bundle).absolute())
        made._settle({label: label for label in made.model_.coarse_labels})
        return made

    @property
    def classes_(self) -> NDArray[np.str_]:
        """The subtypes: the values of ``predict`` and the columns of ``predict_proba``, str [C]."""
        return np.array(self.model_.names)

    @property
    def run_(self) -> Path | None:
        """The folder of the run; None for a loaded estimator."""
        return None if self._run is None else self._run.path

    def _arguments(self) -> dict[str, Any]:
        """Return the parameters as arguments of ``training.discover.arguments.Arguments``.

        Raises:
            UserError: a parameter is wrong.
        """
        given = self.subtypes
        if isinstance(given, Mapping):
            given = {str(label): count for label, count in given.items()}
        elif given != "auto":
            given = {"": given}
        return {
            "subtypes": {} if given == "auto" else given,
            "encoder": tuple(word.strip() for word in self.encoder.split(",")),
            "seed": seed_of(self.random_state),
            "epochs": self.epochs,
        }

    def _folder(self) -> Path:
        """Return the folder of a new run.

        Raises:
            UserError: the folder is not empty.
        """
        if self.run is None:
            self._scratch = Scratch()
            return self._scratch.path / "run"
        run = Path(self.run).absolute()
        if run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise UserError(f"The run {run} already exists; name an empty folder with ClustNet(run=FOLDER).")
        return run

    def _take(self, labels: Mapping[str, Any]) -> None:
        """Answer with the network of the run from now on."""
        run = self._fitted_run()
        self.model_: Answering = run.network()
        self._settle(labels)

    def _settle(self, labels: Mapping[str, Any]) -> None:
        self._labels, self._n_features_out = dict(labels), self.model_.experts
        self.coarse_labels_ = np.array([labels[name] for name in self.model_.coarse_labels])

    def _answers(self, X: ArrayLike) -> Predictions:  # noqa: N803
        """Return the model's answers.

        Raises:
            UserError: images were given to an estimator fitted on embeddings, or the reverse.
        """
        check_is_fitted(self)
        images, wanted = holds_images(X), self.model_.features is None
        if images != wanted:
            numbers = self.model_.features or np.shape(X)[-1]
            kinds = "images", f"rows of {numbers} numbers"
            given, fitted = kinds if images else kinds[::-1]
            raise UserError(f"X has {given}, but this ClustNet was fitted on {fitted}; pass data of the same kind.")
        if images:
            return self.model_(checked_images(X))
        return self.model_(validate_data(self, X, dtype=(np.float32, np.float64), reset=False))

    def _fitted_run(self) -> ImageRun | EmbeddedRun:
        check_is_fitted(self, "_run")
        if self._run is None:
            raise UserError(
                "This ClustNet was loaded from a bundle, which has no run to view or correct; fit a new one."
            )
        return self._run

    def _corrected(self, action: Callable[[Callable[[str], str]], Change]) -> "ClustNet":
        """Do an action, and answer with the corrected subtypes.

        Args:
            action: makes the action; it is passed a function from the id or name of a subtype to its id.
        """
        run = self._fitted_run()
        subtypes = session_of(run).review.subtypes

        def found(word: str) -> str:
            return word if word in subtypes else next((one.id for one in subtypes.values() if one.name == word), word)

        with one_sentence():
            correct(run, action(found))
        with quietly(self.verbose):
            self._take(self._labels)
        return self


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn a validation error of pydantic into a ``UserError`` about its first fault."""
    try:
        yield
    except ValidationError as error:
        raise UserError(f"ClustNet: {first_fault(error)}.") from None


@contextmanager
def taken_back(run: Path) -> Iterator[None]:
    """Remove the folder of a run if the block does not finish."""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, run, ignore_errors=True)
        yield
        stack.pop_all()


def _named(y: NDArray[Any]) -> dict[str, Any]:
    """Return the distinct coarse labels, keyed by their names.

    Raises:
        UserError: there is only one, or two have the same name.
    """
    distinct = np.unique(y)
    if len(distinct) < 2:
        raise UserError(
            f"y has one class, {distinct[0]!s}, but ClustNet needs coarse labels of two classes or more; without any, "
            "DeepClustering finds clusters."
        )
    names = {str(label): label for label in distinct.tolist()}
    if len(names) < len(distinct):
        raise UserError("Two coarse labels of y look the same as text, as 1 and '1' do; give them different names.")
    return names


def _check_kept(found: Sequence[str], given: Iterable[str]) -> None:
    """Check that at least one image of every coarse label could be used.

    Raises:
        UserError: a label has no such image; the message names it.
    """
    lost = [name for name in given if name not in found]
    if lost:
        raise UserError(
            f"No image of the coarse label {lost[0]!r} can be used, because all are blank or identical to images of "
            "another label; correct y."
        )


def _beside(run: Path) -> Path:
    """Return a folder beside a run that does not exist yet: ``RUN-2``, or the next free number."""
    stem, _, last = run.name.rpartition("-")
    base = stem if stem and last.isdigit() else run.name
    return next(path for number in itertools.count(2) if not (path := run.with_name(f"{base}-{number}")).exists())

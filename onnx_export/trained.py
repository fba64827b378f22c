"""A trained model with what it was trained on, ready to be fitted and written."""

from dataclasses import dataclass
from pathlib import Path

from clustnet.datasets import LabelledImages
from onnx_export.fitting import Fitted, fit
from onnx_export.inputs import Inputs, load_inputs
from onnx_export.reviewed import Reviewed, load_reviewed
from training.models.mixture import GatedExperts
from training.recipe.recipe import BaseRecipe
from training.runs.keeping import chosen_epoch
from training.runs.run_folder import RunFolder


@dataclass(frozen=True)
class Trained:
    """A trained model with its data.

    Args:
        recipe: the recipe of the run.
        model: the model, in evaluation mode on the CPU.
        inputs: the data as the model reads them.
        reviewed: what a person said of the training images, if anything.
    """

    recipe: BaseRecipe
    model: GatedExperts
    inputs: Inputs
    reviewed: Reviewed | None = None

    @classmethod
    def of(cls, run: Path, epoch: str = "last") -> "Trained":
        """Return an epoch of a run, or of the restart that was kept.

        Args:
            run: the run's folder.
            epoch: ``last``, ``best`` by the label-free score, or a number.

        Raises:
            UserError: ``run`` is not a run with a finished epoch, it has no checkpoint of ``epoch``, or its data are
                missing.
        """
        folder = RunFolder.kept(run)
        recipe, model = folder.recipe(), folder.load_network(chosen_epoch(folder, epoch))
        inputs = load_inputs(recipe, folder)
        return cls(recipe, model, inputs, load_reviewed(run, inputs.train, inputs.test))

    @property
    def named(self) -> LabelledImages | None:
        """The images that may serve as reference images, if there are any."""
        # A person has named the subtypes, which may differ from the classes of the reference images.
        return None if self.reviewed is not None else self.inputs.named

    def fitted(self) -> Fitted:
        """Return what is fitted on the model, such as its class map.

        Raises:
            UserError: a class has fewer training images than the recipe requests, or the review leaves a coarse label
                without a subtype that the model knows.
        """
        recipe = self.recipe
        return fit(self.model, recipe.hard, recipe.reference, self.inputs.train, self.named, self.reviewed)

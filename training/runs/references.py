"""Class accuracy during training: the class map that an export would fit, on the same reference images."""

import numpy as np

from clustnet.bundles.class_map import cell_overlap, draw_reference, fit_class_map
from clustnet.datasets import LabelledImages
from clustnet.datasets.folder import Reader
from clustnet.datasets.folder_layout import REFERENCE
from clustnet.scores.reference_budget import ExpertAnswers
from training.data.data import load_reference
from training.models.inference import Routed, route
from training.models.mixture import GatedExperts
from training.recipe.recipe import BaseRecipe


def references(recipe: BaseRecipe, train: LabelledImages, reader: Reader | None = None) -> LabelledImages | None:
    """Return the images that fit the class map; None if there are none or too few of a class.

    Args:
        recipe: what to train.
        train: the training split.
        reader: reader of a folder, as for ``training.data.data.load_split``.

    Raises:
        UserError: images of ``reference/`` cannot be read.
    """
    named = load_reference(recipe.data, train, reader)
    if named is None or named.split == REFERENCE:
        return named
    wanted = recipe.reference
    counts = np.bincount(named.fine, minlength=len(named.classes))
    if counts.min() < wanted.per_class:
        return None
    return named.take(draw_reference(named.fine, wanted.per_class, wanted.seed))


def class_accuracy(
    model: GatedExperts, hard: bool, named: LabelledImages, train: Routed, routed: Routed, split: LabelledImages
) -> float:
    """Return the share of a split's images whose class is guessed right.

    Args:
        model: the model in training.
        hard: whether one expert alone decides on an image.
        named: the reference images, with at least one of each class.
        train: what the model answers for the training images.
        routed: what the model answers for the split's images.
        split: images of known classes, none of them a reference image.
    """
    membership = np.zeros((len(named.coarse_labels), len(named.classes)), bool)
    membership[named.coarse, named.fine] = True
    answers = route(model, named.images, hard)
    overlap = cell_overlap(train.weights, train.expert_probability)
    class_map = fit_class_map(answers.weights, answers.expert_probability, named.fine, len(named.classes), overlap)
    guess = ExpertAnswers(routed.weights, routed.expert_probability).guesses(class_map, membership)
    return float((guess == split.fine).mean())

import pytest

from benchmarks.discovery import SETS, keys_of
from clustnet.errors import UserError
from training.recipe.reading import read_recipe


@pytest.mark.parametrize("name", SETS)
def test_recipes_differ_in_the_data_alone(name: str) -> None:
    found, mnist = (read_recipe(config, dict(keys)) for config, keys in (keys_of(name, "", 3), keys_of("mnist", "", 3)))
    assert found.seed == 3
    assert found.model_copy(update={"data": mnist.data}) == mnist


@pytest.mark.parametrize(("variant", "key", "value"), [("shares", "shares", "partition")])
def test_variants_differ_in_the_loss_alone(variant: str, key: str, value: object) -> None:
    found, recipe = (
        read_recipe(config, dict(keys)) for config, keys in (keys_of("mnist", "", 0, variant), keys_of("mnist", "", 0))
    )
    assert getattr(found.loss, key) == value
    assert found.model_copy(update={"loss": recipe.loss}) == recipe


def test_path_is_laid_over_the_recipe() -> None:
    config, keys = keys_of("coil20", "coil20.npz", 0)
    assert read_recipe(config, dict(keys)).data.path is not None


def test_unknown_set_is_named() -> None:
    with pytest.raises(UserError, match="There is no set 'mnist_2'; choose of mnist, mnist_12000"):
        keys_of("mnist_2", "", 0)

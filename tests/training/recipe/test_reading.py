import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clustnet.errors import UserError
from tests.image_folder import write_coarse_folder, write_folder
from training.recipe.reading import parse_overrides, read_recipe, set_keys, validated
from training.recipe.recipe import BaseRecipe

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs").glob("*.yaml"))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@st.composite
def coarse_labels(draw: st.DrawFn) -> dict[str, list[int]]:
    """Draw two to four labels that group the ten classes."""
    classes, count = draw(st.permutations(range(10))), draw(st.integers(2, 4))
    names = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=count, max_size=count, unique=True)
    return {name: classes[number::count] for number, name in enumerate(draw(names))}


counts = st.integers(1, 500)
weights = st.floats(allow_nan=False, allow_infinity=False)
rates = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
recipes = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"coarse": coarse_labels()},
            optional={
                "name": st.sampled_from(["mnist", "cifar10"]),
                "path": st.none() | st.sampled_from(["data", "/a folder/ü.npz", "null", "1e-3"]),
                "train_images": st.none() | counts,
            },
        )
    },
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "routing": st.sampled_from(["soft", "hard"]),
        "model": st.fixed_dictionaries(
            {},
            optional={
                "experts": st.integers(1, 1000),
                "expert": st.sampled_from(["linear", "small_cnn", "large_cnn", "shared"]),
                "channels": st.tuples(counts, counts),
            },
        ),
        "loss": st.fixed_dictionaries({}, optional={"routing_entropy": weights, "routing_diversity": weights}),
        "optimisation": st.fixed_dictionaries(
            {"optimizer": st.just("sgd")},
            optional={"learning_rate": rates, "momentum": st.floats(0, 1, exclude_max=True)},
        ),
    },
).map(lambda content: validated(content, "drawn"))


@given(recipes)
def test_recipe_survives_yaml(recipe: BaseRecipe) -> None:
    back = validated(yaml.safe_load(recipe.to_yaml()), "written")
    assert back == recipe
    assert back.digest() == recipe.digest()
    assert back.data.known_labels() == recipe.data.known_labels()


@given(recipes, recipes)
def test_equal_digests_mean_equal_recipes(one: BaseRecipe, other: BaseRecipe) -> None:
    assert (one.digest() == other.digest()) == (one.to_yaml() == other.to_yaml())


def test_digest_keeps_the_order_of_labels() -> None:
    groups = {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]}
    swapped = dict(reversed(groups.items()))
    one, other = (validated({"data": {"coarse": coarse}}, "recipe") for coarse in (groups, swapped))
    assert one.digest() != other.digest()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_recipe_is_valid_and_survives_yaml(path: Path) -> None:
    recipe = read_recipe(path)
    assert validated(yaml.safe_load(recipe.to_yaml()), "resolved") == recipe


def test_there_are_recipes_to_check() -> None:
    assert CONFIGS


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"sed": 1}, "clustnet has no key 'sed'; did you mean 'seed'?"),
        ({"epochs": 3}, "clustnet has no key 'epochs'; did you mean 'optimisation.epochs'?"),
        ({"learning_rat": 1}, "no key 'learning_rat'; did you mean 'optimisation.learning_rate'?"),
        ({"optimization": {"epochs": 3}}, "no key 'optimization'; did you mean 'optimisation'?"),
        ({"modl.expert": 3}, "no key 'modl.expert'; did you mean 'model.expert'?"),
        ({"zzz": 1}, "clustnet has no key 'zzz'; a recipe has method, seed, restarts, data, augmentation, reference, "),
        ({"optimisation": {"epoch": 3}}, "no key 'optimisation.epoch'; did you mean 'optimisation.epochs'?"),
        ({"optimisation": {"experts": 3}}, "no key 'optimisation.experts'; did you mean 'model.experts'?"),
        ({"loss": {"zzz": 1}}, "no key 'loss.zzz'; loss has routing_entropy, routing_diversity, mutual_information."),
        ({"clustering": {"start": "graph"}}, "clustnet has no key 'clustering'; a recipe has "),
        (
            {"method": "clusternet"},
            "method is 'clusternet', but must be 'clustnet' or 'deep_clustering'; did you mean 'clustnet'?",
        ),
        (
            {"model": {"expert": "small"}},
            "model.expert is 'small', but must be 'linear', 'small_cnn', 'large_cnn' or 'shared'; "
            "did you mean 'small_cnn'?",
        ),
        ({"routing": "zzz"}, "routing is 'zzz', but must be 'soft' or 'hard'."),
        ({"data": {"name": "minst"}}, "did you mean 'mnist'?"),
        ({"data": {"colour": "grey"}}, "data.colour is 'grey', but must be 'auto', true or false"),
        ({"seed": -1}, "seed is -1, but should be greater than or equal to 0."),
        ({"seed": 2**31}, f"seed is {2**31}, but should be less than {2**31}."),
        ({"seed": "one"}, "seed is 'one', but must be a whole number."),
        ({"model": {"experts": 0}}, "model.experts is 0, but should be greater than or equal to 1."),
        ({"model": {"channels": [4]}}, "model.channels.1 is missing."),
        ({"model": {"channels": [4, 0]}}, "model.channels.1 is 0, but should be greater than or equal to 1."),
        ({"model": {"experts": "auto"}}, "model.experts is 'auto', but must be a whole number."),
        ({"data": {"size": 160}}, "data.size is 160, but must be a list, as in [8, 16]."),
        ({"data": {"coarse": "0-4"}}, "data.coarse: it is '0-4', but must be given, null or a mapping, as in {low: "),
        ({"data": {"coarse": {"a": 3}}}, "data.coarse: 'a' is 3, but must be a list of classes, by name or number."),
        ({"data": {"coarse": {3: [1]}}}, "data.coarse: the label 3 is no text; put it in quotes."),
        ({"model": 3}, "model is 3, but must be a group of keys."),
        ({"optimisation": {"learning_rate": 0}}, "optimisation.learning_rate is 0, but should be greater than 0."),
        ({"optimisation": {"learning_rate": math.inf}}, "learning_rate is inf, but should be a finite number."),
        ({"loss": {"routing_entropy": math.nan}}, "loss.routing_entropy is nan, but should be a finite number."),
        ({"optimisation": {"momentum": 1}}, "optimisation.momentum is 1, but should be less than 1."),
        ({"data": {"coarse": {}}}, "data.coarse names no label"),
        ({"data": {"coarse": {"a": list(range(10)), "b": []}}}, "data.coarse gives the label 'b' no classes"),
        ({"data": {"coarse": {"a": [0, 1], "b": [2]}}}, "data.coarse lists the class '3' under no label"),
        ({"data": {"coarse": {"a": ["zero"]}}}, "data.coarse names the class 'zero', but the classes are 0, 1, 2"),
        ({"data": {"name": "cifar10"}}, "data.coarse is given, but cifar10 comes without coarse labels; group its "),
    ],
)
def test_fault_is_one_sentence_with_its_key(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        validated(content, "a.yaml")
    assert str(caught.value).startswith("a.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "key", "choice"),
    [
        ({"data": {"size": [8, 8]}}, "data.size", "the data set mnist"),
        ({"data": {"colour": True}}, "data.colour", "the data set mnist"),
        ({"data": {"preparation": "resize"}}, "data.preparation", "the data set mnist"),
        ({"data": {"aspect": "pad"}}, "data.aspect", "the data set mnist"),
        (
            {"data": {"name": "folder", "preparation": "resize", "aspect": "pad"}},
            "data.aspect",
            "data.preparation resize",
        ),
    ],
)
def test_unused_key_is_refused(content: dict[str, Any], key: str, choice: str) -> None:
    with pytest.raises(UserError, match=rf"{re.escape(key)} is set, but has no use with {choice}; leave it out\.$"):
        validated(content, "a.yaml")


def test_reference_keys_are_for_drawn_references(tmp_path: Path) -> None:
    plain, named = write_coarse_folder(tmp_path / "plain"), write_folder(tmp_path / "named", 2, 2, 2)
    content: dict[str, Any] = {"data": {"name": "folder", "path": str(plain)}, "reference": {"per_class": 3}}
    content["loss"] = {"mutual_information": 1.0}
    assert validated(content, "a").reference.per_class == 3
    content["data"]["path"] = str(named)
    sentence = "reference.per_class is set, but has no use with a folder that has reference/"
    with pytest.raises(UserError, match=re.escape(sentence)):
        validated(content, "a")


def test_set_keys_are_those_off_their_defaults() -> None:
    assert list(set_keys(validated({"seed": 1, "data": {"train_images": 3}, "restarts": 1}, "a"))) == [
        "seed",
        "data.train_images",
    ]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The recipe .*absent.yaml cannot be read .*name a YAML file"):
        read_recipe(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text", ["seed: [1", "a: b: c", "seed: 2020-13-45", "seed: 0b_", "\0", "[" * 5000])
def test_broken_yaml_is_one_sentence(write: Any, text: str) -> None:
    with pytest.raises(UserError, match=r"^The recipe .*recipe.yaml is not YAML: [^\n]*\.$"):
        read_recipe(write(text))


def test_text_in_no_encoding_is_refused(write: Any) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_recipe(write(b"seed: \xff"))


@pytest.mark.parametrize("text", ["", "- 1", "seed"])
def test_recipe_must_be_a_mapping(write: Any, text: str) -> None:
    with pytest.raises(UserError, match="must be a mapping of keys to values"):
        read_recipe(write(text))


def test_overrides_come_in_two_forms() -> None:
    words = ["--seed", "3", "--model.channels=[4, 8]", "--data.path=a=b", "--loss.routing_entropy", "-0.5"]
    assert parse_overrides(words) == {
        "seed": 3,
        "model.channels": [4, 8],
        "data.path": "a=b",
        "loss.routing_entropy": -0.5,
    }


def test_overrides_replace_what_the_file_has(write: Any) -> None:
    path = write("seed: 1\noptimisation: {epochs: 5, batch_size: 7}")
    recipe = read_recipe(path, parse_overrides(["--optimisation.epochs", "2", "--model.embedding=9"]))
    content = recipe.model_dump()
    assert (recipe.seed, content["optimisation"]["epochs"], content["optimisation"]["batch_size"]) == (1, 2, 7)
    assert content["model"]["embedding"] == 9


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seed"], "Unexpected argument 'seed'; a recipe's key is set by --key.sub VALUE."),
        (["-x", "1"], "Unexpected argument '-x'"),
        (["--seed"], "--seed needs a value, as in --seed VALUE."),
        (["--seed", "[1"], "The value of --seed is not YAML"),
        (["--resum"], "There is no option --resum; did you mean --resume?"),
        (["--outt", "runs/a"], "There is no option --outt; did you mean --out?"),
    ],
)
def test_wrong_override_is_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        parse_overrides(words, ("config", "seed", "out", "resume"))


def test_override_below_a_single_value_is_refused(write: Any) -> None:
    with pytest.raises(UserError, match=r"--seed.sub cannot be set, because seed is a single value"):
        read_recipe(write("seed: 1"), {"seed.sub": 2})


def test_misspelt_override_suggests_the_key(write: Any) -> None:
    with pytest.raises(UserError, match=r"did you mean 'optimisation.learning_rate'\?"):
        read_recipe(write("seed: 1"), {"optimisation.learning_rte": 1e-3})

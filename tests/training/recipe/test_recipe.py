import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clustnet.errors import UserError
from training.recipe.recipe import Recipe, parse_overrides, read_recipe, validated

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs").glob("*.yaml"))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@st.composite
def coarse_groups(draw: st.DrawFn) -> dict[str, list[int]]:
    """Draw two named groups that part the ten classes."""
    classes = draw(st.permutations(range(10)))
    cut = draw(st.integers(1, 9))
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=2, max_size=2, unique=True))
    return {names[0]: classes[:cut], names[1]: classes[cut:]}


counts = st.integers(1, 500)
weights = st.floats(allow_nan=False, allow_infinity=False)
rates = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
recipes = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "routing": st.sampled_from(["soft", "hard"]),
        "data": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["mnist", "cifar10"]),
                "path": st.none() | st.sampled_from(["data", "/a folder/ü.npz", "null", "1e-3"]),
                "coarse": coarse_groups(),
                "train_images": st.none() | counts,
            },
        ),
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
            {}, optional={"learning_rate": rates, "momentum": st.floats(0, 1, exclude_max=True)}
        ),
    },
).map(lambda content: validated(content, "drawn"))


@given(recipes)
def test_a_recipe_survives_being_written_as_yaml(recipe: Recipe) -> None:
    back = validated(yaml.safe_load(recipe.to_yaml()), "written")
    assert back == recipe
    assert back.digest() == recipe.digest()
    assert back.data.grouping() == recipe.data.grouping()


@given(recipes, recipes)
def test_equal_digests_mean_equal_recipes(one: Recipe, other: Recipe) -> None:
    assert (one.digest() == other.digest()) == (one.to_yaml() == other.to_yaml())


def test_the_digest_tells_which_group_is_positive() -> None:
    groups = {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]}
    swapped = dict(reversed(groups.items()))
    one, other = (validated({"data": {"coarse": coarse}}, "recipe") for coarse in (groups, swapped))
    assert one.digest() != other.digest()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_valid(path: Path) -> None:
    recipe = read_recipe(path)
    assert validated(yaml.safe_load(recipe.to_yaml()), "resolved") == recipe


def test_there_are_recipes_to_check() -> None:
    assert CONFIGS


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"sed": 1}, "there is no key 'sed'; did you mean 'seed'?"),
        ({"epochs": 3}, "there is no key 'epochs'; did you mean 'optimisation.epochs'?"),
        ({"learning_rat": 1}, "no key 'learning_rat'; did you mean 'optimisation.learning_rate'?"),
        ({"optimization": {"epochs": 3}}, "no key 'optimization'; did you mean 'optimisation'?"),
        ({"modl.expert": 3}, "no key 'modl.expert'; did you mean 'model.expert'?"),
        ({"zzz": 1}, "there is no key 'zzz'; a recipe has method, seed, restarts, routing, data, model, loss, "),
        ({"optimisation": {"epoch": 3}}, "no key 'optimisation.epoch'; did you mean 'optimisation.epochs'?"),
        ({"optimisation": {"experts": 3}}, "no key 'optimisation.experts'; did you mean 'model.experts'?"),
        ({"loss": {"zzz": 1}}, "no key 'loss.zzz'; loss has routing_entropy, routing_diversity, mutual_information."),
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
        ({"seed": -1}, "seed is -1, but should be greater than or equal to 0."),
        ({"seed": 2**31}, f"seed is {2**31}, but should be less than {2**31}."),
        ({"seed": "one"}, "seed is 'one', but must be a whole number."),
        ({"model": {"experts": 0}}, "model.experts is 0, but should be greater than or equal to 1."),
        ({"model": {"channels": [4]}}, "model.channels.1 is missing."),
        ({"model": {"channels": [4, 0]}}, "model.channels.1 is 0, but should be greater than or equal to 1."),
        ({"model": {"experts": "many"}}, "model.experts: it is 'many', but must be a whole number or auto."),
        ({"data": {"size": 160}}, "data.size is 160, but must be a list, as in [8, 16]."),
        (
            {"data": {"coarse": "0-4"}},
            "data.coarse is '0-4', but must be a mapping, as in {low: [0, 1],",
        ),
        ({"model": 3}, "model is 3, but must be a group of keys."),
        ({"optimisation": {"learning_rate": 0}}, "optimisation.learning_rate is 0, but should be greater than 0."),
        ({"optimisation": {"learning_rate": math.inf}}, "learning_rate is inf, but should be a finite number."),
        ({"loss": {"routing_entropy": math.nan}}, "loss.routing_entropy is nan, but should be a finite number."),
        ({"optimisation": {"momentum": 1}}, "optimisation.momentum is 1, but should be less than 1."),
        ({"data": {"coarse": {"a": [1]}}}, "data.coarse must name exactly two groups"),
        ({"partition": {"clusters": [3, 9]}}, "partition.clusters is [3, 9], but there are only 5 experts"),
        ({"data": {"coarse": {"a": list(range(10)), "b": []}}}, "data.coarse holds a group without classes"),
        ({"data": {"coarse": {"a": [0, 1], "b": [2]}}}, "data.coarse must list each class from 0 to 9 once"),
    ],
)
def test_a_fault_is_one_sentence_with_the_key(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        validated(content, "a.yaml")
    assert str(caught.value).startswith("a.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The recipe .*absent.yaml cannot be read .*name a YAML file"):
        read_recipe(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text", ["seed: [1", "a: b: c", "seed: 2020-13-45", "seed: 0b_", "\0", "[" * 5000])
def test_what_is_no_yaml_is_one_sentence(write: Any, text: str) -> None:
    with pytest.raises(UserError, match=r"^The recipe .*recipe.yaml is not YAML: [^\n]*\.$"):
        read_recipe(write(text))


def test_text_in_no_encoding_is_refused(write: Any) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_recipe(write(b"seed: \xff"))


@pytest.mark.parametrize("text", ["", "- 1", "seed"])
def test_a_recipe_must_be_a_mapping(write: Any, text: str) -> None:
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


def test_overrides_win_over_the_file(write: Any) -> None:
    path = write("seed: 1\noptimisation: {epochs: 5, batch_size: 7}")
    recipe = read_recipe(path, parse_overrides(["--optimisation.epochs", "2", "--model.embedding=9"]))
    assert (recipe.seed, recipe.optimisation.epochs, recipe.optimisation.batch_size) == (1, 2, 7)
    assert recipe.model.embedding == 9


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
def test_a_wrong_override_says_so(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        parse_overrides(words, ("config", "seed", "out", "resume"))


def test_an_override_below_a_single_value_is_refused(write: Any) -> None:
    with pytest.raises(UserError, match=r"--seed.sub cannot be set, because seed is a single value"):
        read_recipe(write("seed: 1"), {"seed.sub": 2})


def test_a_mistyped_override_suggests_the_key(write: Any) -> None:
    with pytest.raises(UserError, match=r"did you mean 'optimisation.learning_rate'\?"):
        read_recipe(write("seed: 1"), {"optimisation.learning_rte": 1e-3})


def test_a_group_has_a_cluster_for_each_expert_unless_told_otherwise() -> None:
    assert validated({"model": {"experts": 7}}, "recipe").clusters() == (7, 7)
    recipe = validated({"model": {"experts": 7}, "partition": {"clusters": [2, 6]}}, "recipe")
    assert recipe.clusters() == (2, 6)

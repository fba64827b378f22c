import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clustnet.errors import UserError
from tests.image_folder import write_coarse_folder, write_folder
from training.methods.deep_clustering.config import DeepClusteringRecipe
from training.models.architecture import read_architecture
from training.recipe.reading import check_data, parse_overrides, read_recipe, set_keys, validated
from training.recipe.recipe import BaseRecipe
from training.recipe.yaml_text import read_yaml

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
                "path": st.none()
                | st.sampled_from(
                    ["data", "/a folder/ü.npz", "null", "1e-3", "yes", "010", "1:30", "dog #1", "2020-01-02", "0o7"]
                ),
                "train_images": st.none() | counts,
            },
        )
    },
    optional={
        "seed": st.integers(0, 2**32 - 1),
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
    back = validated(read_yaml(recipe.to_yaml(), "written"), "written")
    assert back == recipe
    # Readers of YAML 1.1 are told the same, and what they wrote is read alike.
    older = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
    assert validated(yaml.safe_load(recipe.to_yaml()), "read by 1.1") == recipe
    assert validated(read_yaml(older, "written by 1.1"), "older").digest() == recipe.digest()
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
    assert validated(read_yaml(recipe.to_yaml(), "resolved"), "resolved") == recipe
    # As an earlier version read it.
    older = yaml.safe_load(path.read_text())
    assert validated(older | {"model": read_yaml(path.read_text(), "here").get("model", {})}, "older") == recipe


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
        ({"loss": {"zzz": 1}}, "no key 'loss.zzz'; loss has routing_entropy, routing_diversity, mutual_information, "),
        ({"clustering": {"start": "graph"}}, "clustnet has no key 'clustering'; a recipe has "),
        ({"method": "clusternet"}, "; did you mean 'clustnet'?"),
        (
            {"model": {"expert": "small"}},
            "model.expert is 'small', but must be 'linear', 'small_cnn', 'large_cnn' or 'shared'; "
            "did you mean 'small_cnn'?",
        ),
        ({"routing": "zzz"}, "routing is 'zzz', but must be 'soft' or 'hard'."),
        ({"data": {"name": "minst"}}, "did you mean 'mnist'?"),
        ({"data": {"colour": "grey"}}, "data.colour is 'grey', but must be 'auto', true or false"),
        ({"seed": -1}, "seed is -1, but should be greater than or equal to 0."),
        ({"seed": 2**32}, f"seed is {2**32}, but should be less than {2**32}."),
        ({"seed": "one"}, "seed is 'one', but must be a whole number."),
        ({"model": {"experts": 0}}, "model.experts is 0, but should be greater than or equal to 1."),
        ({"model": {"channels": [4]}}, "model.channels.1 is missing."),
        ({"model": {"channels": [4, 0]}}, "model.channels.1 is 0, but should be greater than or equal to 1."),
        ({"model": {"experts": "auto"}}, "model.experts is 'auto', but must be a whole number."),
        ({"data": {"size": 160}}, "data.size is 160, but must be a list, as in [8, 16]."),
        ({"data": {"coarse": "0-4"}}, "data.coarse: it is '0-4', but must be given, null or a mapping, as in {low: "),
        ({"data": {"coarse": {"a": 3}}}, "data.coarse: 'a' is 3, but must be a list of classes, by name or number."),
        ({"data": {"coarse": {3: [1]}}}, "data.coarse: the label 3 is no text; put it in quotes."),
        ({"data": {"coarse": {True: [1]}}}, "data.coarse: the label true is no text; put it in quotes."),
        ({"data": {"path": 2024}}, "data.path is 2024, but must be a text; put it in quotes."),
        ({1: 2}, "the key 1 is no text; a recipe has method, seed, "),
        ({"optimisation": {"epochs": True}}, "optimisation.epochs is 'true', but must be a whole number."),
        ({"optimisation": {"epochs": None}}, "optimisation.epochs is null, but must be a whole number."),
        ({"optimisation": {"learning_rate": False}}, "optimisation.learning_rate is 'false', but must be a number."),
        ({"model": {"channels": [True, 4]}}, "model.channels.0 is 'true', but must be a whole number."),
        ({"data": {"size": "28;28"}}, "data.size.0 is '28;28', but must be a whole number."),
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
    with pytest.raises(UserError, match=rf"{re.escape(key)} is set, but has no effect with {choice}; leave it out\.$"):
        validated(content, "a.yaml")


def test_reference_keys_are_for_drawn_references(tmp_path: Path) -> None:
    plain, named = write_coarse_folder(tmp_path / "plain"), write_folder(tmp_path / "named", 2, 2, 2)
    content: dict[str, Any] = {"data": {"name": "folder", "path": str(plain)}, "reference": {"per_class": 3}}
    content["loss"] = {"mutual_information": 1.0}
    assert validated(content, "a").reference.per_class == 3
    content["data"]["path"] = str(named)
    sentence = "reference.per_class is set, but has no effect with a folder that has reference/"
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


@pytest.mark.parametrize(
    "text", ["seed: [1", "a: b: c", "seed: !!int x", "seed: &a [*a]", "a: !!python/name:os", "\0", "[" * 5000]
)
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
        (["seed"], "Unexpected argument 'seed'; set a key of the recipe with --key.sub VALUE."),
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


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a: 010", 10),
        ("a: yes", "yes"),
        ("a: 1:30", "1:30"),
        ("a: 2020-01-02", "2020-01-02"),
        ("a: 1e3", "1e3"),
        ("a: 0o10", "0o10"),
        ("a: 0x1F", 31),
        ("a: -1.5e-3", -0.0015),
        ("a: .inf", math.inf),
        ("a: ~", None),
        ("a:", None),
        ("a: {no: 1, yes: 2}", {"no": 1, "yes": 2}),
    ],
)
def test_words_mean_what_yaml_1_2_says(text: str, read: Any) -> None:
    assert read_yaml(text, "a text") == {"a": read}


@pytest.mark.parametrize(
    "text", ["seed: 1\nseed: 2", "seed: 1\n'seed': 1", "model: {experts: 2,\n experts: 3}", "data:\n  a: 1\n  a: 1"]
)
def test_key_that_is_there_twice_is_refused(write: Any, text: str) -> None:
    with pytest.raises(
        UserError, match=r"^The recipe .* has '(seed|experts|a)' twice, the second time in line [23]; leave"
    ):
        read_recipe(write(text))


def test_yes_is_no_number_of_epochs(write: Any) -> None:
    with pytest.raises(UserError, match=r"optimisation.epochs is 'yes', but must be a whole number"):
        read_recipe(write("optimisation: {epochs: yes}"))


def test_yes_and_no_are_coarse_labels(write: Any) -> None:
    recipe = read_recipe(write("data: {coarse: {no: [0, 1, 2, 3, 4], yes: [5, 6, 7, 8, 9]}}"))
    assert recipe.data.known_labels() == ("no", "yes")


@pytest.mark.parametrize(
    "path", ["dog #1", "#1", "010", "1:30", "2024", "2024-01-02", "yes", "a: b", "[x", "1e3", "a,b"]
)
def test_path_on_the_command_line_is_whole(path: str) -> None:
    (value,) = parse_overrides(["--data.path", path]).values() if path[0] != "[" else [path]
    assert validated({"data": {"path": value}}, "a").data.path == Path(path)


def test_null_and_quotes_are_no_paths() -> None:
    assert parse_overrides(["--data.path", "null"]) == {"data.path": None}
    assert parse_overrides(["--data.path", "'null'"]) == {"data.path": "null"}


@pytest.mark.parametrize("text", ["28,32", "28, 32", "[28, 32]", " [28,32]"])
def test_lists_need_no_brackets(text: str) -> None:
    content = {"data": {"name": "folder"} | {"size": parse_overrides(["--data.size", text])["data.size"]}}
    assert validated(content, "a").data.size == (28, 32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 99), st.floats(0.125, 1, width=32))
def test_numbers_of_numpy_are_numbers(seed: int, epochs: int, rate: float) -> None:
    content = {
        "seed": np.uint64(seed),
        "optimisation": {"epochs": np.int16(epochs), "learning_rate": np.float32(rate)},
        "model": {"channels": np.array([4, 8]), "experts": np.int64(3)},
    }
    recipe = validated(content, "a")
    expected = {
        "seed": seed,
        "optimisation": {"epochs": epochs, "learning_rate": rate},
        "model": {"channels": [4, 8], "experts": 3},
    }
    assert recipe.digest() == validated(expected, "a").digest()


def test_value_that_holds_itself_is_refused() -> None:
    content: dict[str, Any] = {}
    content["data"] = content
    with pytest.raises(UserError, match="a: a value holds itself; write it out"):
        validated(content, "a")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that has photos, and beside it a folder for recipes."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "work" / "photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "recipes"


FOLDER = "data: {name: folder, path: photos, coarse: null}\nloss: {mutual_information: 1}\n"


def test_data_are_looked_for_beside_the_recipe(elsewhere: Path) -> None:
    recipe = elsewhere / "a.yaml"
    recipe.write_text(FOLDER)
    assert read_recipe(recipe).data.path == Path("photos")
    (elsewhere / "photos").mkdir()
    assert read_recipe(recipe).data.path == elsewhere / "photos"
    # A shell's paths are those of the working directory.
    assert read_recipe(recipe, {"data.path": "photos"}).data.path == Path("photos")


def test_missing_data_say_where_they_were_looked_for(elsewhere: Path) -> None:
    recipe = elsewhere / "a.yaml"
    recipe.write_text(FOLDER.replace("photos", "pictures"))
    said = r"data.path is pictures, .* beside the recipe in .*/recipes or in the working directory .*/work; correct it"
    with pytest.raises(UserError, match=said):
        check_data(read_recipe(recipe), elsewhere)
    with pytest.raises(UserError, match=r"no such file or folder in the working directory .*/work; correct it"):
        check_data(read_recipe(recipe), None)
    recipe.write_text(FOLDER)
    check_data(read_recipe(recipe), elsewhere)


def test_recipe_of_a_run_keeps_its_paths(elsewhere: Path) -> None:
    (elsewhere / "recipe.yaml").write_text(FOLDER)
    (elsewhere / "photos").mkdir()
    (elsewhere / "tensorboard").mkdir()
    assert read_recipe(elsewhere / "recipe.yaml").data.path == Path("photos")


def test_architecture_is_looked_for_beside_the_recipe(elsewhere: Path) -> None:
    recipe = elsewhere / "a.yaml"
    recipe.write_text("method: deep_clustering\ndata: {coarse: null}\nmodel: {architecture: 'nets.json:0'}\n")
    with pytest.raises(UserError, match=r"model.architecture is 'nets.json:0', .* no nets.json beside the recipe in "):
        read_recipe(recipe)
    (elsewhere / "nets.json").write_text((CONFIGS[0].parent / "architectures" / "mnist.json").read_text())
    found = read_recipe(recipe)
    assert isinstance(found, DeepClusteringRecipe)
    assert found.model.architecture == read_architecture(str(elsewhere / "nets.json"))


def test_home_is_read_in_quotes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert validated({"data": {"path": "~/digits"}}, "a").data.path == tmp_path / "digits"


def test_recipes_of_growing_name_their_command() -> None:
    path = CONFIGS[0].parent / "grow" / "tiny_imagenet.yaml"
    with pytest.raises(UserError, match=r"method is 'grow'; learn it with 'clustnet grow .*tiny_imagenet.yaml'"):
        read_recipe(path)

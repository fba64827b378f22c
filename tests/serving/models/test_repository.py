import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.bundle import MANIFEST
from clustnet.errors import UserError
from serving.models.repository import Place, Repository, newness
from tests.synthetic import write_bundle


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder of ``a/1``, ``a/10`` and ``b``, and what is none of them."""
    for path, name, version in (("a/1", "a", "1"), ("a/10", "a", "10"), ("b", "b", "7")):
        write_bundle(tmp_path / "r" / path, name=name, version=version)
    for passed_over in ("lost+found", ".b.temporary", "__pycache__", "a/.2.temporary"):
        (tmp_path / "r" / passed_over).mkdir()
    (tmp_path / "r" / "README.md").touch()
    return tmp_path / "r"


def test_bundles_and_folders_are_found_in_order(repository: Path, tmp_path: Path) -> None:
    direct = write_bundle(tmp_path / "any", name="c")
    more = write_bundle(tmp_path / "more", name="a", version="2")
    found = Repository([direct, repository, more])
    assert found.names() == ["c", "a", "b"]
    assert found.places("c") == [Place(direct)]
    assert found.places("a") == [*(Place(repository / "a" / v, "a", v) for v in ("1", "10")), Place(more)]
    assert found.places("b") == [Place(repository / "b", "b")]
    assert [place.open().manifest.version for place in found.places("a")] == ["1", "10", "2"]


@pytest.mark.parametrize("name", ["d", "", ".", "..", "../r/a", "a/1", "r", "README.md", "lost+found", "a\n", "x" * 99])
def test_what_is_no_models_name_has_no_places(repository: Path, name: str) -> None:
    assert Repository([repository]).places(name) == []


def test_what_comes_and_goes_is_seen(repository: Path) -> None:
    found = Repository([repository])
    write_bundle(repository / "new" / "1", name="new")
    (repository / "b" / MANIFEST).rename(repository / "b" / "away")
    assert found.names() == ["a", "b", "new"]
    assert found.places("new") == [Place(repository / "new" / "1", "new", "1")]
    assert found.places("b") == []


def test_a_broken_bundle_affects_its_model_alone(tmp_path: Path) -> None:
    one, two = (write_bundle(tmp_path / name, name=name) for name in ("one", "two"))
    found = Repository([one, two])
    (one / MANIFEST).unlink()
    assert found.places("two") == [Place(two)]
    with pytest.raises(UserError, match="one is not a bundle: it holds no manifest"):
        found.places("one")
    write_bundle(tmp_path / "other", name="three")
    one.rename(tmp_path / "old")
    (tmp_path / "other").rename(one)
    assert (found.places("one"), found.places("three")) == ([], [Place(one)])


def make_empty(folder: Path) -> None:
    (folder / "lost+found").mkdir(parents=True)


def make_file(folder: Path) -> None:
    folder.write_text("no folder")


def make_model_without_versions(folder: Path) -> None:
    (folder / "digits" / ".hidden").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "place is not a bundle: there is no such folder; name bundle folders, or folders of"),
        (make_file, "place is not a bundle: there is no such folder"),
        (make_empty, "place is not a bundle: it holds no manifest.json, and no bundles either; name bundle folders"),
        (
            make_model_without_versions,
            "digits is not a model of the repository .*place: it holds no manifest.json, and",
        ),
    ],
)
def test_a_folder_that_is_neither_is_refused(tmp_path: Path, make: object, says: str) -> None:
    make(tmp_path / "place")  # type: ignore[operator]
    with pytest.raises(UserError, match=says):
        Repository([tmp_path / "place"])


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("a/2", "names the version '1', but its path '2'; rename the folder"),
        ("b/1", "names the model 'a', but its path 'b'; rename the folder"),
        ("c", "names the model 'a', but its path 'c'"),
    ],
)
def test_path_and_manifest_must_agree(tmp_path: Path, path: str, says: str) -> None:
    write_bundle(tmp_path / path, name="a", version="1")
    (place,) = Repository([tmp_path]).places(path[0])
    with pytest.raises(UserError, match=says):
        place.open()


def test_a_version_without_a_manifest_is_refused(repository: Path) -> None:
    (repository / "a" / "11").mkdir()
    with pytest.raises(UserError, match=r"11 is not a bundle: it holds no manifest\.json"):
        [place.open() for place in Repository([repository]).places("a")]


def test_a_folder_bundle_keeps_its_name(repository: Path) -> None:
    manifest = repository / "b" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"files": {}}))
    (place,) = Repository([repository]).places("b")
    with pytest.raises(UserError, match="is not a valid manifest"):
        place.open()


OLD_TO_NEW = [
    "rc",
    "0.9",
    "1.0-rc1",
    "1.0-rc2",
    "1.0-rc10",
    "1.0",
    "1.0.0",
    "1.0.1",
    "1.2",
    "1.10",
    "2",
    "9",
    "10",
    "2026-11-22",
]


def test_versions_compare_by_their_numbers() -> None:
    shuffled = OLD_TO_NEW[::-1]
    assert sorted(shuffled, key=newness) == OLD_TO_NEW


@given(st.lists(st.from_regex(re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}"), fullmatch=True), min_size=3, max_size=3))
def test_any_two_versions_have_an_order(versions: list[str]) -> None:
    oldest, middle, newest = sorted(versions, key=newness)
    assert newness(oldest) <= newness(middle) <= newness(newest)
    assert (newness(oldest) == newness(newest)) == (oldest == newest)

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.bundle import Subtype, read_manifest
from clustnet.bundles.groups import ALL, UNKNOWN, CoarseGrouping
from clustnet.datasets.folder_layout import (
    FolderNames,
    check_folders,
    folder_names,
    has_split,
    split_files,
    split_folder,
)
from clustnet.errors import UserError
from tests.clustnet.datasets.made_up import system_files, write_images
from tests.synthetic import write_bundle

LAYOUTS = {
    "labels": {"ok": 2, "defect/2024/may": 1, "defect": 1},
    "one label": {"parts": 2},
    "no label": {"": 2},
    "splits": {"train/ok": 2, "train/defect": 2, "test/ok": 1, "test/defect/deep": 1},
    "named": {
        "train/ok": 1,
        "train/defect": 1,
        "reference/ok/plain": 1,
        "reference/defect/scratch": 1,
        "reference/defect/dent/deep": 1,
    },
    "labels beside references": {"ok": 1, "defect": 1, "reference/ok/plain": 1, "reference/defect/dent": 1},
    "labels beside tests": {"ok": 1, "defect": 1, "test/ok": 1},
    "no label, named": {"train": 2, "reference/left": 1, "reference/right": 1},
    "tests alone": {"test/ok": 1, "test/defect": 1},
    "named tests alone": {"test/left": 1, "reference/left": 1, "reference/right": 1},
}


@pytest.mark.parametrize(
    ("layout", "labels", "classes", "groups"),
    [
        ("labels", ("defect", "ok"), (), ((), ())),
        ("one label", ("parts",), (), ((),)),
        ("no label", (ALL,), (), ((),)),
        ("splits", ("defect", "ok"), (), ((), ())),
        ("named", ("defect", "ok"), ("defect/dent", "defect/scratch", "ok/plain"), ((0, 1), (2,))),
        ("labels beside references", ("defect", "ok"), ("defect/dent", "ok/plain"), ((0,), (1,))),
        ("labels beside tests", ("defect", "ok"), (), ((), ())),
        ("no label, named", (ALL,), ("left", "right"), ((0, 1),)),
        ("tests alone", ("defect", "ok"), (), ((), ())),
        ("named tests alone", (ALL,), ("left", "right"), ((0, 1),)),
    ],
)
def test_sub_folders_are_coarse_labels(
    tmp_path: Path, layout: str, labels: tuple[str, ...], classes: tuple[str, ...], groups: tuple[tuple[int, ...], ...]
) -> None:
    found = folder_names(write_images(tmp_path, LAYOUTS[layout]))
    assert found == FolderNames(CoarseGrouping(labels, groups), classes)
    assert found.coarse_labels == labels
    assert found.divided == (labels != (ALL,))


@pytest.mark.parametrize(
    ("layout", "classes"),
    [
        ("labels", ("defect", "ok")),
        ("no label", ()),
        ("no label, named", ("left", "right")),
        ("labels beside references", ("defect", "ok")),
        ("tests alone", ()),
    ],
)
def test_without_given_labels_they_are_classes(tmp_path: Path, layout: str, classes: tuple[str, ...]) -> None:
    found = folder_names(write_images(tmp_path, LAYOUTS[layout]), given=False)
    assert found == FolderNames(CoarseGrouping.whole(len(classes)), classes)
    assert not found.divided


def test_images_beside_classes_have_none(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"train": 2, "train/cat": 1, "train/dog": 1})
    names = folder_names(folder, given=False)
    assert names.classes == ("cat", "dog")
    assert names.labels_of(()) == (0, UNKNOWN)
    with pytest.raises(UserError, match=r"train holds 0\.png, 1\.png beside its folders; move them into one of"):
        folder_names(folder)


@pytest.mark.parametrize(
    ("layout", "splits"),
    [
        ("labels", {"train"}),
        ("no label", {"train"}),
        ("splits", {"train", "test"}),
        ("named", {"train", "reference"}),
        ("labels beside references", {"train", "reference"}),
        ("labels beside tests", {"train", "test"}),
        ("tests alone", {"test"}),
    ],
)
def test_splits_are_found(tmp_path: Path, layout: str, splits: set[str]) -> None:
    folder = write_images(tmp_path, LAYOUTS[layout])
    assert {split for split in ("train", "test", "reference") if has_split(folder, split)} == splits
    everything = {file for split in splits for file in split_files(folder, split)}
    assert everything == set(folder.rglob("*.png"))
    for split in {"train", "test", "reference"} - splits:
        with pytest.raises(UserError, match=f"has no folder {split}/; a folder of images has one sub-folder for each"):
            split_folder(folder, split)


@pytest.mark.parametrize(
    ("name", "found"), [("README.md", False), ("labels.csv", False), ("1.JPG", True), ("a.png", True)]
)
def test_notes_beside_tests_are_no_images(tmp_path: Path, name: str, found: bool) -> None:
    folder = write_images(tmp_path, {"test/ok": 1, "test/defect": 1})
    (folder / name).write_bytes(b"?")
    assert has_split(folder, "train") == found
    assert folder_names(folder).coarse_labels == ((ALL,) if found else ("defect", "ok"))


def test_an_empty_folder_has_a_training_split(tmp_path: Path) -> None:
    assert has_split(tmp_path, "train")
    assert split_files(tmp_path, "train") == []


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        ((), (UNKNOWN, UNKNOWN)),
        (("ok",), (1, UNKNOWN)),
        (("ok", "plain"), (1, 2)),
        (("ok", "plain", "more"), (1, 2)),
        (("ok", "dent"), (1, UNKNOWN)),
        (("defect", "dent"), (0, 0)),
        (("defect", "2024", "dent"), (0, UNKNOWN)),
        (("other",), (UNKNOWN, UNKNOWN)),
    ],
)
def test_folders_name_label_and_class(folders: tuple[str, ...], labels: tuple[int, int]) -> None:
    grouping = CoarseGrouping(("defect", "ok"), ((0, 1), (2,)))
    assert FolderNames(grouping, ("defect/dent", "defect/scratch", "ok/plain")).labels_of(folders) == labels


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (("3",), (0, 3)),
        (("7",), (1, 7)),
        (("0-4", "3"), (0, 3)),
        (("0-4", "7"), (0, UNKNOWN)),
        (("5-9",), (1, UNKNOWN)),
    ],
)
def test_classes_of_a_bundle_name_labels(
    synthetic_bundle: Path, folders: tuple[str, ...], labels: tuple[int, int]
) -> None:
    names = FolderNames.from_manifest(read_manifest(synthetic_bundle / "manifest.json"))
    assert names.classes == tuple(map(str, range(10)))
    assert names.labels_of(folders) == labels


@pytest.mark.parametrize("coarse", [1, 2, 3])
def test_unnamed_subtypes_are_no_classes(tmp_path: Path, coarse: int) -> None:
    manifest = read_manifest(write_bundle(tmp_path / "bundle", coarse=coarse, named=False) / "manifest.json")
    names = FolderNames.from_manifest(manifest)
    assert (names.coarse_labels, names.classes) == (manifest.coarse_labels, ())
    label = manifest.coarse_labels[-1]
    assert names.labels_of((label, "1")) == (coarse - 1, UNKNOWN)


def test_names_of_a_review_are_classes(tmp_path: Path) -> None:
    manifest = read_manifest(write_bundle(tmp_path / "bundle", named=False) / "manifest.json")
    first = Subtype(name="loop", coarse_label="0-4", named=True)
    names = FolderNames.from_manifest(manifest.model_copy(update={"subtypes": (first, *manifest.subtypes[1:])}))
    assert names.labels_of(("0-4", "loop")) == (0, 0)
    assert names.labels_of(("5-9", "loop")) == (1, UNKNOWN)


NAMES = st.sampled_from(["a", "b", "c", "a/b", "other"])


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcxyz")), unique=True, max_size=6), st.lists(NAMES))
def test_a_class_never_contradicts_its_label(members: list[tuple[int, str]], folders: list[str]) -> None:
    labels = ("a", "b", "c")
    classes = tuple(f"{labels[label]}/{name}" for label, name in members)
    groups = tuple(tuple(i for i, (own, _) in enumerate(members) if own == label) for label in range(3))
    grouping = CoarseGrouping(labels, groups)
    coarse, fine = FolderNames(grouping, classes).labels_of(tuple(folders))
    assert coarse in (UNKNOWN, 0, 1, 2)
    assert fine == UNKNOWN or fine in groups[coarse]


def test_system_files_are_ignored(tmp_path: Path) -> None:
    folder = write_images(tmp_path, LAYOUTS["named"])
    names, files = folder_names(folder), split_files(folder, "train")
    for place in (folder, folder / "train", folder / "train" / "ok", folder / "reference"):
        system_files(place)
    assert folder_names(folder) == names
    assert split_files(folder, "train") == files


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", {"": 2})
    folder = write_images(tmp_path / "images", {"ok": 1, "defect/deep": 1})
    (folder / "defect" / "deep" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert folder_names(folder).coarse_labels == ("defect", "linked", "ok")
    found = [file.relative_to(folder).as_posix() for file in split_files(folder, "train")]
    assert found == ["defect/deep/0.png", "linked/0.png", "linked/1.png", "ok/0.png"]


def _write(counts: Mapping[str, int]) -> Callable[[Path], object]:
    return lambda folder: write_images(folder, counts)


def _remove(name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / name)


def _empty(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_write({"train": 1}), r"train holds 0\.png beside its folders; move it into one of them, or remove it\.$"),
        (_empty("train/new"), r"train/new is empty; put images into it, or remove it\.$"),
        (_write({"reference": 1}), r"reference holds 0\.png beside its folders"),
        (_write({"reference/ok": 1}), r"reference/ok holds 0\.png beside its folders"),
        (_empty("reference/ok/new"), r"reference/ok/new is empty"),
        (
            _write({"reference/other/x": 1}),
            r"reference holds 'other', which is not a coarse label \(defect, ok\); sort",
        ),
        (_remove("reference/ok"), r"names no class of the coarse label 'ok'; add reference/ok/CLASS/, or remove"),
        (_remove("reference/ok/plain"), r"reference/ok is empty"),
        (_write({f"train/{'x' * 201}": 1}), "is longer than 200 characters; rename its folder"),
        (_write({f"reference/ok/{'x' * 199}": 1}), "is longer than 200 characters; rename its folder"),
    ],
)
def test_a_wrong_layout_is_explained(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    folder = write_images(tmp_path / "images", LAYOUTS["named"])
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        folder_names(folder)
    assert str(error.value).count("\n") == 0


def test_references_without_classes_are_explained(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"ok": 1, "defect": 1, "reference/ok": 1, "reference/defect": 1})
    with pytest.raises(UserError, match="reference/defect holds no class; give it a folder of images for each class"):
        folder_names(folder)


def test_a_label_called_train_is_noticed(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"bus": 1, "car": 1, "train": 1})
    with pytest.raises(UserError, match=r"holds bus/ beside train/, which has no sub-folders; .* or rename train/"):
        folder_names(folder)


@pytest.mark.parametrize(
    ("layout", "extra", "message"),
    [
        ("splits", "test/dent", "test holds the folder 'dent', which is not among defect, ok; rename or remove it"),
        ("no label", "test/left", "'left', which is not a class, as reference/ names none; rename or remove it"),
        ("no label, named", "test/up", "'up', which is not among left, right; rename or remove it, or put its images"),
    ],
)
def test_an_unknown_test_folder_is_refused(tmp_path: Path, layout: str, extra: str, message: str) -> None:
    folder = write_images(tmp_path, LAYOUTS[layout])
    names = folder_names(folder)
    write_images(folder, {extra: 1})
    with pytest.raises(UserError, match=message):
        check_folders(folder, "test", names)


def test_the_folder_must_be_named() -> None:
    with pytest.raises(UserError, match="A folder of images has no default place; name it with --data folder:PATH"):
        folder_names(None)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"There is no folder {tmp_path}/none; name one with a sub-folder of images"):
        has_split(tmp_path / "none", "train")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_images(tmp_path, LAYOUTS["labels"])

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(UserError, match=r"The folder .* cannot be read \(Permission denied\); fix or remove it"):
        folder_names(folder)


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_images(tmp_path, LAYOUTS["labels"])

    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", denied)
    with pytest.raises(UserError, match=rf"{folder} cannot be read \(Permission denied\); fix or remove it"):
        folder_names(folder)


def test_a_file_outside_utf_8_is_listed(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"ok": 1})
    file = (folder / "ok" / "0.png").rename(folder / "ok" / os.fsdecode(b"\xff.png"))
    assert split_files(folder, "train") == [file]


def test_names_shown_alike_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {os.fsdecode(b"caf\xe9"): 1, "caf\\xe9": 1})
    with pytest.raises(UserError, match=r"two folders that are shown as 'caf\\xe9', as the name of one is not UTF-8"):
        folder_names(folder)


@pytest.mark.parametrize("label", ["caf\u00e9", "cafe\u0301"])
def test_references_in_either_form_name_classes(tmp_path: Path, label: str) -> None:
    folder = write_images(tmp_path, {"caf\u00e9": 1, "ok": 1, f"reference/{label}/a": 1, "reference/ok/b": 1})
    write_images(folder, {"reference/caf\u00e9/c": 1})
    names = folder_names(folder)
    assert (names.coarse_labels, names.classes) == (("caf\u00e9", "ok"), ("caf\u00e9/a", "caf\u00e9/c", "ok/b"))
    assert names.labels_of((label, "a")) == (0, 0)
    write_images(folder, {f"test/{label}": 1})
    check_folders(folder, "test", names)


def test_a_dangling_link_is_listed(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"ok": 1})
    link = folder / "ok" / "gone.png"
    link.symlink_to("nowhere.png")
    assert link in split_files(folder, "train")


def test_loose_files_are_named_together(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"": 12, "ok": 1})
    with pytest.raises(UserError, match=r"holds 0\.png, 1\.png, 10\.png, .* and 2 more beside its folders; move them"):
        folder_names(folder)


def test_empty_folders_are_named_together(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"ok": 1})
    for name in ("a", "b"):
        (folder / name).mkdir()
    with pytest.raises(UserError, match=r"/a, .*/b are empty; put images into them, or remove them\.$"):
        folder_names(folder)


def test_classes_of_several_levels() -> None:
    grouping = CoarseGrouping(("animal", "rock"), ((0, 1), (2,)))
    names = FolderNames(grouping, ("animal/canine/beagle", "animal/feline", "rock"))
    assert names.labels_of(("animal", "canine", "beagle")) == (0, 0)
    assert names.labels_of(("animal", "canine")) == (0, UNKNOWN)
    assert names.labels_of(("animal", "feline", "2024")) == (0, 1)
    assert names.labels_of(("rock",)) == (1, 2)

import io
import os
import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clustnet.bundles.groups import UNKNOWN, CoarseGrouping
from clustnet.bundles.preparation import prepare
from clustnet.datasets import LabelledImages
from evaluation.files import reading
from evaluation.files.reading import Batch, Reader, Truth
from evaluation.files.units import list_units
from evaluation.files.unread import UnreadImages
from evaluation.sources.sources import ModelInfo
from tests.evaluation.image_files import write_columns, write_parquet, write_pictures
from tests.evaluation.made_up import info

DIGIT_MODEL = info()
SCREWS = CoarseGrouping(("ok", "bad"), ((0,), (1, 2)))
NAMED = info(("ok/plain", "bad/bent", "bad/rusty"), SCREWS, (8, 8, 3))
NUMBERED = replace(NAMED, named=False, class_names=("ok/1", "bad/1", "bad/2"))
PIXELS = np.arange(784).astype(np.uint8).reshape(28, 28)


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "png")
    return content.getvalue()


@pytest.fixture
def read() -> Any:
    def batches(pattern: str, of: ModelInfo = DIGIT_MODEL) -> list[Batch]:
        listing = list_units(pattern)
        reader = Reader(listing.filesystem, of)
        return [batch for unit in listing.units for batch in reader.batches(unit)]

    return batches


def images(batches: Sequence[Batch]) -> np.ndarray:
    return np.stack([row.image for batch in batches for row in batch.rows])


def labels(batches: Sequence[Batch]) -> list[int]:
    return [row.truth.fine for batch in batches for row in batch.rows]


def test_batches_are_those_of_the_arrays(read: Any, tmp_path: Path, mnist_test: LabelledImages) -> None:
    data = mnist_test.first(600)
    found = read(str(write_parquet(tmp_path / "digits.parquet", data, row_group=600)))
    assert [(batch.first, len(batch.rows)) for batch in found] == [(0, 256), (256, 256), (512, 88)]
    np.testing.assert_array_equal(images(found), data.images)
    assert labels(found) == data.fine.tolist()


@pytest.mark.parametrize(
    "image",
    [
        pa.array([PIXELS.tobytes()]),
        pa.array([PIXELS.tobytes()], pa.binary(784)),
        pa.array([PIXELS.ravel()]),
        pa.array([PIXELS.ravel().tolist()], pa.list_(pa.int32(), 784)),
        pa.array([PIXELS.tolist()], pa.large_list(pa.list_(pa.int64()))),
    ],
    ids=lambda array: str(array.type),
)
def test_pixels_may_be_bytes_or_lists(read: Any, tmp_path: Path, image: pa.Array) -> None:
    (batch,) = read(str(write_columns(tmp_path / "one.parquet", image, ["7"])))
    assert not batch.faults
    np.testing.assert_array_equal(batch.rows[0].image, PIXELS)
    assert batch.rows[0].truth.fine == 7


def test_image_files_may_lie_in_columns(read: Any, tmp_path: Path) -> None:
    content = png(255 - PIXELS)
    padded = png(np.zeros((2, 2), np.uint8))[:-12] + b"\0" * 800
    write_columns(tmp_path / "bytes.parquet", [content, padded[:784]], [3, 3])
    struct = pa.array([{"bytes": content, "path": "a.png"}])
    write_columns(tmp_path / "struct.parquet", struct, [3])
    expected = prepare(content, DIGIT_MODEL.input)
    first, second = read(f"{tmp_path}/*.parquet")
    for batch in (first, second):
        np.testing.assert_array_equal(batch.rows[0].image, expected)
    # A torn file of 784 bytes is not taken for 784 pixels.
    assert len(first.faults) == 1


def test_folders_name_the_classes(read: Any, tmp_path: Path, mnist_test: LabelledImages) -> None:
    write_pictures(tmp_path, mnist_test.first(20))
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.png").write_bytes(png(PIXELS))
    (tmp_path / "3" / "torn.png").write_bytes(png(PIXELS)[:60])
    (batch,) = read(f"{tmp_path}/*/*.png")
    assert sorted(labels([batch])) == sorted(mnist_test.fine[:20].tolist())
    some = next(tmp_path.glob("7/*.png"))
    expected = prepare(some.read_bytes(), DIGIT_MODEL.input)
    assert any((row.image == expected).all() and row.truth.fine == 7 for row in batch.rows)
    torn, stray = batch.faults
    assert (torn.file, "cut short" in torn.reason) == (f"{tmp_path}/3/torn.png", True)
    assert (stray.file, stray.place) == (f"{tmp_path}/letters/a.png", 21)
    names = "0-4, 5-9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert stray.reason == f"The folder 'letters' is not a coarse label or class of the model, which has {names}."


@pytest.mark.parametrize(
    ("image", "label", "said"),
    [
        (None, 0, "There is no image."),
        (b"", 0, "not a PNG"),
        ([0] * 783, 0, "The image is 783 values of int64; expected 28 x 28 whole numbers."),
        ([0.5] * 784, 0, "784 values of float64"),
        ([256] * 784, 0, "values from 256 to 256; expected 0 to 255"),
        ([1] * 784, 0, "its pixels are on a scale from 0 to 1"),
        ([-1] * 784, 0, "values from -1 to -1"),
        ([None] * 784, 0, "784 values of"),
        ("text", 0, "The image is of type string"),
        (PIXELS.tobytes(), 10, "The label 10 is not a coarse label"),
        (PIXELS.tobytes(), -1, "The label -1 is not a coarse label"),
        (PIXELS.tobytes(), True, "The label True is not a coarse label"),
        (PIXELS.tobytes(), 1.0, "The label 1.0 is not a coarse label"),
        (PIXELS.tobytes(), "x" * 1000, "The label 'xxxxxxxxxxxx...xxxxxxxxxxxxx' is not a coarse label"),
    ],
)
def test_a_bad_row_is_named(read: Any, tmp_path: Path, image: Any, label: Any, said: str) -> None:
    good = [0] * 784 if isinstance(image, list) else PIXELS.tobytes()
    if isinstance(image, str):
        good = image
    path = write_columns(tmp_path / "x.parquet", [good, image], [label if isinstance(label, str) else None, label])
    (batch,) = read(str(path))
    assert said in batch.faults[-1].reason
    assert (batch.faults[-1].file, batch.faults[-1].rows) == (str(path), "1")


def test_rows_after_a_fault_are_one_fault(read: Any, tmp_path: Path, mnist_test: LabelledImages) -> None:
    path = write_parquet(tmp_path / "torn.parquet", mnist_test.first(40), row_group=10)
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start - 4 : start + 40] = b"\xff" * 44
    path.write_bytes(content)
    found = read(str(path))
    faults = [fault for batch in found for fault in batch.faults]
    assert [fault[:3] for fault in faults] == [(20, str(path), "20 to 29")]
    assert labels(found) == np.delete(mnist_test.fine[:40], range(20, 30)).tolist()


def test_a_file_without_images_is_reported(read: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"pixels": [1], "label": [2]}), tmp_path / "x.parquet")
    (batch,) = read(f"{tmp_path}/x.parquet")
    expected = "expected 'image', and 'label' or 'coarse' where the truth is known"
    assert batch.faults[0].reason == f"There is no column 'image', but pixels, label; {expected}."


@pytest.mark.parametrize(
    ("folder", "pattern", "named", "numbered"),
    [
        ("bad", "*/*.png", Truth(1), Truth(1)),
        ("bad/rusty", "*/*/*.png", Truth(1, 2), Truth(1)),
        ("bad/rusty", "bad/*/*.png", Truth(1, 2), Truth(1)),
        ("bad/batch 7", "*/*/*.png", Truth(1), Truth(1)),
        ("test/ok", "test/*/*.png", Truth(0), Truth(0)),
        ("ok", "ok/*.png", Truth(0), Truth(0)),
        ("loose", "loose/*.png", Truth(), Truth()),
    ],
)
def test_folders_name_labels_and_classes(
    read: Any, tmp_path: Path, folder: str, pattern: str, named: Truth, numbered: Truth
) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "a.png").write_bytes(png(colours))
    for model, expected in ((NAMED, named), (NUMBERED, numbered)):
        (batch,) = read(f"{tmp_path}/{pattern}", model)
        assert [row.truth for row in batch.rows] == [expected]
        # Colour is kept.
        np.testing.assert_array_equal(batch.rows[0].image, colours)


@pytest.mark.parametrize(
    ("column", "value", "named", "numbered"),
    [
        ("label", "bad/rusty", Truth(fine=2), None),
        ("label", "bad", Truth(1), Truth(1)),
        ("label", 2, Truth(fine=2), None),
        ("label", 0, Truth(fine=0), Truth(0)),
        ("coarse", "bad", Truth(1), Truth(1)),
        ("coarse", "bent", None, None),
        ("label", None, Truth(), Truth()),
    ],
)
def test_columns_name_labels_and_classes(
    read: Any, tmp_path: Path, column: str, value: Any, named: Truth | None, numbered: Truth | None
) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8).tobytes()
    path = write_columns(tmp_path / "a.parquet", [pixels], [value], column=column)
    for model, expected in ((NAMED, named), (NUMBERED, numbered)):
        (batch,) = read(str(path), model)
        assert [row.truth for row in batch.rows] == ([] if expected is None else [expected])


def test_a_model_without_names_has_no_truth(read: Any, tmp_path: Path) -> None:
    (tmp_path / "any").mkdir()
    (tmp_path / "any" / "a.png").write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    pq.write_table(pa.table({"image": [bytes(192)], "label": ["x"]}), tmp_path / "a.parquet")
    model = replace(NUMBERED, grouping=CoarseGrouping.whole(3), class_names=("all/1", "all/2", "all/3"))
    for pattern in ("*/*.png", "*.parquet"):
        (batch,) = read(f"{tmp_path}/{pattern}", model)
        assert [row.truth for row in batch.rows] == [Truth(UNKNOWN, UNKNOWN)]


CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "parquet"


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not here.")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raw_int", None),
        ("tensor_ext", None),
        ("hf_nobytes", "There is no image."),
        ("dup_label", "There are 2 columns 'label'; leave one."),
    ],
)
def test_odd_parquet_is_read_or_listed(read: Any, name: str, said: str | None) -> None:
    found = read(str(CASES / f"{name}.parquet"))
    faults = {fault.reason for batch in found for fault in batch.faults}
    assert faults == ({said} if said else set())
    assert sum(len(batch.rows) for batch in found) == (0 if said else 20)


def tensors(pixels: np.ndarray, permutation: Sequence[int] | None = None) -> pa.Array:
    kind = pa.fixed_shape_tensor(pa.uint8(), pixels.shape, permutation=permutation)
    return pa.ExtensionArray.from_storage(kind, pa.array([pixels.ravel()], kind.storage_type))


@pytest.mark.parametrize(
    "image",
    [tensors(PIXELS), tensors(PIXELS[None]), tensors(PIXELS[:, :, None]), tensors(PIXELS.T.copy(), (1, 0))],
    ids=["plain", "channel first", "channel last", "turned"],
)
def test_tensors_are_read_in_their_logical_shape(read: Any, tmp_path: Path, image: pa.Array) -> None:
    (batch,) = read(str(write_columns(tmp_path / "one.parquet", image, [7])))
    assert not batch.faults
    np.testing.assert_array_equal(batch.rows[0].image, PIXELS)


def test_tensors_of_another_shape_are_refused(read: Any, tmp_path: Path) -> None:
    path = write_columns(tmp_path / "one.parquet", tensors(PIXELS.reshape(14, 56)), [7])
    (batch,) = read(str(path))
    assert [fault.reason for fault in batch.faults] == ["The images are tensors of 14 x 56; expected 28 x 28."]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": pa.array([{"path": "a.png"}])}, "expected a struct with bytes"),
        ({"picture": pa.array([b"x"])}, "There is no column 'image', but picture"),
        ({"image": pa.array([None], pa.null())}, "There is no image."),
        ({"image": pa.array([[b"x"]])}, "expected 28 x 28 whole numbers"),
        ({"image": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))}, "expected"),
    ],
)
def test_odd_columns_are_faults(read: Any, tmp_path: Path, columns: dict[str, pa.Array], said: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "odd.parquet")
    (batch,) = read(str(tmp_path / "odd.parquet"))
    assert not batch.rows
    assert said in batch.faults[0].reason


def test_long_images_are_held_once(read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 2**22)
    # Half a gibibyte in memory, were each of them held.
    pictures = pa.chunked_array([pa.array([bytes(2**23)])] * 64)
    path = write_columns(tmp_path / "long.parquet", pictures, [7] * 64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (batch,) = read(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000
    assert {fault.reason for fault in batch.faults} == {"The image has 8 MiB; at most 4 MiB are read."}


def test_odd_names_and_links_are_faults(read: Any, tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    for name, content in ((b"caf\xe9.png", png(PIXELS)), (b"b\xe9d.png", b"torn"), (b"z.png", png(PIXELS))):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    (folder / "link.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    (batch,) = read(f"{tmp_path}/*/*.png")
    assert labels([batch]) == [7, 7]
    listed = UnreadImages.of(batch.faults).listed
    assert [(Path(fault.file).name, fault.reason[:21]) for fault in listed] == [
        ("b\\xe9d.png", "The file is not a PNG"),
        ("link.png", "The link leads to no "),
        ("pipe.png", "It is not a regular f"),
    ]

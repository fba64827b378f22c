import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from clustnet.bundles.bundle import GATE, MIXTURE, Bundle, expert_graph
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import Predictor
from clustnet.errors import UserError
from clustnet.files import sha256_of
from tests.synthetic import COARSE, made_up_drift, write_bundle


@pytest.fixture
def folder(synthetic_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(synthetic_bundle, tmp_path / "bundle"))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def entry(folder: Path, name: str) -> Any:
    return json.loads((folder / "manifest.json").read_text())[name]


@pytest.mark.parametrize("coarse", [1, 2, 3])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("colour", [True, False])
def test_a_sound_bundle_opens(tmp_path: Path, coarse: int, named: bool, colour: bool) -> None:
    folder = write_bundle(tmp_path / "bundle", coarse=coarse, named=named, colour=colour)
    bundle = Bundle(folder)
    manifest = bundle.manifest
    assert manifest.graphs() == [GATE, *(expert_graph(i) for i in range(5)), MIXTURE]
    assert bundle.path(GATE) == folder / "gate.onnx"
    classes = 10 if named else 5 * coarse
    assert manifest.class_map.array().shape == (5, coarse, classes)
    assert manifest.input.colour == colour
    assert manifest.grouping().labels == tuple(COARSE[coarse])
    members = [subtype.coarse_label for subtype in manifest.subtypes]
    assert manifest.membership().tolist() == [[label == member for member in members] for label in COARSE[coarse]]
    names = [f"{label}/{number}" for label in COARSE[coarse] for number in range(1, 6)]
    assert list(manifest.class_names) == ([str(digit) for digit in range(10)] if named else names)


def test_a_drift_reference_is_optional(folder: Path) -> None:
    assert Bundle(folder).manifest.drift is None
    edit(folder, drift=made_up_drift())
    drift = Bundle(folder).manifest.drift
    assert drift
    assert drift.model_dump() == made_up_drift()
    assert list(drift.counts()) == ["expert_load", "guess", "confidence", "brightness"]


def _no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"schema_version": 3,')


def _huge_manifest(folder: Path) -> None:
    with (folder / "manifest.json").open("ab") as file:
        file.truncate(17 * 2**20)


def _lost_key(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "experts"}))


def _unknown_key(folder: Path) -> None:
    edit(folder, colour="blue")


def _map_row_too_heavy(folder: Path) -> None:
    class_map = entry(folder, "class_map")
    class_map["values"][2][1] = 5 * [0.0] + 5 * [0.4]
    edit(folder, class_map=class_map)


def _map_of_another_shape(folder: Path) -> None:
    class_map = entry(folder, "class_map")
    class_map["values"].pop()
    edit(folder, class_map=class_map)


def _map_without_numbers(folder: Path) -> None:
    class_map = entry(folder, "class_map")
    class_map["values"][0][0][0] = float("nan")
    edit(folder, class_map=class_map)


def _map_across_coarse_labels(folder: Path) -> None:
    class_map = entry(folder, "class_map")
    class_map["values"][2][1] = [1.0] + 9 * [0.0]
    edit(folder, class_map=class_map | {"kind": "cells", "reference_images": 0, "reference_indices": []})


def _map_of_cells_with_references(folder: Path) -> None:
    edit(folder, class_map=entry(folder, "class_map") | {"kind": "cells"})


def _wrong_number_of_references(folder: Path) -> None:
    edit(folder, class_map=entry(folder, "class_map") | {"reference_images": 3})


def _no_temperature(folder: Path) -> None:
    edit(folder, calibration=entry(folder, "calibration") | {"temperature": 0})


def _endless_temperature(folder: Path) -> None:
    edit(folder, calibration=entry(folder, "calibration") | {"temperature": float("inf")})


def _score_without_number(folder: Path) -> None:
    score = {"name": "a", "value": float("nan"), "split": "b", "images": 1, "protocol": "c", "seed": 0}
    edit(folder, scores=[score])


def _threshold_above_every_confidence(folder: Path) -> None:
    edit(folder, abstention=entry(folder, "abstention") | {"threshold": 1.5})


def _drift(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, drift=made_up_drift() | changes)


def _unlisted_graph(folder: Path) -> None:
    edit(folder, files={k: v for k, v in entry(folder, "files").items() if k != MIXTURE})


def _subtype_of_no_coarse_label(folder: Path) -> None:
    edit(folder, subtypes=[subtype | {"coarse_label": "10"} for subtype in entry(folder, "subtypes")])


def _label_without_subtypes(folder: Path) -> None:
    edit(folder, subtypes=[subtype | {"coarse_label": "0-4"} for subtype in entry(folder, "subtypes")])


def _same_label_twice(folder: Path) -> None:
    edit(folder, coarse_labels=["0-4", "0-4"])


def _same_subtype_name_twice(folder: Path) -> None:
    edit(folder, subtypes=[subtype | {"name": "zero"} for subtype in entry(folder, "subtypes")])


def _no_subtype(folder: Path) -> None:
    edit(folder, subtypes=[])


def _input(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, input=entry(folder, "input") | changes)


def _altered_byte(folder: Path) -> None:
    content = bytearray((folder / GATE).read_bytes())
    content[100] ^= 1
    (folder / GATE).write_bytes(content)


def _lost_expert(folder: Path) -> None:
    (folder / expert_graph(3)).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_manifest, r"is not a bundle: it holds no manifest\.json; make one with 'clustnet export'"),
        (_no_json, "is not a valid manifest: Invalid JSON"),
        (_huge_manifest, "is larger than 16 MiB, so it is not a manifest; export the run again"),
        (_lost_key, "experts: Field required"),
        (_unknown_key, "colour: Extra inputs are not permitted"),
        (_map_row_too_heavy, "class_map: the class map has a row that sums to 2, not to 1"),
        (_map_of_another_shape, r"the class map must have the shape .* = \[5, 2, 10\]"),
        (_map_without_numbers, r"class_map\.values\.0\.0\.0"),
        (_map_across_coarse_labels, "has a cell that stands for a subtype of another coarse label"),
        (_map_of_cells_with_references, "class_map: a class map has reference images, or its kind is cells"),
        (_wrong_number_of_references, "reference_images is not the number of reference_indices"),
        (_no_temperature, r"calibration\.temperature: Input should be greater than 0"),
        (_endless_temperature, r"calibration\.temperature: Input should be a finite number"),
        (_score_without_number, r"scores\.0\.value: Input should be a finite number"),
        (_threshold_above_every_confidence, r"abstention\.threshold: Input should be less than or equal to 1"),
        (_drift(images=99), "drift: the counts of expert_load do not add up to the number of images"),
        (_drift(expert_load=[50, 50]), "drift must count every expert and every subtype"),
        (_drift(guess=[100]), "drift must count every expert and every subtype"),
        (_drift(guess=[-1, 101] + 8 * [0]), r"drift\.guess\.0: Input should be greater than or equal to 0"),
        (
            _drift(brightness={"edges": [0.1, 0.1], "counts": [50, 25, 25]}),
            r"drift\.brightness: the edges do not ascend",
        ),
        (
            _drift(brightness={"edges": [0.1], "counts": [100]}),
            r"drift\.brightness: there must be one count more than edges",
        ),
        (
            _drift(brightness={"edges": [], "counts": [100]}),
            r"drift\.brightness\.edges: List should have at least 1 item",
        ),
        (_unlisted_graph, r"files must list mixture\.onnx"),
        (_subtype_of_no_coarse_label, "every subtype needs one of the coarse_labels"),
        (_label_without_subtypes, "and every coarse label a subtype"),
        (_same_label_twice, "coarse_labels lists a name twice"),
        (_same_subtype_name_twice, "subtypes lists a name twice"),
        (_no_subtype, "subtypes: Tuple should have at least 1 item"),
        (_input(shape=[28, 0]), r"input\.shape.* should be greater than or equal to 1"),
        (_input(shape=[28, 28, 4]), r"input\.shape"),
        (_input(shape=[32, 32]), r"preparation mnist makes images of \[28, 28\], not \[32, 32\]"),
        (_input(preparation="fit", aspect="stretch"), r"input\.aspect: Input should be 'crop' or 'pad'"),
        (_altered_byte, r"is damaged: gate\.onnx does not match its SHA-256"),
        (_lost_expert, r"lacks experts/expert_3\.onnx, which its manifest lists"),
    ],
)
def test_each_damage_is_refused_by_name(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        Bundle(folder)
    assert str(folder) in str(error.value)


def list_files(folder: Path, *names: str) -> None:
    edit(folder, files=entry(folder, "files") | {name: sha256_of(folder / name) for name in names})


def put_weights_beside(folder: Path, graph: str, location: str) -> None:
    """Move all weights of a graph into a file."""
    model = onnx.load(folder / graph)
    onnx.save(model, folder / graph, save_as_external_data=True, location=location, size_threshold=0)
    list_files(folder, graph)


@pytest.mark.parametrize("location", ["weights.bin", "w" * 200])
@pytest.mark.parametrize(("graph", "place"), [(GATE, ""), (expert_graph(0), "experts/")])
def test_weights_beside_a_graph_are_listed(folder: Path, graph: str, place: str, location: str) -> None:
    put_weights_beside(folder, graph, location)
    message = f"is incomplete: {graph} reads weights from '{location}', which the manifest does not list; export it"
    with pytest.raises(UserError, match=message):
        Bundle(folder)
    list_files(folder, place + location)
    Bundle(folder)


def test_weights_named_in_another_order_are_refused(folder: Path) -> None:
    put_weights_beside(folder, GATE, "weights.bin")
    key, value = b"\n\x08location", b"\x12\x0bweights.bin"
    content = (folder / GATE).read_bytes()
    assert key + value in content
    (folder / GATE).write_bytes(content.replace(key + value, value + key))
    list_files(folder, GATE, "weights.bin")
    with pytest.raises(UserError, match=r"gate\.onnx reads weights from ''"):
        Bundle(folder)


# What the bundle of an earlier release says, taken from models/mnist of that release.
SCHEMA_2 = {
    "schema_version": 2,
    "name": "mnist",
    "version": "1",
    "method": "clustnet",
    "routing": "soft",
    "created": "2026-11-23T08:32:00Z",
    "opset": 18,
    "input": {"shape": [28, 28], "dtype": "uint8", "meaning": "0 = paper, 255 = ink", "preparation": "mnist"},
    "coarse_labels": ["0-4", "5-9"],
    "coarse_groups": [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]],
    "experts": 5,
    "fine_classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            SCHEMA_2,
            "has schema 2, but this release reads schema 3; export its run again with 'clustnet export RUN --out",
        ),
        ({"schema_version": 1}, "has schema 1, but this release reads schema 3; export its run again"),
        ({"schema_version": 4}, "has schema 4, .* schema 3; install the release of clustnet that wrote it"),
    ],
)
def test_another_schema_is_refused_in_one_sentence(tmp_path: Path, manifest: dict[str, Any], message: str) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=message) as error:
        Bundle(tmp_path)
    assert str(error.value).startswith(f"The bundle {tmp_path} has schema")
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize(
    "name", ["../gate.onnx", "/etc/passwd", "experts/../../x", "experts//x", ".hidden", "a\\b", "a/", ""]
)
def test_a_file_outside_the_bundle_is_refused(folder: Path, name: str) -> None:
    edit(folder, files=entry(folder, "files") | {name: "0" * 64})
    with pytest.raises(UserError, match=r"files.*String should match pattern"):
        Bundle(folder)


@pytest.mark.parametrize("name", ["a b", "", "../x", "x" * 65, "name\n"])
def test_a_name_unfit_for_addresses_is_refused(folder: Path, name: str) -> None:
    edit(folder, name=name)
    with pytest.raises(UserError, match="name: String should match pattern"):
        Bundle(folder)


def _edit_graph(folder: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change a graph and give it its right hash, so that only its signature is wrong."""
    model = onnx.load(folder / name)
    change(model)
    onnx.save(model, folder / name)
    edit(folder, files=entry(folder, "files") | {name: sha256_of(folder / name)})


def _rename_output(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["weights" if name == "routing" else name for name in node.output]
    model.graph.output[0].name = "weights"


def _append_identity(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["routing"], ["more"]))
    model.graph.output.append(helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, ["N", 5]))


def _signed_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _rename_output,
            r"gate\.onnx has weights .*, but the manifest expects routing tensor\(float\) \[N, 5\]",
        ),
        (_signed_input, r"gate\.onnx has image tensor\(int8\) .* expects image tensor\(uint8\) \[N, 28, 28\]"),
        (_append_identity, r"gate\.onnx has 3 inputs and outputs, not 2"),
    ],
)
def test_a_gate_of_another_signature_is_refused(
    folder: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    _edit_graph(folder, GATE, change)
    with pytest.raises(UserError, match=message):
        Predictor(Bundle(folder), "cpu")


def test_an_expert_of_another_signature_is_refused(folder: Path) -> None:
    shutil.copy(folder / GATE, folder / expert_graph(2))
    edit(folder, files=entry(folder, "files") | {expert_graph(2): sha256_of(folder / GATE)})
    with pytest.raises(UserError, match=r"expert_2\.onnx has routing .* expects coarse_probability"):
        Predictor(Bundle(folder), "cpu")


def test_another_number_of_experts_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    class_map = entry(folder, "class_map")
    class_map["values"].pop()
    edit(folder, experts=4, class_map=class_map)
    with pytest.raises(UserError, match=r"gate\.onnx has routing .*\[N, 5\], but .*\[N, 4\]"):
        Predictor(Bundle(folder), "cpu")


def test_a_file_without_a_graph_is_refused(folder: Path) -> None:
    (folder / MIXTURE).write_bytes(b"no graph")
    edit(folder, files=entry(folder, "files") | {MIXTURE: sha256_of(folder / MIXTURE)})
    with pytest.raises(UserError, match=r"mixture\.onnx cannot be loaded"):
        Predictor(Bundle(folder), "cpu")


def test_confidence_under_the_threshold_is_refused(folder: Path) -> None:
    threshold = float(np.float32(0.1))
    edit(folder, abstention=entry(folder, "abstention") | {"threshold": threshold})
    below, above = np.nextafter(np.float32(threshold), np.float32([0, 1]))
    refused = Bundle(folder).manifest.abstention.refuses(np.array([0, below, threshold, above, 1], np.float32))
    assert refused.tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize(
    ("coarse", "colour", "named"),
    [(1, False, True), (2, False, True), (2, False, False), (3, True, True), (3, True, False)],
)
def test_predictions_follow_the_formula(tmp_path: Path, coarse: int, colour: bool, named: bool, hard: bool) -> None:
    """The graphs against plain numpy: softmax(ln q / T) of q_c = sum_e w_e sum_k p_ek M[e,k,c]."""
    folder = write_bundle(tmp_path / "bundle", coarse=coarse, colour=colour, named=named, hard=hard)
    predictor = Predictor(Bundle(folder), "cpu")
    manifest = predictor.manifest
    images = np.random.default_rng(1).integers(0, 256, (7, *manifest.input.shape), dtype=np.uint8)
    found = predictor.predict(images)
    w, p, m = found.routing, found.expert_probability, manifest.class_map.array()
    if hard:
        w = (w == w.max(axis=1, keepdims=True)).astype(np.float32)
    np.testing.assert_allclose(p.sum(axis=2), 1, atol=1e-6)
    expected_coarse, expected = np.zeros((7, coarse)), np.zeros((7, len(manifest.subtypes)))
    for n, e, k in np.ndindex(7, 5, coarse):
        expected_coarse[n, k] += w[n, e] * p[n, e, k]
        expected[n] += w[n, e] * p[n, e, k] * m[e, k]
    expected **= 1 / manifest.calibration.temperature
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.coarse_probability, expected_coarse, atol=1e-6)
    np.testing.assert_allclose(found.class_probability, expected, atol=1e-6)
    np.testing.assert_allclose(found.class_probability.sum(axis=1), 1, atol=1e-5)
    guess = guesses(found.coarse_probability, found.class_probability, manifest.membership())
    assert (manifest.grouping().coarse(guess) == found.coarse_probability.argmax(axis=1)).all()

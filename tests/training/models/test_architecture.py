import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.errors import UserError
from training.models.architecture import Architecture, Step, parse_architecture, read_architecture, read_architectures

FILES = sorted(Path("configs/architectures").glob("*.json"))

# The network that the format's own documentation says its example becomes; the middle layer, printed there in bold,
# is the embedding.
DOCUMENTED = """
50[5x5] 50[5x5]_bn max[2x2] 50[5x5] 50[5x5]_bn max[2x2]
120[4x4] 120[4x4]_bn
50[4x4] 50[4x4]_bn ups*[2x2] 50[5x5] 50[5x5]_bn ups*[2x2] 1[5x5]
"""


def described(*layers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "a", "batch_size": 8, "layers": [{"type": "Input", "output_shape": [1, 8, 8]}, *layers], **fields}


def conv(**fields: Any) -> dict[str, Any]:
    return {"type": "Conv2D", "num_filters": 2, "filter_size": [3, 3], "non_linearity": "rectify", **fields}


DENSE = {"type": "Dense", "num_units": 4, "non_linearity": "linear"}


@st.composite
def architectures(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid architecture of a few layers of every type."""
    shape = (draw(st.integers(1, 2)), *draw(st.tuples(*[st.integers(4, 12)] * 2)))
    layers: list[dict[str, Any]] = [{"type": "Input", "output_shape": list(shape)}]
    kinds = draw(
        st.lists(st.sampled_from(["Conv2D", "Deconv2D", "MaxPool2D", "MaxPool2D*", "Dense", "Reshape"]), max_size=5)
    )
    for kind in [*kinds, "Dense"]:
        channels, height, width = shape
        if kind == "Dense":
            units = draw(st.sampled_from([2, 4, 12]))
            layers.append({"type": kind, "num_units": units, "non_linearity": draw(st.sampled_from(["linear", "elu"]))})
            shape = (1, 1, units)
        elif kind == "Reshape":
            shape = draw(
                st.sampled_from([(width, channels, height), (1, 1, math.prod(shape)), (channels, width, height)])
            )
            layers.append({"type": kind, "output_shape": list(shape)})
        elif kind.startswith("MaxPool"):
            size = [draw(st.sampled_from([d for d in range(1, side + 1) if side % d == 0])) for side in shape[1:]]
            layers.append({"type": kind, "filter_size": size})
            shape = (channels, height // size[0], width // size[1])
        else:
            mode = draw(st.sampled_from(["valid", "same", "full"]))
            size = [
                draw(st.sampled_from([s for s in (1, 2, 3) if s <= side and (mode != "same" or s % 2)]))
                for side in shape[1:]
            ]
            sign = {"valid": -1, "same": 0, "full": 1}[mode] * (1 if kind == "Conv2D" else -1)
            grown = [side + sign * (s - 1) for side, s in zip(shape[1:], size, strict=True)]
            if min(grown) < 1:
                continue
            filters = draw(st.integers(1, 3))
            layers.append(
                {
                    "type": kind,
                    "num_filters": filters,
                    "filter_size": size,
                    "conv_mode": mode,
                    "non_linearity": "rectify",
                }
            )
            shape = (filters, *grown)
    return {"name": "any", "batch_size": 4, "use_batch_norm": draw(st.booleans()), "layers": layers}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_files_survive_json(path: Path) -> None:
    content = json.loads(path.read_text())
    found = read_architectures(path)
    assert [json.loads(one.model_dump_json(exclude_unset=True)) for one in found] == content
    assert [Architecture.model_validate_json(one.model_dump_json()) for one in found] == found


@given(architectures())
def test_any_architecture_survives_json(content: dict[str, Any]) -> None:
    found = parse_architecture(content, "here")
    assert parse_architecture(json.loads(found.model_dump_json()), "here") == found
    assert json.loads(found.model_dump_json(exclude_unset=True)) == content


@given(architectures())
def test_decoder_mirrors_encoders_shapes(content: dict[str, Any]) -> None:
    found = parse_architecture(content, "here")
    encoder, decoder = found.encoder(), found.decoder()
    assert [(step.after, step.before) for step in reversed(encoder)] == [(step.before, step.after) for step in decoder]
    assert encoder[0].before == decoder[-1].after == tuple(content["layers"][0]["output_shape"])
    assert found.embedding == math.prod(encoder[-1].after)


def short_form(step: Step) -> list[str]:
    """Return a step as the format's documentation writes it."""
    size = "x".join(map(str, step.filter_size))
    if step.kind in ("pool", "replicate"):
        return [f"{'max' if step.kind == 'pool' else 'ups*'}[{size}]"]
    word = f"{step.after[0]}[{size}]"
    return [word, f"{word}_bn"] if step.batch_norm else [word]


def test_example_becomes_documented_network() -> None:
    example = read_architecture("configs/architectures/mnist.json:1")
    assert example.name == "c-5-6_p_c-5-16_p_c-4-120"
    words = [word for step in (*example.encoder(), *example.decoder()) for word in short_form(step)]
    assert words == DOCUMENTED.split()
    assert example.embedding == 120


def test_mirrored_layers_take_rebuilt_layers_non_linearity() -> None:
    layers = [conv(non_linearity="tanh"), conv(non_linearity="elu"), DENSE]
    found = parse_architecture(described(*layers), "here")
    assert [step.non_linearity for step in found.decoder()] == ["elu", "tanh", "tanh"]
    found = parse_architecture(described(*layers, output_non_linearity="sigmoid"), "here")
    assert [step.non_linearity for step in found.decoder()] == ["elu", "tanh", "sigmoid"]
    layers[1]["output_non_linearity"] = "softplus"
    found = parse_architecture(described(*layers), "here")
    assert [step.non_linearity for step in found.decoder()] == ["elu", "softplus", "tanh"]


def test_dense_layers_and_output_are_not_batch_normalised() -> None:
    found = parse_architecture(described(conv(), conv(), DENSE, use_batch_norm=True), "here")
    assert [step.batch_norm for step in found.encoder()] == [True, True, False]
    assert [step.batch_norm for step in found.decoder()] == [False, True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            described(conv(num_filters=0)),
            r"layer 1 \(Conv2D\): num_filters is 0, but must be a whole number from 1 to 65,536.",
        ),
        (
            described(conv(units=3)),
            r"layer 1 \(Conv2D\): there is no field 'units'; allowed are type, num_filters, filter_size",
        ),
        (
            described(conv(non_linearity="relu")),
            r"layer 1 \(Conv2D\): non_linearity is 'relu', but must be 'linear', 'rectify'",
        ),
        (
            described(conv(conv_mode="wide")),
            r"layer 1 \(Conv2D\): conv_mode is 'wide', but must be 'valid', 'same' or 'full'",
        ),
        (
            described({"type": "Dense", "num_units": 3}),
            r"layer 1 \(Dense\): non_linearity is missing; it must be 'linear'",
        ),
        (
            described({"type": "Pool"}),
            r"layer 1: type must be one of Input, Conv2D, MaxPool2D, MaxPool2D\*, Dense, Resh",
        ),
        (described({"num_units": 3}), r"layer 1: type must be one of Input"),
        (described(7), r"layer 1 is 7, but must be a mapping with a type"),
        (
            described(conv(filter_size=[3])),
            r"layer 1 \(Conv2D\): filter_size is \[3\], but must be two whole numbers from 1",
        ),
        (
            described(DENSE | {"num_units": 10**13}),
            r"num_units is 10000000000000, but must be a whole number from 1 to",
        ),
        (described(DENSE | {"num_units": True}), r"num_units is True, but must be a whole number"),
        (described(conv(), use_batch_norm=True, batch_size=1), "batch_size is 1, but use_batch_norm needs 2 images"),
        (described(DENSE, DENSE | {"type": "Input"}), r"layer 2 \(Input\): output_shape is missing"),
        (
            described({"type": "Input", "output_shape": [1, 8, 8]}, DENSE),
            r"layer 1 \(Input\): only the first layer may be",
        ),
        (described() | {"layers": [DENSE, DENSE]}, r"layer 0 \(Dense\): the first layer must be of type Input"),
        (described({"type": "MaxPool2D", "filter_size": [2, 2]}), "there is nothing to train; add a Conv2D"),
        (
            described({"type": "MaxPool2D", "filter_size": [3, 2]}, DENSE),
            r"layer 1 \(MaxPool2D\): filter_size 3x2 must divide",
        ),
        (
            described({"type": "MaxPool2D*", "filter_size": [2, 2], "num_filters": 3}, DENSE),
            r"num_filters is 3, but 1 come in",
        ),
        (
            described({"type": "Reshape", "output_shape": [1, 8, 9]}, DENSE),
            r"layer 1 \(Reshape\): output_shape 1x8x9 has not",
        ),
        (
            described(conv(filter_size=[9, 3])),
            r"layer 1 \(Conv2D\): filter_size 9x3 is too large for what comes in, 1x8x8",
        ),
        (described(conv(filter_size=[2, 3], conv_mode="same")), r"layer 1 \(Conv2D\): filter_size 2x3 must be odd"),
        (
            described(conv(), network_type="fully_connected"),
            r"layer 1 \(Conv2D\): network_type is fully_connected, which",
        ),
        (described(DENSE, network_type="convolutional"), "network_type is convolutional, but no layer is"),
        (
            described(DENSE, network_type="deep"),
            "network_type is 'deep', but must be 'convolutional' or 'fully_connected'",
        ),
        (described(DENSE, batch=3), "there is no field 'batch'; allowed are name, batch_size, use_batch_norm"),
        (described(DENSE, batch_size="many"), "batch_size is 'many', but must be a whole number from 1"),
        (
            described(DENSE | {"output_non_linearity": "tanh"}, output_non_linearity="elu"),
            "is elu and tanh; give it once",
        ),
        ([], "must be a mapping with the fields name, batch_size"),
    ],
)
def test_fault_names_what_is_allowed(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_architecture(content, "here, entry 0")
    assert str(error.value).startswith("here, entry 0")


def test_first_names_of_network_types_are_read() -> None:
    assert parse_architecture(described(DENSE, network_type="AE"), "here").network_type == "fully_connected"
    assert parse_architecture(described(conv(), network_type="CAE"), "here").network_type == "convolutional"


def test_entries_are_found_by_number_and_by_name(tmp_path: Path) -> None:
    path = tmp_path / "two.json"
    path.write_text(json.dumps([described(DENSE), described(conv()) | {"name": "b"}]))
    assert read_architecture(str(path)).name == read_architecture(f"{path}:0").name == "a"
    assert read_architecture(f"{path}:1") == read_architecture(f"{path}:b")
    with pytest.raises(UserError, match=r"two.json has no entry '2'; it has 0 \(a\), 1 \(b\)"):
        read_architecture(f"{path}:2")


def test_wrong_file_names_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_architectures(path)
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_architectures(path)
    path.write_text("{}")
    with pytest.raises(UserError, match="must be a list of architectures"):
        read_architectures(path)
    path.write_text(json.dumps([described(DENSE), described(DENSE | {"num_units": -1})]))
    with pytest.raises(
        UserError, match=r"wrong.json, entry 1: layer 1 \(Dense\): num_units is -1, but must be a whole number from 1"
    ):
        read_architectures(path)

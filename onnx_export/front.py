"""The encoder composed into each of the bundle's graphs, with its weights stored once.

Every graph reads images, as without an encoder. All larger weights are external data that the graphs share, in
``experts/weights.bin``: a graph may read only what lies beside or below it, so both gate and experts can read it there.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, checker, compose, external_data_helper, helper, numpy_helper, version_converter

from clustnet.bundles.bundle import SHARED_WEIGHTS
from clustnet.encoders import Concatenated, Embeds, Encoder
from clustnet.encoders.encoder import SMALLEST_LENGTH
from clustnet.errors import UserError
from onnx_export.graph_files import OPSET

PREFIX = "encoder/"
# Smaller tensors stay in each graph.
SMALLEST_SHARED_BYTES = 1024
ALIGNMENT_BYTES = 64

Place = tuple[int, int]


@dataclass(frozen=True)
class Front:
    """What goes before graphs that read embeddings.

    Args:
        model: the graph ``image`` uint8 [N, H, W, 3] -> ``embedding`` float32 [N, D]; the names of the encoder's own
            parts begin with ``encoder/``.
    """

    model: onnx.ModelProto

    @classmethod
    def of(cls, encoder: Embeds) -> "Front":
        """Return the graph of an encoder, or of several side by side.

        Raises:
            UserError: a graph has an opset that this release cannot compose.
        """
        if isinstance(encoder, Concatenated):
            return cls(_side_by_side(encoder))
        if not isinstance(encoder, Encoder):
            raise TypeError(f"no graph is known of {type(encoder).__name__}")
        return cls(_reading_images(encoder, PREFIX))

    def put_before(self, folder: Path) -> None:
        """Compose the encoder into every graph in a folder, so that it reads ``image`` instead of ``embedding``.

        Args:
            folder: the bundle's folder.
        """
        weights = _Weights()
        for path in sorted(folder.rglob("*.onnx")):
            head = onnx.load(path)
            front = onnx.ModelProto()
            front.CopyFrom(self.model)
            # Composing requires equal IR versions, although a later version can hold graphs of an earlier one.
            front.ir_version = head.ir_version = max(front.ir_version, head.ir_version)
            whole = compose.merge_models(front, head, io_map=[("embedding", "embedding")])
            weights.take_from(whole, (folder / SHARED_WEIGHTS).relative_to(path.parent).as_posix())
            path.write_bytes(whole.SerializeToString(deterministic=True))
        (folder / SHARED_WEIGHTS).write_bytes(weights.content)
        for path in folder.rglob("*.onnx"):
            checker.check_model(path, full_check=True)


class _Weights:
    """The larger tensors of several graphs in one file, which holds equal ones once."""

    def __init__(self) -> None:
        self.content = bytearray()
        self._places: dict[bytes, Place] = {}

    def take_from(self, model: onnx.ModelProto, location: str) -> None:
        """Replace the larger tensors of a graph by their places in the file.

        Args:
            model: the graph.
            location: the file's path, relative to the graph's folder.
        """
        for tensor in model.graph.initializer:
            raw = numpy_helper.to_array(tensor).tobytes()
            if len(raw) < SMALLEST_SHARED_BYTES:
                continue
            kind, shape, name = tensor.data_type, list(tensor.dims), tensor.name
            tensor.Clear()
            tensor.name, tensor.data_type = name, kind
            tensor.dims.extend(shape)
            # onnx sets a place only for a tensor with raw bytes, which are removed afterwards.
            tensor.raw_data = b""
            external_data_helper.set_external_data(tensor, location, *self._place(raw))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL

    def _place(self, raw: bytes) -> Place:
        """Return the offset and length of some bytes in the file, to which they are added if they are new."""
        digest = hashlib.sha256(raw).digest()
        if digest not in self._places:
            self.content += b"\0" * (-len(self.content) % ALIGNMENT_BYTES)
            self._places[digest] = len(self.content), len(raw)
            self.content += raw
        return self._places[digest]


def _side_by_side(encoder: Concatenated) -> onnx.ModelProto:
    """Return the graph of several encoders side by side, each one's part of the embedding scaled to length 1."""
    parts = [_reading_images(part, f"{PREFIX}{index}/") for index, part in enumerate(encoder.encoders)]
    whole = onnx.ModelProto()
    whole.CopyFrom(parts[0])
    for part in parts[1:]:
        whole.graph.node.extend(part.graph.node)
        whole.graph.initializer.extend(part.graph.initializer)
        whole.functions.extend(part.functions)
        whole.ir_version = max(whole.ir_version, part.ir_version)
    _merge_opsets(whole, parts)
    outputs, nodes = [part.graph.output[0].name for part in parts], []
    for output in outputs:
        own = f"beside/{output}"
        least, axis = f"{own}/least", f"{own}/axis"
        whole.graph.initializer.append(numpy_helper.from_array(np.array(SMALLEST_LENGTH, np.float32), least))
        whole.graph.initializer.append(numpy_helper.from_array(np.array([1]), axis))
        nodes += [
            helper.make_node("ReduceL2", [output, axis], [f"{own}/length"], keepdims=1),
            helper.make_node("Max", [f"{own}/length", least], [f"{own}/divisor"]),
            helper.make_node("Div", [output, f"{own}/divisor"], [f"{own}/unit"]),
        ]
    nodes.append(helper.make_node("Concat", [f"beside/{output}/unit" for output in outputs], ["embedding"], axis=1))
    whole.graph.node.extend(nodes)
    del whole.graph.output[:]
    whole.graph.output.append(_port("embedding", TensorProto.FLOAT, ["N", encoder.spec.features]))
    return whole


def _merge_opsets(whole: onnx.ModelProto, parts: Sequence[onnx.ModelProto]) -> None:
    """Give a graph the operator sets of all its parts."""
    versions: dict[str, int] = {}
    for part in parts:
        for opset in part.opset_import:
            if versions.setdefault(opset.domain, opset.version) != opset.version:
                raise UserError(
                    f"The encoders need different versions of the operators {opset.domain}; use only one of them."
                )
    del whole.opset_import[:]
    whole.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())


def _reading_images(encoder: Encoder, prefix: str) -> onnx.ModelProto:
    """Return the graph of one encoder, with the input ``image`` of a fixed size and the output ``embedding``.

    If several encoders are side by side, the prefix is longer, and the output keeps its own name, with the prefix.
    """
    model = _with_opset(onnx.load(encoder.graph), encoder)
    read, written = model.graph.input[0].name, model.graph.output[0].name
    model = compose.add_prefix(model, prefix, rename_inputs=True, rename_outputs=True)
    graph, read, written = model.graph, prefix + read, prefix + written
    before, image = _preparation(encoder, prefix, graph, read)
    alone = prefix == PREFIX
    output = "embedding" if alone else written
    after = [helper.make_node("Identity", [written], [output])] if alone else []
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(_port("image", TensorProto.UINT8, ["N", *image]))
    graph.output.append(_port(output, TensorProto.FLOAT, ["N", encoder.spec.features]))
    return model


def _with_opset(model: onnx.ModelProto, encoder: Encoder) -> onnx.ModelProto:
    """Return an encoder's graph in the opset of the bundle's graphs.

    Raises:
        UserError: it has another opset and cannot be converted.
    """
    found = next((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), 0)
    if found == OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # noqa: BLE001 - the converter raises what it likes
        reason = str(error).splitlines()[0]
        raise UserError(
            f"The encoder {encoder.graph} has opset {found} and cannot be converted to {OPSET} ({reason}); export it "
            f"with opset {OPSET}."
        ) from None


def _preparation(
    encoder: Encoder, prefix: str, graph: onnx.GraphProto, read: str
) -> tuple[list[onnx.NodeProto], list[int]]:
    """Return the nodes from ``image`` to what the encoder's graph reads, and the image's shape."""
    spec, shape = encoder.spec, list(encoder.input.shape)
    # Apart from the encoder's own names, which may be anything.
    prefix = f"preparation/{prefix}"
    constants: dict[str, Any] = {}
    nodes: list[onnx.NodeProto] = []
    last = "image"

    def add(operator: str, *names: str, **attributes: Any) -> None:
        nonlocal last
        following = f"{prefix}prepared_{len(nodes)}"
        nodes.append(helper.make_node(operator, [last, *(prefix + name for name in names)], [following], **attributes))
        last = following

    if shape[:2] != list(encoder.size):
        starts = [(have - want) // 2 for have, want in zip(shape, encoder.size, strict=False)]
        constants |= {"starts": np.array(starts), "axes": np.array([1, 2])}
        constants["ends"] = np.array(starts) + np.array(encoder.size)
        add("Slice", "starts", "ends", "axes")
    if not encoder.reads_bytes:
        constants |= {"levels": np.array(255, np.float32), "mean": np.array(spec.mean, np.float32)}
        constants["std"] = np.array(spec.std, np.float32)
        add("Cast", to=TensorProto.FLOAT)
        add("Div", "levels")
        add("Sub", "mean")
        add("Div", "std")
        add("Transpose", perm=[0, 3, 1, 2])
    graph.initializer.extend(numpy_helper.from_array(value, prefix + name) for name, value in constants.items())
    nodes.append(helper.make_node("Identity", [last], [read]))
    return nodes, shape


def _port(name: str, kind: int, shape: Sequence[str | int | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)

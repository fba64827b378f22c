"""A part of a graph that never ends."""

import onnx
from onnx import TensorProto, helper


def copying() -> onnx.GraphProto:
    """The body of a loop that hands its numbers on as they are."""
    return helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_after"]) for name in ("go_on", "copy")],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("copy", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on_after", TensorProto.BOOL, []),
            helper.make_tensor_value_info("copy_after", TensorProto.FLOAT, None),
        ],
    )

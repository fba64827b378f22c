"""The protocol's messages, as ``protocol.binpb`` describes them.

The file holds what NVIDIA's tritonclient 2.73 ships of ``grpc_service.proto`` and ``model_config.proto`` (BSD-3-Clause,
https://github.com/triton-inference-server/common), which define the protocol's messages and Triton's extensions;
``python -m tools.protocol`` writes it. The client itself would add 32 MB to the image. The messages have a pool of
their own, so that they and the client's can be in one process.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

FILE = Path(__file__).with_name("protocol.binpb")


def _read() -> tuple[DescriptorPool, Any]:
    """Return the pool, and the message classes by name."""
    files = FileDescriptorSet.FromString(FILE.read_bytes()).file
    pool = DescriptorPool()
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
    names = [(message.name, f"{file.package}.{message.name}") for file in files for message in file.message_type]
    return pool, SimpleNamespace(**{name: GetMessageClass(pool.FindMessageTypeByName(full)) for name, full in names})


POOL, messages = _read()

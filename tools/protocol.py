"""Write ``serving/rpc/protocol.binpb``, the messages of the Open Inference Protocol: ``python -m tools.protocol``."""

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

from serving.rpc.protocol import FILE


def described() -> FileDescriptorSet:
    """Return what the installed tritonclient ships; a file comes after those that it imports."""
    found = FileDescriptorSet()
    for module in (model_config_pb2, service_pb2):
        module.DESCRIPTOR.CopyToProto(found.file.add())
    return found


if __name__ == "__main__":
    FILE.write_bytes(described().SerializeToString(deterministic=True))

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import service_pb2

from serving.routes import RPC_SERVICE, RPCS
from serving.rpc.protocol import FILE, POOL, messages
from tools.protocol import described


def test_the_messages_are_the_clients() -> None:
    assert FileDescriptorSet.FromString(FILE.read_bytes()) == described()
    asked = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b"1"]).SerializeToString()
    assert messages.ModelInferRequest.FromString(asked).SerializeToString() == asked


def test_every_call_is_the_protocols() -> None:
    calls = {method.name for method in POOL.FindServiceByName(RPC_SERVICE).methods}
    assert {endpoint.path.rpartition("/")[2] for endpoint in RPCS} <= calls

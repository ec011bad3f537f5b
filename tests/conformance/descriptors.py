"""Whether the messages that the server speaks over gRPC are those of tritonclient: `descriptors.py --url HOST:PORT`.

The server's own descriptors come from its reflection service. What both sides have must be the same to the last number, and
what the server has alone must not stand where tritonclient has something else.
"""

import http.client
import json

import grpc
import tritonclient.grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tritonclient.grpc import model_config_pb2, service_pb2

from checks import PATIENCE_S, address, check, expect_equal, run

SERVICE = "inference.GRPCInferenceService"
REFLECTION = "grpc.reflection.v1"

# The methods that every server of the protocol has.
ALWAYS = {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"}
# What an extension that `/v2` lists adds to them. Most add members to what there is.
EXTENSIONS = {
    "binary_tensor_data": set(),
    "classification": set(),
    "parameters": set(),
    "schedule_policy": set(),
    "sequence": {"ModelStreamInfer"},
    "model_configuration": {"ModelConfig"},
    "model_repository": {"RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"},
    "model_repository(unload_dependents)": {"RepositoryModelUnload"},
    "statistics": {"ModelStatistics"},
    "system_shared_memory": {f"SystemSharedMemory{action}" for action in ("Status", "Register", "Unregister")},
    "cuda_shared_memory": {f"CudaSharedMemory{action}" for action in ("Status", "Register", "Unregister")},
    "logging": {"LogSettings"},
    "trace": {"TraceSetting"},
}


class Sides:
    """The descriptors of the server and of tritonclient."""

    def __init__(self, url):
        self.url = url
        files = reflected(url, SERVICE)
        pool = descriptor_pool.DescriptorPool()
        for file in in_order(files):
            pool.Add(file)
        self.server = [pool.FindFileByName(file.name) for file in files]
        self.client = [service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR]

    def both(self, kind):
        """Each thing of a kind that both sides have, by its full name; and the names that the server has alone."""
        server, client = ({item.full_name: item for file in files for item in kind(file)} for files in (self.server, self.client))
        shared = {name: (server[name], client[name]) for name in server.keys() & client.keys()}
        return shared, server.keys() - client.keys()


def reflected(url, symbol):
    """The file with a symbol and all that it imports, as the server's reflection service gives them."""
    ask, answer = reflection_messages()
    with grpc.insecure_channel(url) as channel:
        call = channel.stream_stream(
            f"/{REFLECTION}.ServerReflection/ServerReflectionInfo",
            request_serializer=ask.SerializeToString,
            response_deserializer=answer.FromString,
        )
        found, wanted = {}, [ask(file_containing_symbol=symbol)]
        while wanted:
            (given,) = list(call(iter([wanted.pop()]), timeout=PATIENCE_S))
            encoded = given.file_descriptor_response.file_descriptor_proto
            assert encoded, f"no descriptor, but {given}"
            for file in map(descriptor_pb2.FileDescriptorProto.FromString, encoded):
                found[file.name] = file
                wanted += [ask(file_by_filename=name) for name in file.dependency if name not in found]
    return list(found.values())


def reflection_messages():
    """The request and the answer of the reflection service, as far as they are needed."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="reflection.proto", package=REFLECTION, syntax="proto3")
    for message, fields in {
        "Request": [("file_by_filename", 3, field.TYPE_STRING), ("file_containing_symbol", 4, field.TYPE_STRING)],
        "Files": [("file_descriptor_proto", 1, field.TYPE_BYTES)],
        "Answer": [("file_descriptor_response", 4, field.TYPE_MESSAGE)],
    }.items():
        made = file.message_type.add(name=message)
        for name, number, kind in fields:
            label = field.LABEL_REPEATED if message == "Files" else field.LABEL_OPTIONAL
            of = f".{REFLECTION}.Files" if kind == field.TYPE_MESSAGE else None
            made.field.add(name=name, number=number, type=kind, label=label, type_name=of)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = (message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{REFLECTION}.{name}")) for name in ("Request", "Answer"))
    return tuple(classes)


def in_order(files):
    """The files, each behind those that it imports."""
    left, ordered = {file.name: file for file in files}, []
    while left:
        ready = [file for file in left.values() if not left.keys() & set(file.dependency)]
        assert ready, f"they import each other: {list(left)}"
        ordered += [left.pop(file.name) for file in ready]
    return ordered


def messages(file):
    """The messages of a file, and those inside them."""
    left = list(file.message_types_by_name.values())
    while left:
        message = left.pop()
        yield message
        left += message.nested_types


def enums(file):
    """The enumerations of a file, and those inside its messages."""
    yield from file.enum_types_by_name.values()
    for message in messages(file):
        yield from message.enum_types


def shape(field):
    """All that decides how a field is written, and how a client calls it."""
    of = field.message_type or field.enum_type
    oneof = field.containing_oneof
    return {
        "name": field.name,
        "json_name": field.json_name,
        "number": field.number,
        "type": field.type,
        "of": of.full_name if of else None,
        "repeated": field.is_repeated,
        "required": field.is_required,
        "packed": field.is_packed,
        "presence": field.has_presence,
        "oneof": oneof.name if oneof else None,
        "default": None if field.is_repeated else field.default_value,
    }


@check
def the_server_tells_all_of_its_files(sides):
    expect_equal({file.package for file in sides.server}, {"inference"})
    shared, alone = sides.both(messages)
    # There is much to compare, and nothing that clients have never heard of.
    assert len(shared) > 70, sorted(shared)
    expect_equal(sorted(alone), [])


@check
def fields_are_those_of_tritonclient(sides):
    compared = 0
    for name, (server, client) in sides.both(messages)[0].items():
        expect_equal((name, server.GetOptions().map_entry), (name, client.GetOptions().map_entry))
        for field in server.fields:
            by_number, by_name = client.fields_by_number.get(field.number), client.fields_by_name.get(field.name)
            assert by_number and by_name, f"tritonclient's {name} has no field {field.name} of number {field.number}"
            expect_equal((name, shape(field)), (name, shape(by_number)))
            compared += 1
        # Of a model's configuration the server tells a part. All else is whole.
        if client.file is not model_config_pb2.DESCRIPTOR:
            expect_equal((name, len(server.fields)), (name, len(client.fields)))
    assert compared > 200, f"only {compared} fields"


@check
def choices_have_the_same_members(sides):
    compared = 0
    for name, (server, client) in sides.both(messages)[0].items():
        for choice, oneof in server.oneofs_by_name.items():
            theirs = {field.name for field in client.oneofs_by_name[choice].fields}
            ours = {field.name for field in oneof.fields}
            # A member that only clients know must not be another field here.
            assert ours <= theirs, f"{name}.{choice}: {ours - theirs}"
            elsewhere = {field.name for field in server.fields} - ours
            expect_equal((name, choice, theirs & elsewhere), (name, choice, set()))
            compared += 1
    assert compared >= 5, f"only {compared} choices"


@check
def enumerations_are_those_of_tritonclient(sides):
    shared, alone = sides.both(enums)
    expect_equal(sorted(alone), [])
    assert "inference.DataType" in shared, sorted(shared)
    for name, (server, client) in shared.items():
        ours = {value.name: value.number for value in server.values}
        theirs = {value.name: value.number for value in client.values}
        expect_equal((name, ours), (name, {key: theirs.get(key) for key in ours}))
    # A tensor may be of each type that clients know.
    server, client = shared["inference.DataType"]
    expect_equal(len(server.values), len(client.values))


@check
def methods_are_those_of_tritonclient(sides):
    ours, theirs = methods(sides.server), methods(sides.client)
    expect_equal(ours, theirs)


def methods(files):
    """The methods of the service, with what they take and give."""
    (service,) = [file.services_by_name["GRPCInferenceService"] for file in files if file.services_by_name]
    expect_equal(service.full_name, SERVICE)
    return {
        method.name: (method.input_type.full_name, method.client_streaming, method.output_type.full_name, method.server_streaming)
        for method in service.methods
    }


@check
def what_is_claimed_can_be_called(sides):
    connection = http.client.HTTPConnection(sides.url, timeout=PATIENCE_S)
    connection.request("GET", "/v2")
    claimed = json.loads(connection.getresponse().read())["extensions"]
    connection.close()
    with tritonclient.grpc.InferenceServerClient(sides.url) as client:
        expect_equal(list(client.get_server_metadata().extensions), claimed)
    expect_equal(sorted(set(claimed) - EXTENSIONS.keys()), [])
    assert {"model_repository", "statistics"} <= set(claimed), claimed
    wanted = ALWAYS.union(*(EXTENSIONS[extension] for extension in claimed))
    for files in (sides.server, sides.client):
        expect_equal(sorted(wanted - methods(files).keys()), [])


if __name__ == "__main__":
    run(Sides(address()))

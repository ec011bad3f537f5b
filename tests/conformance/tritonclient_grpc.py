"""What tritonclient can do over gRPC: `tritonclient_grpc.py --url HOST:PORT`, the site of `models.py` behind it."""

import asyncio
import queue
import time

import grpc
import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

import triton_checks
from checks import PATIENCE_S, address, check, expect_equal, expect_error, run
from triton_checks import ROW, TYPED


class Grpc(triton_checks.Protocol):
    key = "grpc"
    document = {"as_json": True}
    invalid, missing, unprocessable = "StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND", "StatusCode.FAILED_PRECONDITION"
    deadline, unavailable = "StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE"

    def start(self, model, arrays):
        answers = Answers()
        self.client.async_infer(model, self.inputs(arrays), answers)
        return answers.next


class Answers:
    """A callback that keeps what it is called with."""

    def __init__(self):
        self.queue = queue.Queue()

    def __call__(self, result, error):
        self.queue.put((result, error))

    def next(self):
        result, error = self.queue.get(timeout=PATIENCE_S)
        if error is not None:
            raise error
        return result


@check
def several_requests_are_under_way_at_once(protocol):
    started = [protocol.start("pair", {"a": ROW * number, "b": ROW}) for number in range(20)]
    for number, finish in enumerate(started):
        expect_equal(finish().as_numpy("sum").tolist(), (ROW * number + ROW).tolist())


@check
def a_stream_answers_each_request(protocol):
    answers = Answers()
    protocol.client.start_stream(answers)
    for number in range(20):
        inputs = protocol.inputs({"a": ROW * number, "b": ROW})
        protocol.client.async_stream_infer("pair", inputs, request_id=str(number))
    found = {}
    for _ in range(20):
        result = answers.next()
        found[result.get_response().id] = result.as_numpy("sum").tolist()
    expect_equal(found, {str(number): (ROW * number + ROW).tolist() for number in range(20)})
    # An error is the answer to its request, and the stream goes on.
    protocol.client.async_stream_infer("nobody", inputs, request_id="lost")
    error = expect_error(answers.next, (protocol.missing, None), "nobody")
    assert error is not None
    protocol.client.async_stream_infer("pair", inputs, request_id="last")
    expect_equal(answers.next().get_response().id, "last")
    protocol.client.stop_stream()


@check
def a_stream_keeps_a_sequence_in_order(protocol):
    answers = Answers()
    protocol.client.start_stream(answers)
    for number in range(10):
        inputs = protocol.inputs({"x": np.array([[1]], dtype=np.float32)})
        protocol.client.async_stream_infer(
            "accumulator", inputs, sequence_id=99, sequence_start=number == 0, sequence_end=number == 9
        )
    totals = [float(answers.next().as_numpy("total")[0, 0]) for _ in range(10)]
    expect_equal(totals, [float(number + 1) for number in range(10)])
    protocol.client.stop_stream()


@check
def the_end_of_an_answer_is_told_where_asked_for(protocol):
    answers = Answers()
    protocol.client.start_stream(answers)
    inputs = protocol.inputs({"a": ROW, "b": ROW})
    protocol.client.async_stream_infer("pair", inputs, request_id="end", enable_empty_final_response=True)
    while not answers.next().get_response().parameters["triton_final_response"].bool_param:
        pass
    protocol.client.stop_stream()


@check
def a_stream_that_is_broken_off_leaves_the_server_unharmed(protocol):
    inputs = protocol.inputs({"x": ROW})
    protocol.client.start_stream(Answers())
    protocol.client.async_stream_infer("slow", inputs)
    protocol.client.stop_stream(cancel_requests=True)
    answers = Answers()
    protocol.client.start_stream(answers, stream_timeout=0.2)
    protocol.client.async_stream_infer("slow", inputs)
    expect_error(answers.next, protocol.deadline)
    protocol.client.stop_stream()
    expect_equal(protocol.infer("pair", {"a": ROW, "b": ROW}).as_numpy("sum").tolist(), (ROW * 2).tolist())


@check
def a_clients_timeout_ends_its_request(protocol):
    begun = time.monotonic()
    expect_error(lambda: protocol.infer("slow", {"x": ROW}, client_timeout=0.1), protocol.deadline)
    assert time.monotonic() - begun < 5


@check
def a_request_is_cancelled(protocol):
    answers = Answers()
    context = protocol.client.async_infer("slow", protocol.inputs({"x": ROW}), answers)
    context.cancel()
    expect_error(answers.next, ("StatusCode.CANCELLED", None))
    expect_equal(protocol.infer("pair", {"a": ROW, "b": ROW}).as_numpy("sum").tolist(), (ROW * 2).tolist())


@check
def messages_are_compressed(protocol):
    large = np.tile(ROW, (2_000, 1))
    for algorithm in ("gzip", "deflate"):
        result = protocol.infer("pair", {"a": large, "b": large}, compression_algorithm=algorithm)
        expect_equal(result.as_numpy("sum").tolist(), (large * 2).tolist())


@check
def typed_contents_are_as_good_as_raw_ones(protocol):
    stub = service_pb2_grpc.GRPCInferenceServiceStub(protocol.client._channel)
    members = {
        "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
        "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
        "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
    }
    request = service_pb2.ModelInferRequest(model_name="types")
    for name, array in TYPED.items():
        tensor = request.inputs.add(name=f"in_{name}", datatype=name, shape=array.shape)
        # FP16 and BF16 have no typed form: they go as raw contents only, and so a request has them all raw or none.
        getattr(tensor.contents, members.get(name, "fp32_contents")).extend(array.tolist())
    try:
        stub.ModelInfer(request)
        raise AssertionError("FP16 has no typed contents")
    except grpc.RpcError as error:
        expect_equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT)

    request = service_pb2.ModelInferRequest(model_name="pair")
    for name in ("a", "b"):
        tensor = request.inputs.add(name=name, datatype="FP32", shape=ROW.shape)
        tensor.contents.fp32_contents.extend(ROW.ravel().tolist())
    response = stub.ModelInfer(request)
    sums = np.frombuffer(response.raw_output_contents[0], dtype=np.float32)
    expect_equal(sums.tolist(), (ROW * 2)[0].tolist())

    def refused(change):
        wrong = service_pb2.ModelInferRequest()
        wrong.CopyFrom(request)
        change(wrong)
        try:
            answer = stub.ModelInfer(wrong)
        except grpc.RpcError as error:
            expect_equal((error.code(), error.details()), (grpc.StatusCode.INVALID_ARGUMENT, error.details()))
            return
        raise AssertionError(f"not refused: {answer}")

    refused(lambda wrong: wrong.raw_input_contents.append(ROW.tobytes()))
    refused(lambda wrong: wrong.inputs[0].contents.fp32_contents.append(1))
    refused(lambda wrong: wrong.inputs[0].contents.int_contents.append(1))
    refused(lambda wrong: wrong.inputs[0].shape.extend([-1]))
    refused(lambda wrong: wrong.inputs[0].shape.extend([2**62, 2**62]))
    refused(lambda wrong: wrong.inputs.append(wrong.inputs[0]))


@check
def the_aio_client_is_served_as_well(protocol):
    async def talk():
        async with tritonclient.grpc.aio.InferenceServerClient(protocol.url) as client:
            await triton_checks.the_calls_of_an_aio_client(protocol, client)
            inputs = protocol.inputs({"a": ROW, "b": ROW})

            async def requests():
                for number in range(5):
                    yield {"model_name": "pair", "inputs": inputs, "request_id": str(number)}

            answered = [result.get_response().id async for result, error in client.stream_infer(requests()) if error is None]
            expect_equal(answered, [str(number) for number in range(5)])

    asyncio.run(talk())


@check
def cuda_shared_memory_is_not_there(protocol):
    assert "cuda_shared_memory" not in protocol.client.get_server_metadata().extensions
    # There are no regions, and there can be none.
    expect_equal(len(protocol.client.get_cuda_shared_memory_status().regions), 0)
    register = protocol.client.register_cuda_shared_memory
    expect_error(lambda: register("region", b"aGFuZGxl", 0, 64), "StatusCode.UNIMPLEMENTED")


def main():
    url = address()
    with tritonclient.grpc.InferenceServerClient(url) as client:
        protocol = Grpc(tritonclient.grpc, client)
        protocol.url = url
        run(protocol)


if __name__ == "__main__":
    main()

"""The walk over the wire format: what it leaves in the file, what it hands on, and what it refuses."""

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initlint.errors import Reason, Refusal
from initlint.source import BytesSource
from initlint.wire import LARGE, MARKER_LENGTH, WINDOW, skeleton_of
from tests.graphs import model_of, tensor_of

TEXT = "g (float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }"


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def test_payloads_are_left_where_they_lie() -> None:
    """The skeleton parses to the same model, with a marker where the weight was and the weight's place beside it."""
    weight = np.arange(4096, dtype=np.float32).reshape(64, 64)
    data = model_of(TEXT, {"w": weight}).SerializeToString()
    skeleton = skeleton_of(BytesSource(data))
    proto = onnx.ModelProto.FromString(skeleton.message)
    assert len(skeleton.message) < 1000
    assert len(skeleton.payloads) == 1
    payload = skeleton.payload_of(proto.graph.initializer[0].raw_data)
    assert payload is not None
    assert data[payload.offset : payload.offset + payload.length] == weight.tobytes()
    assert len(proto.graph.initializer[0].raw_data) == MARKER_LENGTH
    assert proto.graph.node[0].op_type == "MatMul"


def test_small_payloads_are_copied() -> None:
    """A message below the bound is handed on as it is, its data with it."""
    weight = np.ones((4, 4), np.float32)
    data = model_of("g (float[1,4] x) => (float[1,4] y) { y = MatMul(x, w) }", {"w": weight}).SerializeToString()
    assert len(data) < LARGE
    skeleton = skeleton_of(BytesSource(data))
    assert skeleton.message == data
    assert skeleton.payloads == ()


def test_typed_fields_are_left_too() -> None:
    """float_data and double_data are fixed-width bytes like raw_data."""
    for number, array in ((1, np.ones(300, np.float32)), (11, np.ones(300))):
        typed = tensor_of(array, number, raw=False)
        data = model_of("g (float[300] x) => (float[300] y) { y = Add(x, w) }", {"w": typed}).SerializeToString()
        (payload,) = skeleton_of(BytesSource(data)).payloads
        assert (
            np.frombuffer(data[payload.offset : payload.offset + payload.length], array.dtype).tolist() == [1.0] * 300
        )


def test_weights_in_subgraphs_functions_and_constants() -> None:
    """Every place a tensor can hang is walked."""
    big = tensor_of(np.ones((32, 32), np.float32), 1)
    constant = onnx.helper.make_node("Constant", [], ["k"], value=big)
    inner = onnx.helper.make_graph([constant], "b", [], [onnx.ValueInfoProto(name="k")])
    inner.initializer.add().CopyFrom(big)
    branch = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    function = onnx.helper.make_function("d", "F", ["x"], ["k"], [constant], [onnx.helper.make_opsetid("", 18)])
    graph = onnx.helper.make_graph([branch, constant], "g", [], [])
    model = onnx.helper.make_model(graph, functions=[function])
    assert len(skeleton_of(BytesSource(model.SerializeToString())).payloads) == 2 * 2 + 1 + 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_putting_the_payloads_back_gives_the_file(sizes: list[int], seed: int) -> None:
    """The skeleton with its payloads is the model: nothing lost, nothing moved."""
    rng = np.random.default_rng(seed)
    arrays = {f"w{i}": rng.integers(0, 255, size).astype(np.uint8) for i, size in enumerate(sizes)}
    model = model_of("g (float[1] x) => (float[1] y) { y = Identity(x) }", arrays)
    data = model.SerializeToString()
    skeleton = skeleton_of(BytesSource(data))
    proto = onnx.ModelProto.FromString(skeleton.message)
    for tensor in proto.graph.initializer:
        payload = skeleton.payload_of(tensor.raw_data)
        if payload is not None:
            tensor.raw_data = data[payload.offset : payload.offset + payload.length]
    assert proto.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


@dataclass
class Counting:
    """A sparse file: a head, a gap of zeros that is a payload, and a count of the bytes that were read."""

    head: bytes
    gap: int
    tail: bytes
    read: int = 0

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.head) + self.gap + len(self.tail)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer."""
        self.read += len(buffer)
        for index in range(len(buffer)):
            place = offset + index
            if place < len(self.head):
                buffer[index] = self.head[place]
            elif place < len(self.head) + self.gap:
                return
            else:
                buffer[index] = self.tail[place - len(self.head) - self.gap]


def test_nothing_of_a_payload_is_read() -> None:
    """A file of 6 GB, inline, is walked by reading some windows of it."""
    gap = 6 << 30
    tensor = field(8, b"w") + b"\x08" + varint(gap // 4) + b"\x10\x01" + b"\x4a" + varint(gap)
    node = field(1, field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Mul"))
    graph_head = node + b"\x2a" + varint(len(tensor) + gap) + tensor
    head = b"\x08\x09" + b"\x3a" + varint(len(graph_head) + gap) + graph_head
    source = Counting(head, gap, field(8, b"\x10\x12"))
    skeleton = skeleton_of(source)
    assert source.read <= 4 * WINDOW
    (payload,) = skeleton.payloads
    assert (payload.offset, payload.length) == (len(head), gap)
    assert onnx.ModelProto.FromString(skeleton.message).opset_import[0].version == 18


GOOD = model_of(TEXT, {"w": np.ones((64, 64), np.float32)}).SerializeToString()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (GOOD[: len(GOOD) // 2], Reason.TRUNCATED),
        (GOOD + b"\0" * 16, Reason.MALFORMED),
        (GOOD + GOOD, Reason.MALFORMED),
        (b"\x3a" + varint(2**31 - 1) + b"\x0a\x00" * 10, Reason.TRUNCATED),
        (b"\x08" + b"\xff" * 11 + b"\x01", Reason.MALFORMED),
        (b"\x08" + b"\xff" * 9 + b"\x7f", Reason.MALFORMED),
        (b"\x0b" * 4096, Reason.MALFORMED),
        (field(99, b"x"), Reason.MALFORMED),
        (b"\x38\x01", Reason.MALFORMED),
    ],
    ids=["cut", "zeros", "twice", "length", "varint-long", "varint-wide", "groups", "unknown-field", "wrong-wire"],
)
def test_what_is_no_model_is_refused(data: bytes, reason: Reason) -> None:
    """With the reason, and before anything is allocated for it."""
    with pytest.raises(Refusal) as refusal:
        skeleton_of(BytesSource(data))
    assert refusal.value.reason == reason


def test_deep_nests_are_refused_without_recursion() -> None:
    """An If in an If in an If, 20,000 times."""
    body = b"\0" * LARGE
    for _ in range(3000):
        body = field(1, field(5, field(6, body)))
    with pytest.raises(Refusal) as refusal:
        skeleton_of(BytesSource(b"\x08\x09" + field(7, body)))
    assert refusal.value.reason == Reason.TOO_DEEP


def test_two_values_for_one_tensor_are_refused() -> None:
    """raw_data beside float_data, and raw_data twice."""
    payload = b"\0" * 1024
    for tensor in (field(9, payload) + field(4, payload), field(9, payload) + field(9, payload)):
        with pytest.raises(Refusal) as refusal:
            skeleton_of(BytesSource(b"\x08\x09" + field(7, field(5, tensor))))
        assert refusal.value.reason == Reason.TENSOR

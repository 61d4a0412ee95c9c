"""The walk over the wire format: what it leaves in the file, what it hands on, and what it refuses."""

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given, settings
from hypothesis import strategies as st

from initlint import wire
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


# -- limits, each at its edge ------------------------------------------------------------------------------------------

HEAD = b"\x08\x09"  # IR version 9
NAME = field(2, b"n" * LARGE)  # makes a graph, or a node, large enough to be looked into


def refused(data: bytes) -> Reason | None:
    """Why these bytes are no model; None where they are walked to their end."""
    try:
        skeleton_of(BytesSource(data))
    except Refusal as refusal:
        return refusal.reason
    return None


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_written_as_protobuf_does(value: int) -> None:
    """Seven bits a byte, the lowest first."""
    assert wire._varint(value) == _VarintBytes(value)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 16383, 16384, 2**63, 2**64 - 1])
def test_numbers_of_up_to_64_bits_are_read(value: int) -> None:
    """And the offset behind them is the next field's."""
    data = b"\x08" + varint(value) + field(8, b"\x10\x12")
    assert skeleton_of(BytesSource(data)).message == data


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (varint(2**64), Reason.MALFORMED),
        (varint(2**64 + 1), Reason.MALFORMED),
        (varint(2**65), Reason.MALFORMED),
        (b"\x80" * 10 + b"\x00", Reason.MALFORMED),  # eleven bytes, though it says zero
        (b"\x80", Reason.TRUNCATED),
        (b"\xff" * 9, Reason.TRUNCATED),
        (b"", Reason.TRUNCATED),
    ],
)
def test_numbers_of_more_bits_or_fewer_bytes_are_refused(number: bytes, reason: Reason) -> None:
    """A number cut short is a file cut short."""
    assert refused(b"\x08" + number) == reason


def test_the_number_of_fields_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields of all messages that are looked into are counted, those inside with those around them."""
    data = HEAD + field(8, b"\x10\x12") * 3 + field(7, NAME + field(5, field(8, b"w" * LARGE)))
    for most, reason in ((8, None), (9, None), (7, Reason.TOO_LARGE), (6, Reason.TOO_LARGE)):
        monkeypatch.setattr(wire, "MOST_FIELDS", most)
        assert refused(data) == reason


def test_the_size_of_a_skeleton_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of graph and functions, without the weights and without counting what is inside twice."""
    node = field(1, field(5, field(1, b"a" * LARGE)))
    weight = field(5, field(8, b"w") + field(9, b"\0" * 4096))
    graph, function = NAME + node + weight, field(1, b"f" * LARGE)
    kept = len(NAME + node) + len(field(5, field(8, b"w") + field(9, b"m" * MARKER_LENGTH))) + len(function)
    for most, reason in ((kept, None), (kept - 1, Reason.TOO_LARGE)):
        monkeypatch.setattr(wire, "LARGEST_SKELETON", most)
        assert refused(HEAD + field(7, graph) + field(25, function)) == reason


def test_the_depth_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, graph, node, attribute, graph: five messages."""
    inner = field(2, b"n" * LARGE)
    data = HEAD + field(7, field(1, field(5, field(6, inner))))
    for most, reason in ((5, None), (6, None), (4, Reason.TOO_DEEP)):
        monkeypatch.setattr(wire, "MOST_DEPTH", most)
        assert refused(data) == reason


@pytest.mark.parametrize(("length", "left"), [(LARGE - 1, 0), (LARGE, 1), (LARGE + 1, 1)])
def test_the_smallest_payload_that_is_left(length: int, left: int) -> None:
    """What is smaller than its marker would be is not worth leaving."""
    data = HEAD + field(7, NAME + field(5, field(8, b"w" * LARGE) + field(9, b"\0" * length)))
    skeleton = skeleton_of(BytesSource(data))
    assert len(skeleton.payloads) == left
    assert (skeleton.message == data) is (left == 0)


@pytest.mark.parametrize("weights", [1, 2, 5])
def test_windows(monkeypatch: pytest.MonkeyPatch, weights: int) -> None:
    """A file is read a window at a time, forwards, and no window twice; what is found does not depend on their size."""
    arrays = {f"w{index}": np.full((16, 16), index, np.float32) for index in range(weights)}
    data = model_of("g (float[1] x) => (float[1] y) { y = Identity(x) }", arrays).SerializeToString()
    whole = skeleton_of(BytesSource(data))
    reads: list[tuple[int, int]] = []

    class Watched(BytesSource):
        def read_into(self, offset: int, buffer: memoryview) -> None:
            reads.append((offset, len(buffer)))
            super().read_into(offset, buffer)

    assert skeleton_of(Watched(data)).payloads == whole.payloads
    assert reads == [(0, len(data))]
    for window in (64, 100, 1024):
        reads.clear()
        monkeypatch.setattr(wire, "WINDOW", window)
        found = skeleton_of(Watched(data))
        assert found.payloads == whole.payloads
        assert found.message.replace(found.marker, b"") == whole.message.replace(whole.marker, b"")
        assert all(count <= max(window, LARGE) for _, count in reads)
        outside = len(data) - sum(payload.length for payload in whole.payloads)
        assert len(reads) <= 3 + 4 * weights + 2 * outside // window


UNKNOWN32, UNKNOWN64 = varint(77 << 3 | 5) + b"\1\2\3\4", varint(77 << 3 | 1) + b"\1\2\3\4\5\6\7\x08"


@pytest.mark.parametrize("unknown", [UNKNOWN32, UNKNOWN64, UNKNOWN32 + UNKNOWN64])
def test_fields_of_a_later_format_are_stepped_over(unknown: bytes) -> None:
    """Four bytes and eight: what comes behind them is read as protobuf reads it."""
    tensor = field(5, field(8, b"w") + field(9, b"\0" * 4096))
    data = HEAD + field(7, NAME + unknown + tensor)
    skeleton = skeleton_of(BytesSource(data))
    assert len(skeleton.payloads) == 1
    proto = onnx.ModelProto.FromString(skeleton.message)
    assert proto.graph.initializer[0].name == onnx.ModelProto.FromString(data).graph.initializer[0].name == "w"


@pytest.mark.parametrize(
    "inside",
    [
        b"\x12\x05ab",  # a text of five bytes, of which two are the graph's
        UNKNOWN32[:-1],
        UNKNOWN64[:-1],
        b"\x02\x00",  # field 0
        varint(1 << 32 | 2) + b"\0",  # field 2^29
        varint(77 << 3 | 3) + b"\0",  # a group, which the format has given up
        varint(77 << 3 | 4) + b"\0",
        varint(77 << 3 | 6) + b"\0",
        varint(77 << 3 | 7) + b"\0",
    ],
)
def test_a_broken_field_inside_a_message_is_refused(inside: bytes) -> None:
    """One that reaches past its message, though the file goes on, and one that is none; protobuf itself agrees."""
    data = HEAD + field(7, NAME.replace(b"\x12", b"\x52") + inside) + field(8, b"\x10\x12" + b"\x0a\x08aaaaaaaa")
    assert refused(data) == Reason.MALFORMED


def test_the_largest_field_number_is_one() -> None:
    """2^29 - 1 is unknown and no fault."""
    assert refused(HEAD + field(7, NAME + varint(((1 << 29) - 1) << 3 | 2) + b"\0")) is None


@pytest.mark.parametrize(("data", "words"), [
    (field(7, b"") + field(7, b""), "has its graph twice"), (field(7, NAME + NAME), "field 2 of its graph twice"),
    (HEAD + HEAD, "field 1 of its model twice"),
])  # fmt: skip
def test_what_is_there_twice_is_named(data: bytes, words: str) -> None:
    """Two files run together, by a word that a person understands."""
    with pytest.raises(Refusal, match=words):
        skeleton_of(BytesSource(data))

"""A walk over a model's protobuf wire format that leaves the weights where they lie.

A weight's payload is one length-delimited field. The walk notes where each large one is and writes the message again
without it (a short marker in its place), so the protobuf parser sees some kilobytes of a file of any size, also beyond the 2 GiB
that protobuf allows. It is also the first line of defence: whatever is not a well-formed model ends here, in linear time,
before anything is allocated for it.
"""

import os
from typing import Protocol

import msgspec
import numpy as np

from initlint.errors import Reason, Refusal

__all__ = ["MARKER_LENGTH", "Payload", "Skeleton", "skeleton_of"]

LARGE = 512  # bytes of a message below which it is copied as it is: nothing in it is worth leaving out
MOST_FIELDS = 1_200_000  # entries of all messages that were looked into
MOST_DEPTH = 120  # nested messages; an If takes three levels
WINDOW = 1 << 20  # bytes read at a time
LARGEST_SKELETON = 1 << 30
MARKER_LENGTH = 24

VARINT, FIXED64, BYTES, GROUP_START, GROUP_END, FIXED32 = range(6)

# message -> {field number: message type of the field}; only messages on the way to tensors.
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
ONCE = {"model": frozenset({1, 2, 3, 4, 5, 6, 7}), "graph": frozenset({2}), "attribute": frozenset({1, 2, 3, 4, 5, 6})}
PAYLOADS = frozenset({4, 9, 10})  # float_data, raw_data, double_data: fixed-width little-endian bytes
DATA = frozenset({4, 5, 6, 7, 9, 10, 11})
FLOAT_DATA, RAW_DATA = 4, 9


class Readable(Protocol):
    """What the walk reads from."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from the offset on."""


class Payload(msgspec.Struct, frozen=True):
    """Bytes left in the file: where, how many, and the field of TensorProto they belong to."""

    offset: int
    length: int
    field: int


class Skeleton(msgspec.Struct, frozen=True):
    """The model without its large payloads; each is replaced by `marker` and its number, eight bytes little-endian."""

    message: bytes
    marker: bytes
    payloads: tuple[Payload, ...]

    def payload_of(self, raw: bytes) -> Payload | None:
        """The payload a tensor's raw_data stands for; None where it is the data itself."""
        if len(raw) != MARKER_LENGTH or not raw.startswith(self.marker):
            return None
        return self.payloads[int.from_bytes(raw[len(self.marker) :], "little")]


class _Reader:
    """Random access through one window, so that skipping a payload reads nothing."""

    def __init__(self, source: Readable) -> None:
        self.source = source
        self.start = 0
        self.window = b""

    def bytes_at(self, offset: int, count: int) -> bytes:
        """`count` bytes; within the window without reading."""
        begin = offset - self.start
        if begin < 0 or begin + count > len(self.window):
            size = min(max(count, WINDOW), self.source.size - offset)
            if size < count:
                raise Refusal(Reason.TRUNCATED, f"ends at byte {self.source.size} in the middle of a field")
            buffer = np.empty(size, np.uint8)
            self.source.read_into(offset, buffer.data)
            self.start, self.window, begin = offset, buffer.tobytes(), 0
        return self.window[begin : begin + count]

    def varint(self, offset: int, end: int) -> tuple[int, int]:
        """A varint and the offset behind it."""
        data = self.bytes_at(offset, min(10, end - offset))
        value = 0
        for index, byte in enumerate(data):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value, offset + index + 1
        if len(data) < 10:
            raise Refusal(Reason.TRUNCATED, f"ends inside a number at byte {offset}")
        raise Refusal(Reason.MALFORMED, f"holds a number of more than 64 bits at byte {offset}")


class _Frame(msgspec.Struct):
    """A message being walked: its kind, where it ends, what was written of it so far, and the tag it hangs on."""

    kind: str
    offset: int
    end: int
    tag: bytes
    parts: list[bytes]
    copied: int  # bytes up to this offset are in `parts`
    seen: set[int]
    data_fields: int = 0


def skeleton_of(source: Readable) -> Skeleton:
    """Walk a whole model. Raises Refusal where it is no well-formed ModelProto."""
    reader = _Reader(source)
    marker = os.urandom(MARKER_LENGTH - 8)
    payloads: list[Payload] = []
    stack = [_Frame("model", 0, source.size, b"", [], 0, set())]
    fields = 0
    kept = 0
    while True:
        frame = stack[-1]
        if frame.offset >= frame.end:
            if frame.copied < frame.end:
                frame.parts.append(_copy(reader, frame.copied, frame.end))
            body = b"".join(frame.parts)
            stack.pop()
            if not stack:
                return Skeleton(body, marker, tuple(payloads))
            kept += len(body) if len(stack) == 1 else 0
            if kept > LARGEST_SKELETON:
                raise Refusal(Reason.TOO_LARGE, "holds more than 1 GiB besides its weights")
            stack[-1].parts += (frame.tag, _varint(len(body)), body)
            continue
        fields += 1
        if fields > MOST_FIELDS:
            raise Refusal(Reason.TOO_LARGE, f"has more than {MOST_FIELDS} entries")
        _step(reader, stack, frame, payloads, marker)


def _step(reader: _Reader, stack: list[_Frame], frame: _Frame, payloads: list[Payload], marker: bytes) -> None:
    """Read one field of the frame: skip it, descend into it, or leave its payload out."""
    begin = frame.offset
    tag, offset = reader.varint(begin, frame.end)
    number, wire = tag >> 3, tag & 7
    if number == 0 or number >= 1 << 29:
        raise Refusal(Reason.MALFORMED, f"is no ONNX model: byte {begin} starts no field")
    _check_field(frame, number, wire, begin)
    if wire == VARINT:
        _, frame.offset = reader.varint(offset, frame.end)
        return
    if wire in (FIXED32, FIXED64):
        frame.offset = offset + (4 if wire == FIXED32 else 8)
        _inside(frame.offset, frame)
        return
    if wire != BYTES:
        raise Refusal(Reason.MALFORMED, f"is no ONNX model: byte {begin} has wire type {wire}")
    length, offset = reader.varint(offset, frame.end)
    end = offset + length
    _inside(end, frame)
    frame.offset = end
    if length < LARGE:
        return
    if frame.kind == "tensor":
        if number in PAYLOADS:
            frame.parts += (
                _copy(reader, frame.copied, begin),
                b"\x4a",  # raw_data, length-delimited
                _varint(MARKER_LENGTH),
                marker,
                len(payloads).to_bytes(8, "little"),
            )
            frame.copied = end
            payloads.append(Payload(offset, length, number))
        return
    inner = MESSAGES.get(frame.kind, {}).get(number)
    if inner is None:
        return
    if len(stack) >= MOST_DEPTH:
        raise Refusal(Reason.TOO_DEEP, f"nests more than {MOST_DEPTH} messages")
    frame.parts.append(_copy(reader, frame.copied, begin))
    frame.copied = end
    stack.append(_Frame(inner, offset, end, _varint(tag), [], offset, set()))


def _check_field(frame: _Frame, number: int, wire: int, begin: int) -> None:
    """Fields that a ModelProto does not have, and singular ones that come twice (two files run together)."""
    if frame.kind == "model":
        if number not in MODEL_FIELDS:
            raise Refusal(Reason.MALFORMED, f"is no ONNX model: field {number} at byte {begin}")
        if (wire == VARINT) != (number in (1, 5)):
            raise Refusal(Reason.MALFORMED, f"is no ONNX model: field {number} at byte {begin} is of the wrong kind")
    once = ONCE.get(frame.kind)
    if once is not None and number in once:
        if number in frame.seen:
            what = "graph" if (frame.kind, number) == ("model", 7) else f"field {number} of its {frame.kind}"
            raise Refusal(Reason.MALFORMED, f"has its {what} twice: two files run together?")
        frame.seen.add(number)
    if frame.kind == "tensor" and number in DATA:
        if frame.seen and number not in frame.seen:
            raise Refusal(Reason.TENSOR, "a tensor has its data in two fields")
        if number in PAYLOADS and number in frame.seen and wire == BYTES:
            raise Refusal(Reason.TENSOR, "a tensor has its data twice")
        frame.seen.add(number)


def _inside(end: int, frame: _Frame) -> None:
    if end > frame.end:
        if frame.kind == "model":
            raise Refusal(Reason.TRUNCATED, f"a field says it ends at byte {end}, the file at {frame.end}")
        raise Refusal(Reason.MALFORMED, f"a field of a {frame.kind} reaches past its end at byte {frame.end}")


def _copy(reader: _Reader, start: int, end: int) -> bytes:
    return reader.bytes_at(start, end - start) if end > start else b""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

"""Mutations of a protobuf message that know its structure: fields are moved, not only bytes, and lengths stay right."""

import random
from dataclasses import dataclass

__all__ = ["Field", "encode", "mutated", "parse"]

# Message -> {field number: message inside}; other length-delimited fields are bytes.
INSIDE = {
    "model": {7: "graph", 8: "opset", 14: "entry", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {3: "segment", 13: "entry"},
    "value": {2: "type"},
    "type": {1: "tensortype", 4: "sequence"},
    "sequence": {1: "type"},
    "tensortype": {2: "shape"},
    "shape": {1: "dim"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
}
INTERESTING = (
    0, 1, 2, 7, 8, 16, 17, 19, 20, 23, 63, 64, 127, 128, 255, 9999, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1,
    2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1,
)  # fmt: skip
TEXTS = (
    b"", b"x", b"w", b"y", b"h", b"Conv", b"Gemm", b"If", b"Constant", b"Loop", b"F", b"ai.onnx", b"\xff\xfe", b"\0", b"..",
    b"w.bin", b"location", b"then_branch", b"value", b"Identity", b"a" * 600,
)  # fmt: skip


@dataclass(slots=True)
class Field:
    """One field: number, wire type, and its content: a number, bytes, or the fields of a message."""

    number: int
    wire: int
    content: "int | bytes | list[Field]"
    kind: str = ""


def parse(data: bytes, kind: str = "model") -> list[Field]:
    """The fields of a valid message."""
    fields = []
    offset = 0
    inside = INSIDE.get(kind, {})
    while offset < len(data):
        tag, offset = _number(data, offset)
        number, wire = tag >> 3, tag & 7
        content: int | bytes | list[Field]
        if wire == 0:
            content, offset = _number(data, offset)
        elif wire == 2:
            length, offset = _number(data, offset)
            content = data[offset : offset + length]
            offset += length
            if number in inside:
                content = parse(content, inside[number])
        else:
            size = 8 if wire == 1 else 4
            content = data[offset : offset + size]
            offset += size
        fields.append(Field(number, wire, content, inside.get(number, "")))
    return fields


def _number(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(fields: list[Field]) -> bytes:
    """The message again."""
    parts = []
    for field in fields:
        parts.append(_varint(field.number << 3 | field.wire))
        content = field.content
        if isinstance(content, int):
            parts.append(_varint(content))
            continue
        payload = encode(content) if isinstance(content, list) else content
        if field.wire == 2:
            parts.append(_varint(len(payload)))
        parts.append(payload)
    return b"".join(parts)


def mutated(source: random.Random, seeds: list[list[Field]]) -> bytes:
    """One to four changes to one of the seeds, then perhaps one to its bytes."""
    fields = _copied(source.choice(seeds))
    for _ in range(source.choice((1, 1, 1, 2, 2, 3, 4))):
        _change(source, fields, seeds)
    data = encode(fields)
    if source.random() < 0.15:
        data = _damaged(source, data)
    return data


def _copied(fields: list[Field]) -> list[Field]:
    return [
        Field(item.number, item.wire, _copied(item.content) if isinstance(item.content, list) else item.content, item.kind)
        for item in fields
    ]  # fmt: skip


def _messages(fields: list[Field]) -> list[list[Field]]:
    """The message and all in it."""
    found = [fields]
    for message in found:
        found.extend(item.content for item in message if isinstance(item.content, list))
    return found


def _change(source: random.Random, fields: list[Field], seeds: list[list[Field]]) -> None:
    messages = _messages(fields)
    message = source.choice(messages)
    if not message:
        message.append(_fresh(source))
        return
    place = source.randrange(len(message))
    match source.randrange(10):
        case 0:
            del message[place]
        case 1:
            message.insert(source.randrange(len(message) + 1), message[place])
        case 2:
            source.shuffle(message)
        case 3:
            message.insert(place, _fresh(source))
        case 4:  # a message of the same kind from elsewhere
            donor = source.choice(_messages(source.choice(seeds)))
            if donor:
                message.insert(place, source.choice(_copied(donor)))
        case 5:
            message[place].number = source.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 20, 21, 22, 25, 99))
        case _:
            _alter(source, message[place])


def _alter(source: random.Random, field: Field) -> None:
    content = field.content
    if isinstance(content, int):
        field.content = source.choice(INTERESTING) if source.random() < 0.7 else content ^ 1 << source.randrange(64)
    elif isinstance(content, bytes) and field.wire == 2:
        pick = source.randrange(4)
        if pick == 0:
            field.content = source.choice(TEXTS)
        elif pick == 1:
            field.content = content[: source.randrange(len(content) + 1)]
        elif pick == 2:
            field.content = content + source.randbytes(source.choice((1, 4, 8, 600)))
        else:
            field.content = _damaged(source, content)
    elif isinstance(content, bytes):
        field.content = source.randbytes(len(content))
    else:
        source.shuffle(content)


def _fresh(source: random.Random) -> Field:
    number = source.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 25))
    if source.random() < 0.5:
        return Field(number, 0, source.choice(INTERESTING))
    return Field(number, 2, source.choice(TEXTS))


def _damaged(source: random.Random, data: bytes) -> bytes:
    if not data:
        return source.randbytes(3)
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4))):
        changed[source.randrange(len(changed))] = source.randrange(256)
    if source.random() < 0.3:
        del changed[source.randrange(len(changed)) :]
    return bytes(changed)

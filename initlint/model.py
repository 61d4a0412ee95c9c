"""Open a model file safely: a graph of records, with every weight still in its file.

The only module that opens a model. What it promises to everything behind it is written at the head of `graph.py`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import DecodeError

from initlint.contradictions import check_nodes
from initlint.convert import Converter
from initlint.errors import Reason, Refusal
from initlint.functions import check_functions
from initlint.graph import Model
from initlint.schema import model_class
from initlint.source import BytesSource, FileSource, describe_kind, open_file
from initlint.tensors import ExternalFiles, TensorReader
from initlint.utf8 import as_text
from initlint.wire import Skeleton, skeleton_of

__all__ = ["external_locations", "open_model"]

# A StringStringEntryProto with the key "location": two fields, and the length of the second in one byte or two.
LOCATION = re.compile(rb"\x0a\x08location\x12([\x00-\x7f]|[\x80-\xff][\x00-\x1f])", re.DOTALL)
ModelProto = model_class()
LONGEST_PRODUCER = 1000  # characters
NEWEST_IR = 20  # a higher number is no version of ONNX but noise


@contextmanager
def open_model(source: "str | os.PathLike[str] | bytes | Any") -> Iterator[Model]:
    """A model from a path, from bytes, from an `onnx.ModelProto` or an `onnx_ir.Model`; its files close with the context.

    Raises Refusal, with a reason, where the model is not complete, consistent and of a kind that is understood.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        memory = BytesSource(bytes(source))
        yield from _from_source(memory, None)
    elif isinstance(source, str | os.PathLike):
        file = open_file(source)
        try:
            yield from _from_source(file, os.fspath(source))
        finally:
            file.close()
    else:
        yield from _from_proto(source)


def external_locations(source: BytesSource | FileSource) -> list[str]:
    """Every location of external data that a model file names, sorted, without parsing it; none where it is no model."""
    try:
        message = skeleton_of(source).message
    except Refusal:
        return []
    found = set()
    for match in LOCATION.finditer(message):
        low, *high = match[1]
        length = (low & 0x7F) + (high[0] << 7 if high else 0)
        found.add(message[match.end() : match.end() + length].decode("utf-8", "replace"))
    return sorted(found)


def _from_source(source: BytesSource | FileSource, path: str | None) -> Iterator[Model]:
    if source.size == 0:
        raise Refusal(Reason.EMPTY, "the file is empty")
    head = bytearray(min(source.size, 64))
    source.read_into(0, memoryview(head))
    kind = describe_kind(bytes(head))
    if kind is not None:
        raise Refusal(*kind)
    files = ExternalFiles(path)
    try:
        yield _read(source, files, path)
    finally:
        files.close()


def _read(source: BytesSource | FileSource, files: ExternalFiles, path: str | None) -> Model:
    """The records alone: the message that they were made from, which may be as large, does not outlive them."""
    skeleton = skeleton_of(source)
    reader = TensorReader(source, files, skeleton.payload_of)
    return _model(_parse(skeleton), reader, path or "<memory>", source.size, files)


def _from_proto(source: Any) -> Iterator[Model]:
    """A model that the caller holds in memory; its weights are read from the proto when they are asked for."""
    if type(source).__module__.startswith("onnx_ir"):
        import onnx_ir  # noqa: PLC0415 - the caller has it imported

        source = onnx_ir.to_proto(source)
    if not hasattr(source, "graph") or not hasattr(source, "opset_import"):
        raise Refusal(Reason.USAGE, f"a model is a path, bytes or an onnx.ModelProto, not {type(source).__name__}")
    reader = TensorReader(BytesSource(b""), ExternalFiles(None), lambda _: None)
    yield _model(source, reader, "<memory>", max(0, source.ByteSize()), reader.files)


def _parse(skeleton: Skeleton) -> Any:
    """The skeleton as a ModelProto."""
    proto = ModelProto()
    try:
        proto.ParseFromString(skeleton.message)
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        raise Refusal(Reason.MALFORMED, f"is no ONNX model: {' '.join(str(error).split())[:120]}") from error
    except RecursionError as error:
        raise Refusal(Reason.TOO_DEEP, "nests too many messages") from error
    return proto


def _model(proto: Any, reader: TensorReader, path: str, size: int, files: ExternalFiles) -> Model:
    if not proto.HasField("graph"):
        raise Refusal(Reason.MALFORMED, "holds no graph")
    if not 0 < proto.ir_version <= NEWEST_IR:
        raise Refusal(Reason.MALFORMED, f"has IR version {proto.ir_version}")
    opsets = _opsets(proto)
    functions = check_functions(proto.functions)
    graph = Converter(reader, opsets, functions).convert(proto.graph)
    model = Model(
        path=path,
        size=size + files.size,
        ir_version=proto.ir_version,
        opset=opsets.get("", 1),
        opsets=opsets,
        producer=" ".join(
            as_text(text, "the producer")[:LONGEST_PRODUCER] for text in (proto.producer_name, proto.producer_version)
        ).strip(),
        graph=graph,
    )
    check_nodes(model)
    return model


def _opsets(proto: Any) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for entry in proto.opset_import:
        as_text(entry.domain, "the name of an operator set")
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if found.get(domain, entry.version) != entry.version:
            raise Refusal(Reason.GRAPH, f"imports the operators of {domain or 'ai.onnx'!r} twice")
        if entry.version < 1:
            raise Refusal(Reason.GRAPH, f"imports version {entry.version} of {domain or 'ai.onnx'!r}")
        found[domain] = entry.version
    return found

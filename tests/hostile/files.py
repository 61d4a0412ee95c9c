"""Files that are no model, or a broken one (ids w..)."""

import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.cases import FLOAT, case, field, mlp, network, tensor, varint

IR = field(1, 8)
OPSET = field(8, field(2, 17))


@case("w00", "analyse")
def control(_: Path) -> onnx.ModelProto:
    """A valid three-node network."""
    return mlp()


@case("w03", "refuse")
def random_bytes(_: Path) -> bytes:
    """4 KiB of noise."""
    return random.Random(0).randbytes(4096)


@case("w04", "refuse")
def lfs_pointer(_: Path) -> bytes:
    """A git-LFS pointer."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


@case("w05", "refuse")
def login_page(_: Path) -> bytes:
    """An HTML page."""
    return b"\n  <!DOCTYPE html>\n<html><head><title>Sign in</title></head><body></body></html>"


@case("w08", "refuse")
def zip_archive(_: Path) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", b"x" * 100)
    return buffer.getvalue()


@case("w09", "refuse")
def pickled(_: Path) -> bytes:
    """A pickle like a torch checkpoint."""
    return pickle.dumps({"state_dict": {"w": [1.0, 2.0]}}, protocol=2)


@case("w10", "refuse")
def safetensors(_: Path) -> bytes:
    """A safetensors file."""
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    return len(header).to_bytes(8, "little") + header + bytes(8)


@case("w12", "refuse")
def half(_: Path) -> bytes:
    """The control cut in the middle."""
    whole = mlp().SerializeToString()
    return whole[: len(whole) // 2]


@case("w14", "refuse")
def partial_download(_: Path) -> bytes:
    """8 MB, cut inside the one weight's bytes."""
    model = network([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor("w", 1448, 1448)], shape=("n", 1448))
    whole = model.SerializeToString()
    return whole[: len(whole) * 7 // 10]


@case("w15", "refuse")
def trailing_garbage(_: Path) -> bytes:
    """The control with 1 KiB of noise behind it."""
    return mlp().SerializeToString() + random.Random(1).randbytes(1024)


@case("w16", "refuse")
def twice(_: Path) -> bytes:
    """The control behind itself: protobuf would merge the two."""
    return mlp().SerializeToString() * 2


@case("w16b", "refuse")
def two_models(_: Path) -> bytes:
    """Two models run together."""
    other = network([helper.make_node("MatMul", ["x", "v"], ["z"])], [tensor("v", 8, 8, seed=5)], output="z")
    return mlp().SerializeToString() + other.SerializeToString()


@case("w18", "refuse")
def huge_claim(_: Path) -> bytes:
    """The graph says it has 2^31 - 1 bytes in a file of 30."""
    return (IR + b"\x3a" + varint((1 << 31) - 1)).ljust(30, b"\x0a")


@case("w19", "refuse")
def overlong_number(_: Path) -> bytes:
    """A number of twelve bytes."""
    return b"\x08" + b"\x88" + b"\x80" * 10 + b"\x00" + mlp().SerializeToString()[2:]


def nest(depth: int) -> bytes:
    """If nodes without an else branch, one inside the other; three messages a level."""
    prefixes: list[bytes] = []
    size = 0
    for _ in range(depth):
        for tag, before in (
            (b"\x32", field(1, b"then_branch") + field(20, 5)),  # attribute: name, type GRAPH, g
            (b"\x2a", field(1, b"c") + field(4, b"If")),  # node: input, op_type, attribute
            (b"\x0a", b""),  # graph: node
        ):
            prefix = before + tag + varint(size)
            prefixes.append(prefix)
            size += len(prefix)
    graph = b"".join(reversed(prefixes))
    value = field(1, b"c") + field(2, field(1, field(1, 9)))
    return IR + OPSET + field(7, field(11, value) + graph)


for _depth in (20, 32, 200, 20_000):
    case(f"w20-{_depth}", "refuse")(lambda _folder, depth=_depth: nest(depth))


@case("w21", "refuse")
def groups(_: Path) -> bytes:
    """200 000 groups of an unknown field, opened and never closed."""
    return mlp().SerializeToString() + varint(100 << 3 | 3) * 200_000


@case("w22b", "refuse")
def nested_types(_: Path) -> bytes:
    """A sequence of a sequence of ... forty levels."""
    kind = field(1, field(1, 1))
    for _level in range(40):
        kind = field(4, field(1, kind))
    model = mlp()
    model.graph.input.append(onnx.ValueInfoProto.FromString(field(1, b"deep") + field(2, kind)))
    return model.SerializeToString()


@case("w23", "refuse")
def no_graph(_: Path) -> bytes:
    """A version number and nothing else."""
    return IR


@case("w24", "refuse")
def beyond_protobuf(folder: Path) -> Path:
    """2.2 GiB in one weight, never written: a file of holes."""
    rows = 1 << 16
    nbytes = rows * 9000 * 4
    head = field(1, rows) + field(1, 9000) + field(2, FLOAT) + field(8, b"w") + b"\x4a" + varint(nbytes)
    inner = head
    graph = mlp().graph.SerializeToString() + b"\x2a" + varint(len(inner) + nbytes) + inner
    path = folder / "model.onnx"
    with path.open("wb") as file:
        file.write(IR + OPSET + b"\x3a" + varint(len(graph) + nbytes) + graph)
        file.truncate(file.tell() + nbytes)
    return path


@case("w25", "refuse")
def empty_nodes(_: Path) -> bytes:
    """Two million empty nodes in 4 MB."""
    return IR + OPSET + field(7, b"\x0a\x00" * 2_000_000)


@case("w27", "refuse")
def empty_initializers(_: Path) -> bytes:
    """Two million empty initializers in 4 MB."""
    return IR + OPSET + field(7, b"\x2a\x00" * 2_000_000)


@case("w30", "refuse")
def dangling(folder: Path) -> Path:
    """A link to nothing."""
    path = folder / "model.onnx"
    path.symlink_to(folder / "gone.onnx")
    return path


@case("w33", "refuse")
def text_form(_: Path) -> bytes:
    """A protobuf in text form."""
    return str(mlp()).encode()


@case("w34", "refuse")
def utf16(_: Path) -> bytes:
    """Text in UTF-16."""
    return "a note, not a model".encode("utf-16")


@case("w35", "refuse")
def zeros_1_tib(folder: Path) -> Path:
    """1 TiB of zeros that take no space."""
    path = folder / "model.onnx"
    path.touch()
    os.truncate(path, 1 << 40)
    return path


@case("w36", "refuse")
def operator_not_text(_: Path) -> bytes:
    """An operator type that is not UTF-8."""
    return mlp().SerializeToString().replace(b"Relu", b"R\xff\xfeu")


@case("w38", "judge")
def flipped(_: Path) -> bytes:
    """One byte in a hundred changed."""
    whole = bytearray(mlp().SerializeToString())
    source = random.Random(3)
    for index in range(len(whole)):
        if source.random() < 0.01:
            whole[index] ^= source.randrange(1, 256)
    return bytes(whole)


@case("w39", "refuse")
def zeros_64_mib(folder: Path) -> Path:
    """64 MiB of zeros."""
    path = folder / "model.onnx"
    path.touch()
    os.truncate(path, 64 << 20)
    return path


# -- of the same kinds ------------------------------------------------------------------------------------------------


@case("w01", "refuse")
def nothing(_: Path) -> bytes:
    """A file of no bytes."""
    return b""


@case("w31", "refuse")
def named_pipe(folder: Path) -> Path:
    """A pipe that nobody writes to."""
    path = folder / "model.onnx"
    os.mkfifo(path)
    return path


@case("w32", "refuse")
def device(folder: Path) -> Path:
    """A link to a device without an end."""
    path = folder / "model.onnx"
    path.symlink_to("/dev/zero")
    return path


@case("w40", "refuse")
def doubled_weights(_: Path) -> bytes:
    """One tensor of the graph comes twice."""
    model = mlp()
    model.graph.initializer.append(model.graph.initializer[0])
    return model.SerializeToString()


@case("w41", "refuse")
def reversed_fields(_: Path) -> bytes:
    """A model whose one graph is split over two fields, as protobuf's merging would allow."""
    model = mlp()
    first, second = onnx.GraphProto(), onnx.GraphProto()
    first.node.extend(model.graph.node)
    second.CopyFrom(model.graph)
    del second.node[:]
    return IR + OPSET + field(7, first.SerializeToString()) + field(7, second.SerializeToString())


@case("w42", "refuse")
def unknown_top_field(_: Path) -> bytes:
    """A field that no ModelProto has."""
    return mlp().SerializeToString() + field(99, b"hidden")


@case("w43", "refuse")
def split_payload(_: Path) -> bytes:
    """A weight's bytes in two pieces: the last wins for one parser, both for another."""
    proto = TensorProto(name="w", data_type=FLOAT, dims=[8, 8])
    payload = np.ones((8, 8), np.float32).tobytes()
    whole = proto.SerializeToString() + field(9, payload) + field(9, payload[::-1])
    graph = network([helper.make_node("MatMul", ["x", "w"], ["y"])], []).graph.SerializeToString()
    return IR + OPSET + field(7, graph + field(5, whole))


@case("w44", "refuse")
def large_split_payload(_: Path) -> bytes:
    """As before, with pieces large enough to be left in the file."""
    proto = TensorProto(name="w", data_type=FLOAT, dims=[8, 64])
    payload = np.ones((8, 64), np.float32).tobytes()
    whole = proto.SerializeToString() + field(9, payload) + field(9, payload[::-1])
    graph = network([helper.make_node("MatMul", ["x", "w"], ["y"])], []).graph.SerializeToString()
    return IR + OPSET + field(7, graph + field(5, whole))


@case("w45", "refuse")
def typed_data_twice(_: Path) -> bytes:
    """A weight whose float_data comes packed and then again, one by one."""
    proto = TensorProto(name="w", data_type=FLOAT, dims=[8, 8])
    packed = field(4, np.ones(32, np.float32).tobytes())
    loose = b"".join(varint(4 << 3 | 5) + np.float32(2).tobytes() for _item in range(33))
    graph = network([helper.make_node("MatMul", ["x", "w"], ["y"])], []).graph.SerializeToString()
    return IR + OPSET + field(7, graph + field(5, proto.SerializeToString() + packed + loose))


@case("w46", "refuse")
def gzip_file(_: Path) -> bytes:
    """A compressed model."""
    import gzip  # noqa: PLC0415 - beside its use

    return gzip.compress(mlp().SerializeToString(), mtime=0)


@case("w47", "refuse")
def ort_file(_: Path) -> bytes:
    """onnxruntime's own format."""
    return b"\x1c\x00\x00\x00ORTM" + bytes(100)


@case("w48", "analyse")
def unknown_inner_field(_: Path) -> bytes:
    """A field from a later version of ONNX inside a node is no reason to refuse."""
    model = mlp()
    node = model.graph.node[0].SerializeToString() + field(77, b"later")
    model.graph.node[0].ParseFromString(node)
    return model.SerializeToString()


@case("w49", "analyse")
def metadata(_: Path) -> onnx.ModelProto:
    """Metadata and documentation of every kind."""
    model = mlp()
    helper.set_model_props(model, {"author": "somebody", "license": "MIT"})
    model.doc_string = "A network."
    model.graph.doc_string = "Its graph."
    numpy_helper.to_array(model.graph.initializer[0])
    return model

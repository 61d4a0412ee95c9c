"""Weights kept in other files, and the files they must not reach (ids e..)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.hostile.cases import FLOAT, Want, case, network, tensor

PAYLOAD = tensor("w", 8, 8).raw_data
Entries = Sequence[tuple[str, str]]


def external(entries: Entries, *extents: int) -> TensorProto:
    """A weight outside the file."""
    proto = TensorProto(name="w", data_type=FLOAT, dims=extents or (8, 8), data_location=TensorProto.EXTERNAL)
    for key, value in entries:
        proto.external_data.add(key=key, value=value)
    return proto


def with_data(folder: Path, entries: Entries, payload: bytes = PAYLOAD) -> onnx.ModelProto:
    """One MatMul by an external weight, its file `w.bin`, and a secret in the folder above."""
    (folder / "w.bin").write_bytes(payload)
    return plain(folder, entries)


def plain(folder: Path, entries: Entries, *extents: int) -> onnx.ModelProto:
    """The same without a data file."""
    (folder.parent / "secret.bin").write_bytes(PAYLOAD)
    return network([helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], [external(entries, *extents)])


def entries_case(identity: str, want: Want, entries: Mapping[str, str] | Entries, payload: bytes = PAYLOAD) -> None:
    """A case that differs in its entries alone."""
    pairs = list(entries.items()) if isinstance(entries, Mapping) else list(entries)
    case(identity, want)(lambda folder: with_data(folder, pairs, payload))


entries_case("e00", "analyse", {"location": "w.bin"})
entries_case("e01", "refuse", {"location": "../../secret.bin"})
entries_case("e01b", "refuse", {"location": "../secret.bin"})
entries_case("e01c", "refuse", {"location": "./a/../../secret.bin"})
entries_case("e07", "refuse", {"offset": "0", "length": "256"})
entries_case("e08", "refuse", {"location": ""})
entries_case("e09", "refuse", {"location": "."})
entries_case("e09b", "refuse", {"location": "./"})
entries_case("e10", "refuse", {"location": "model.onnx"})
entries_case("e10b", "refuse", {"location": "./model.onnx"})
entries_case("e13", "refuse", {"location": "w.bin", "offset": "4096"})
entries_case("e15", "refuse", {"location": "w.bin", "length": "-256"})
entries_case("e15b", "refuse", {"location": "w.bin", "offset": "-1"})
entries_case("e16", "refuse", {"location": "w.bin", "length": str(2**62)})
entries_case("e17b", "refuse", {"location": "w.bin", "offset": str(2**64)})
entries_case("e19", "refuse", {"location": "w.bin", "length": "260"}, PAYLOAD + bytes(8))
entries_case("e20", "refuse", {"location": "w.bin", "offset": "1e3"})
entries_case("e20b", "refuse", {"location": "w.bin", "offset": " 0"})
entries_case("e20c", "refuse", {"location": "w.bin", "offset": "\u0660"})  # an Arabic-Indic zero
entries_case("e20d", "refuse", {"location": "w.bin", "offset": ""})
entries_case("e20e", "refuse", {"location": "w.bin", "offset": "0x0"})
entries_case("e21", "refuse", [("location", "w.bin"), ("location", "../secret.bin")])
entries_case("e21b", "refuse", [("location", "../secret.bin"), ("location", "w.bin")])
entries_case(
    "e22", "refuse", {"location": "w.bin", "__class__": "x", "__dict__": "y", "basepath": "/"}
)  # fmt: skip
entries_case("e22b", "refuse", {"location": "w.bin", "basepath": "/etc"})
entries_case("e23", "refuse", {"location": "gone.bin"})
entries_case("e24b", "refuse", {"location": "w.bin"}, b"")
entries_case("e24c", "refuse", {"location": "w.bin"}, PAYLOAD[:-4])
entries_case("e26", "analyse", {"location": "w.bin", "offset": "1", "length": "256"}, b"\0" + PAYLOAD)
entries_case("e27", "refuse", {"location": "w.bin\0.txt"})
entries_case("e28", "refuse", {"location": "C:\\x"})
entries_case("e28b", "refuse", {"location": "..\\..\\secret.bin"})
entries_case("e28c", "refuse", {"location": "C:w.bin"})
entries_case("e30", "refuse", {"location": "a/" * 500_000 + "w.bin"})
entries_case("e31", "refuse", {"location": "w.bin", "checksum": "0" * 40})


@case("e31b", "analyse")
def right_checksum(folder: Path) -> onnx.ModelProto:
    """A checksum that holds."""
    import hashlib  # noqa: PLC0415 - beside its use

    digest = hashlib.sha1(PAYLOAD, usedforsecurity=False).hexdigest()
    return with_data(folder, [("location", "w.bin"), ("checksum", digest)])


@case("e03", "refuse")
def absolute(folder: Path) -> onnx.ModelProto:
    """An absolute path."""
    return plain(folder, [("location", str(folder.parent / "secret.bin"))])


@case("e04", "refuse")
def link_out(folder: Path) -> onnx.ModelProto:
    """The data file is a link to one outside."""
    (folder / "w.bin").symlink_to(folder.parent / "secret.bin")
    return plain(folder, [("location", "w.bin")])


@case("e05", "refuse")
def folder_out(folder: Path) -> onnx.ModelProto:
    """The data file's folder is a link to one outside."""
    (folder / "sub").symlink_to(folder.parent)
    return plain(folder, [("location", "sub/secret.bin")])


@case("e06b", "analyse")
def link_inside(folder: Path) -> onnx.ModelProto:
    """A link that stays inside."""
    (folder / "blobs").mkdir()
    (folder / "blobs" / "w").write_bytes(PAYLOAD)
    (folder / "w.bin").symlink_to(Path("blobs") / "w")
    return plain(folder, [("location", "w.bin")])


@case("e06c", "refuse")
def hard_link(folder: Path) -> onnx.ModelProto:
    """A second name for a file from outside."""
    model = plain(folder, [("location", "w.bin")])
    os.link(folder.parent / "secret.bin", folder / "w.bin")
    return model


@case("e11", "refuse")
def endless(folder: Path) -> onnx.ModelProto:
    """A link to a device."""
    (folder / "w.bin").symlink_to("/dev/zero")
    return plain(folder, [("location", "w.bin")])


@case("e11b", "refuse")
def pipe(folder: Path) -> onnx.ModelProto:
    """A pipe that nobody writes to."""
    os.mkfifo(folder / "w.bin")
    return plain(folder, [("location", "w.bin")])


@case("e12", "refuse")
def loop(folder: Path) -> onnx.ModelProto:
    """A link to itself."""
    (folder / "w.bin").symlink_to("w.bin")
    return plain(folder, [("location", "w.bin")])


@case("e33", "refuse")
def sparse_tebibyte(folder: Path) -> onnx.ModelProto:
    """1 TiB that was never written."""
    (folder / "w.bin").touch()
    os.truncate(folder / "w.bin", 1 << 40)
    return plain(folder, [("location", "w.bin")], 1 << 19, 1 << 19)


@case("e34", "analyse", slow=True)
def many_pieces(folder: Path) -> onnx.ModelProto:
    """20 000 tensors in one file."""
    (folder / "w.bin").write_bytes(np.full(20_000, 0.001, np.float32).tobytes())
    stored = []
    for index in range(20_000):
        entries = [("location", "w.bin"), ("offset", str(4 * index)), ("length", "4")]
        proto = external(entries, 1)
        proto.name = f"p{index}"
        stored.append(proto)
    names = [proto.name for proto in stored]
    nodes = [helper.make_node("Sum", ["x", *names], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    return network(nodes, [*stored, tensor("w", 8, 8)])


@case("e37", "refuse")
def in_a_constant(folder: Path) -> onnx.ModelProto:
    """The way out in the value of a Constant node."""
    (folder.parent / "secret.bin").write_bytes(PAYLOAD)
    constant = helper.make_node("Constant", [], ["w"], value=external([("location", "../secret.bin")]))
    return network([constant, helper.make_node("MatMul", ["x", "w"], ["y"])], [])


@case("e39", "refuse")
def in_a_function(folder: Path) -> onnx.ModelProto:
    """The way out in a Constant inside a function."""
    (folder.parent / "secret.bin").write_bytes(PAYLOAD)
    constant = helper.make_node("Constant", [], ["w"], value=external([("location", "../secret.bin")]))
    body = [constant, helper.make_node("MatMul", ["a", "w"], ["b"])]
    function = helper.make_function("local", "Layer", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    model = network([helper.make_node("Layer", ["x"], ["y"], domain="local")], [], domains=("local",))
    model.functions.append(function)
    return model


def _cache(folder: Path) -> tuple[Path, Path]:
    blobs, snapshot = folder / "hub" / "blobs", folder / "hub" / "snapshots" / "0a1b"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    return blobs, snapshot


@case("e41", "analyse")
def hub_cache(folder: Path) -> Path:
    """The Hugging Face cache: model and data are both links into blobs beside the snapshot."""
    blobs, snapshot = _cache(folder)
    (blobs / "aa").write_bytes(plain(folder, [("location", "w.bin")]).SerializeToString())
    (blobs / "bb").write_bytes(PAYLOAD)
    (snapshot / "model.onnx").symlink_to("../../blobs/aa")
    (snapshot / "w.bin").symlink_to("../../blobs/bb")
    return snapshot / "model.onnx"


@case("e41b", "refuse")
def hub_cache_escape(folder: Path) -> Path:
    """The same layout, with a data link that leaves the cache."""
    blobs, snapshot = _cache(folder)
    (blobs / "aa").write_bytes(plain(folder, [("location", "w.bin")]).SerializeToString())
    (snapshot / "model.onnx").symlink_to("../../blobs/aa")
    (snapshot / "w.bin").symlink_to(folder.parent / "secret.bin")
    return snapshot / "model.onnx"


@case("e42", "refuse")
def in_a_branch(folder: Path) -> onnx.ModelProto:
    """The way out in an initializer of a subgraph."""
    (folder.parent / "secret.bin").write_bytes(PAYLOAD)
    output = helper.make_tensor_value_info("b", FLOAT, None)
    outside = [external([("location", "../secret.bin")])]
    then = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["b"])], "then", [], [output], outside)
    other = helper.make_tensor_value_info("d", FLOAT, None)
    no = helper.make_graph([helper.make_node("Identity", ["x"], ["d"])], "else", [], [other])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    return network([helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=no)], [yes])

"""What a stored tensor may claim: each claim at its edge, beside the one that is refused; onnx reads what is accepted."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from initlint import tensors
from initlint.elements import BITS, NAMES
from initlint.errors import Reason, Refusal
from initlint.graph import StoredTensor
from initlint.source import BytesSource
from initlint.tensors import ExternalFiles, TensorReader, check_location
from initlint.wire import Payload

NUMBERS = {name: number for number, name in NAMES.items()}
FIELDS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data")
# onnx.proto, TensorProto: the field that each type has of its own.
OF_TYPE = {
    **dict.fromkeys(("float32", "complex64"), "float_data"), **dict.fromkeys(("float64", "complex128"), "double_data"),
    "int64": "int64_data", **dict.fromkeys(("uint32", "uint64"), "uint64_data"),
}  # fmt: skip


def tensor(dtype: str, *dims: int, **fields: Any) -> TensorProto:
    return TensorProto(name="w", data_type=NUMBERS[dtype], dims=dims, **fields)


def read(proto: TensorProto, payload: Callable[[bytes], Payload | None] = lambda _: None) -> StoredTensor:
    return TensorReader(BytesSource(b"\7" * 4096), ExternalFiles(None), payload).tensor(proto, "w")


def refused(proto: TensorProto, words: str = "", reason: Reason = Reason.TENSOR) -> None:
    with pytest.raises(Refusal, match=words) as refusal:
        read(proto)
    assert refusal.value.reason == reason
    assert "tensor 'w'" in refusal.value.message


# -- data in typed fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_each_type_has_its_field(dtype: str) -> None:
    """In its own it is read as onnx reads it, in another it is refused."""
    own = OF_TYPE.get(dtype, "int32_data")
    for field in FIELDS:
        proto = tensor(dtype, 1, **{field: [1] * (2 if dtype.startswith("complex") else 1)})
        if field != own:
            refused(proto, f"is {dtype} and has its data in {field}")
            continue
        expected = numpy_helper.to_array(proto).astype(complex)
        assert np.asarray(read(proto).read()).astype(complex).tolist() == expected.tolist()


RANGES = {
    **{f"{kind}{bits}": (-(2 ** (bits - 1)) * (kind == "int"), 2 ** (bits - (kind == "int")) - 1)
       for kind in ("int", "uint") for bits in (8, 16, 32)},
    "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1), "bool": (0, 255), "float16": (0, 65535), "bfloat16": (0, 65535),
    "float8e4m3fn": (0, 255), "float8e5m2": (0, 255), "int4": (0, 255), "uint4": (0, 255), "float4e2m1": (0, 255),
    "int2": (0, 255), "float6e2m3": (0, 63), "float6e3m2": (0, 63),
}  # fmt: skip


@pytest.mark.parametrize("dtype", RANGES)
def test_values_that_the_type_can_hold(dtype: str) -> None:
    """The least and the largest are read; one beyond either, where the field can hold it, is no value of the type."""
    field = OF_TYPE.get(dtype, "int32_data")
    low, high = RANGES[dtype]
    held = {"int32_data": (-(2**31), 2**31 - 1), "int64_data": (-(2**63), 2**63 - 1), "uint64_data": (0, 2**64 - 1)}[
        field
    ]
    count = {4: 2, 2: 4}.get(BITS[dtype], 1)
    for value in (low, high):
        found = read(tensor(dtype, count, **{field: [value]}))
        assert found.nbytes == (BITS[dtype] * count + 7) // 8
        if dtype.startswith(("int", "uint")) and BITS[dtype] >= 8:
            assert found.read().tolist() == [value]
        else:
            payload = int.from_bytes(found.read_bytes(0, found.nbytes).tobytes(), "little")
            assert payload == value
    for value in (low - 1, high + 1):
        if held[0] <= value <= held[1]:
            refused(tensor(dtype, count, **{field: [value]}), f"a value beyond {dtype}")
            refused(tensor(dtype, 2 * count, **{field: [low, value]}), f"a value beyond {dtype}")


@pytest.mark.parametrize("dtype", sorted(BITS))
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_as_many_values_as_the_shape_takes(dtype: str, count: int) -> None:
    """Neither one fewer nor one more; types of 4 and 2 bits share the bytes of a typed field, of 6 bits do not."""
    field = OF_TYPE.get(dtype, "int32_data")
    wanted = count * 2 if dtype.startswith("complex") else (BITS[dtype] * count + 7) // 8 if BITS[dtype] < 6 else count
    assert read(tensor(dtype, count, **{field: [1] * wanted})).count == count
    refused(tensor(dtype, count, **{field: [1] * (wanted + 1)}), "values in")
    if wanted > 1:
        refused(tensor(dtype, count, **{field: [1] * (wanted - 1)}), "values in")


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_as_many_bytes_as_the_shape_takes(dtype: str) -> None:
    """Neither one fewer nor one more; none for a shape without elements."""
    for dims in ((), (3,), (2, 5), (0,), (4, 0)):
        size = (BITS[dtype] * int(np.prod(dims)) + 7) // 8
        found = read(tensor(dtype, *dims, raw_data=b"\1" * size))
        assert (found.shape, found.nbytes, found.read().shape) == (dims, size, dims)
        refused(tensor(dtype, *dims, raw_data=b"\1" * (size + 1)), "takes")
        if size:
            refused(tensor(dtype, *dims, raw_data=b"\1" * (size - 1)), "takes")
            refused(tensor(dtype, *dims), "has no data")
        else:
            assert read(tensor(dtype, *dims)).nbytes == 0


# -- claims that contradict each other ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (tensor("float32", 1, float_data=[1], raw_data=b"\0" * 4), "in two fields"),
        (tensor("float32", 1, float_data=[1], double_data=[1]), "in two fields"),
        (tensor("float32", 1, raw_data=b"", float_data=[1]), "in two fields"),
        (tensor("float32", 1, raw_data=b"\0" * 4, segment=TensorProto.Segment(begin=0, end=1)), "a segment"),
        (tensor("float32", 1, raw_data=b"\0" * 4, external_data=[onnx.StringStringEntryProto(key="a", value="b")]), "inside"),
        (TensorProto(data_type=0, dims=[1], raw_data=b"\0"), "element type 0"),
        (TensorProto(data_type=99, dims=[1], raw_data=b"\0"), "element type 99"),
        (tensor("float32", -1, raw_data=b""), "a negative extent"),
        (tensor("float32", -1, -1, raw_data=b"\0" * 4), "a negative extent"),
        (tensor("float32", *[1] * 65, raw_data=b"\0" * 4), "65 axes"),
        (tensor("float32", (1 << 48) + 1, 0, raw_data=b""), "claims the shape"),
        (tensor("float32", 1 << 40, 0, 1 << 40), "claims the shape"),
        (tensor("string", 1, raw_data=b"a"), "raw data"),
        (tensor("string", 2, string_data=[b"a"]), "has 1 strings, its shape takes 2"),
        (tensor("string", 0, string_data=[b"a"]), "has 1 strings"),
        (tensor("string", 1), "has 0 strings"),
        (tensor("float32", 1, string_data=[b"a"]), "has its data in string_data"),
    ],
)  # fmt: skip
def test_claims_that_contradict_each_other(proto: TensorProto, words: str) -> None:
    """One value, one place, one shape."""
    refused(proto, words)


@pytest.mark.parametrize(
    "proto",
    [
        tensor("float32", *[1] * 64, raw_data=b"\0" * 4), tensor("float32", 1 << 48, 0), tensor("int8", 0, 0),
        tensor("string", 2, string_data=[b"a", b"b"]), tensor("string", string_data=[b"a"]), tensor("string", 0),
        tensor("float32", 0, raw_data=b""),
    ],
)  # fmt: skip
def test_claims_at_the_edge(proto: TensorProto) -> None:
    """64 axes, 2^48 elements of which there are none, text."""
    assert read(proto).shape == tuple(proto.dims)


@pytest.mark.parametrize(
    ("dtype", "field", "length", "words"),
    [
        ("float32", 9, 4096, None), ("float32", 4, 4096, None), ("float64", 10, 4096, None), ("float64", 9, 4096, None),
        ("complex64", 4, 4096, None), ("complex128", 10, 4096, None), ("float32", 10, 4096, "in double_data"),
        ("float64", 4, 4096, "in float_data"), ("int8", 4, 4096, "in float_data"), ("float32", 9, 4092, "holds 4092 bytes"),
        ("float32", 4, 4100, "holds 4100 bytes"),
    ],
)  # fmt: skip
def test_data_left_in_the_file(dtype: str, field: int, length: int, words: str | None) -> None:
    """A payload that the walk left out is held to the same claims as one that is here."""
    proto = tensor(dtype, 4096 * 8 // BITS[dtype], raw_data=b"m" * 24)
    payload = Payload(100, length, field)
    if words is None:
        found = read(proto, lambda _: payload)
        assert (found.offset, found.nbytes, found.dtype) == (100, 4096, dtype)
        return
    with pytest.raises(Refusal, match=words) as refusal:
        read(proto, lambda _: payload)
    assert refusal.value.reason == Reason.TENSOR


# -- data in files -----------------------------------------------------------------------------------------------------

DATA = bytes(range(100))


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Callable[..., StoredTensor]]:
    """Reads a tensor of bytes whose data is in `w.bin`, 100 bytes, with the entries given."""
    (tmp_path / "w.bin").write_bytes(DATA)
    (tmp_path / "model.onnx").write_bytes(b"model")
    opened = ExternalFiles(str(tmp_path / "model.onnx"))
    reader = TensorReader(BytesSource(b""), opened, lambda _: None)

    def external(count: int = 100, *, dtype: str = "uint8", more: Any = None, **entries: str) -> StoredTensor:
        pairs = [("location", "w.bin"), *entries.items()] if "location" not in entries else list(entries.items())
        proto = tensor(dtype, count, data_location=1, **(more or {}))
        for key, value in pairs:
            proto.external_data.add(key=key, value=value)
        return reader.tensor(proto, "w")

    yield external
    opened.close()


def test_a_part_of_a_file(beside: Callable[..., StoredTensor]) -> None:
    """Any part of it, its end included; without an offset from the start, without a length what the shape takes."""
    for offset, count in ((0, 100), (0, 1), (99, 1), (30, 70), (100, 0)):
        assert beside(count, offset=str(offset)).read().tolist() == list(DATA[offset : offset + count])
        assert beside(count, offset=str(offset), length=str(count)).nbytes == count
    assert beside(7).read().tolist() == list(DATA[:7])


@pytest.mark.parametrize(
    ("count", "entries", "words"),
    [
        (101, {}, "ends at byte 101, its file at 100"),
        (1, {"offset": "100"}, "ends at byte 101"),
        (10, {"length": "9"}, "takes 10 bytes"),
        (10, {"length": "11"}, "takes 10 bytes"),
        (10, {"offset": "-1"}, "where a byte count belongs"),
        (10, {"offset": " 1"}, "where a byte count belongs"),
        (10, {"offset": ""}, "where a byte count belongs"),
        (10, {"offset": "1e1"}, "where a byte count belongs"),
        (10, {"offset": "1" * 20}, "where a byte count belongs"),
        (10, {"offset": "1" * 19}, "ends at byte"),
        (10, {"length": "0x0a"}, "where a byte count belongs"),
        (10, {"sha": "x"}, "unknown keys"),
        (10, {"basepath": "x"}, "unknown keys"),
        (10, {"location": ""}, "usable location"),
        (10, {"location": "none.bin"}, "does not exist"),
        (10, {"location": "model.onnx"}, "the model itself"),
        (10, {"checksum": "0" * 40}, "checksum"),
    ],
)
def test_a_part_that_is_not_there(
    beside: Callable[..., StoredTensor], count: int, entries: dict[str, str], words: str
) -> None:
    """Each entry is read strictly: a number is digits, a key is one of the format's."""
    with pytest.raises(Refusal, match=words) as refusal:
        beside(count, **entries)
    assert refusal.value.reason == Reason.EXTERNAL_DATA


def test_entries_of_a_tensor_in_a_file(beside: Callable[..., StoredTensor], tmp_path: Path) -> None:
    """A key twice, none at all, text, data inside as well: refused; keys of either case of checksum: read."""
    proto = tensor("uint8", 1, data_location=1)
    reader = TensorReader(BytesSource(b""), ExternalFiles(str(tmp_path / "model.onnx")), lambda _: None)
    for keys, words in (((), "no location"), (("location", "location"), "twice"), (("offset",), "no location")):
        del proto.external_data[:]
        for key in keys:
            proto.external_data.add(key=key, value="w.bin" if key == "location" else "0")
        with pytest.raises(Refusal, match=words):
            reader.tensor(proto, "w")
    with pytest.raises(Refusal, match="no location"):
        beside(1, dtype="string")
    for more in ({"raw_data": b"\0"}, {"int32_data": [1]}, {"raw_data": b""}, {"string_data": [b"a"]}):
        with pytest.raises(Refusal, match="inside and outside") as refusal:
            beside(1, more=more)
        assert refusal.value.reason == Reason.TENSOR


@pytest.mark.parametrize("key", ["location", "offset", "QQ"])
def test_entries_are_text(tmp_path: Path, key: str) -> None:
    """Keys and values that are no UTF-8 are refused, not guessed at."""
    proto = tensor("uint8", 1, data_location=1)
    proto.external_data.add(key=key, value="x" if key == "QQ" else "QQ")
    broken = TensorProto.FromString(proto.SerializeToString().replace(b"QQ", b"\xff\xfe"))
    reader = TensorReader(BytesSource(b""), ExternalFiles(str(tmp_path / "model.onnx")), lambda _: None)
    with pytest.raises(Refusal) as refusal:
        reader.tensor(broken, "w")
    assert refusal.value.reason == Reason.MALFORMED


def sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def test_a_checksum_is_of_the_data_or_of_the_file(
    beside: Callable[..., StoredTensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The format does not say which: either is right, in either case; of what is too large neither is looked at."""
    part = {"offset": "10", "length": "20"}
    for right in (sha1(DATA[10:30]), sha1(DATA), sha1(DATA).upper(), sha1(DATA[10:30]).upper()):
        assert beside(20, checksum=right, **part).nbytes == 20
    for wrong in (sha1(DATA[10:31]), sha1(b""), "", "x"):
        with pytest.raises(Refusal, match="checksum"):
            beside(20, checksum=wrong, **part)
    monkeypatch.setattr(tensors, "HASHED", 100)
    assert beside(20, checksum=sha1(DATA), **part).nbytes == 20
    monkeypatch.setattr(tensors, "HASHED", 99)
    with pytest.raises(Refusal, match="checksum"):
        beside(20, checksum=sha1(DATA), **part)  # a file too large to be read for it
    monkeypatch.setattr(tensors, "HASHED", 20)
    with pytest.raises(Refusal, match="checksum"):
        beside(20, checksum="x", **part)
    monkeypatch.setattr(tensors, "HASHED", 19)
    assert beside(20, checksum="x", **part).nbytes == 20


def test_a_file_is_opened_once(tmp_path: Path) -> None:
    """And counted once; an empty one is none, a model in memory has none."""
    for name, content in (("a", b"x" * 5), ("b", b"x" * 7), ("empty", b""), ("model.onnx", b"m")):
        (tmp_path / name).write_bytes(content)
    opened = ExternalFiles(str(tmp_path / "model.onnx"))
    assert opened.size == 0
    assert opened.open("a") is opened.open("a")
    opened.open("b")
    assert opened.size == 12
    with pytest.raises(Refusal, match="is empty"):
        opened.open("empty")
    files = list(opened._open.values())
    opened.close()
    assert [item.descriptor for item in files] == [-1, -1]
    with pytest.raises(Refusal, match="in memory"):
        ExternalFiles(None).open("a")


@pytest.mark.parametrize("location", ["a", "a/b", "a.b/c-d", "..a", "a..", "a/..b", "x" * 4096, ".a", "ab:c", "é"])
def test_locations_below_the_model(location: str) -> None:
    """Plain relative paths."""
    check_location(location)


@pytest.mark.parametrize(
    "location",
    ["", "/a", "..", "../a", "a/../b", "a/..", ".", "./", "a\\b", "\\a", "C:a", "c:/a", "a\0b", "x" * 4097],
)
def test_locations_that_leave_the_model(location: str) -> None:
    """Absolute, upwards, of another system, of nothing, beyond any name."""
    with pytest.raises(Refusal) as refusal:
        check_location(location)
    assert refusal.value.reason == Reason.EXTERNAL_DATA


def cache(folder: Path, *, model_is_link: bool = True, blobs: str = "blobs", snapshots: str = "snapshots") -> Path:
    """A cache as Hugging Face lays it out: `snapshots/<revision>/` of links to `blobs/`."""
    for name in (blobs, f"{snapshots}/rev", "elsewhere"):
        (folder / name).mkdir(parents=True)
    (folder / blobs / "m").write_bytes(b"model")
    (folder / blobs / "d").write_bytes(b"data")
    (folder / "elsewhere" / "d").write_bytes(b"secret")
    place = folder / snapshots / "rev"
    if model_is_link:
        (place / "model.onnx").symlink_to(f"../../{blobs}/m")
    else:
        (place / "model.onnx").write_bytes(b"model")
    (place / "data").symlink_to(f"../../{blobs}/d")
    (place / "outside").symlink_to("../../elsewhere/d")
    (place / "folder").symlink_to(f"../../{blobs}")
    return place


def test_links_of_a_cache_lead_to_its_blobs(tmp_path: Path) -> None:
    """From a snapshot whose model is such a link itself, also by way of a link to the snapshot; to nowhere else."""
    place = cache(tmp_path / "a")
    (tmp_path / "short").symlink_to(place)
    for folder in (place, tmp_path / "short"):
        opened = ExternalFiles(str(folder / "model.onnx"))
        assert opened.open("data").size == 4
        with pytest.raises(Refusal, match="outside"):
            opened.open("outside")
        with pytest.raises(Refusal, match="outside"):
            opened.open("folder/d")  # the last part is no link
        opened.close()


@pytest.mark.parametrize("change", [{"model_is_link": False}, {"blobs": "bolbs"}, {"snapshots": "shots"}])
def test_what_is_no_cache_has_no_blobs(tmp_path: Path, change: dict[str, Any]) -> None:
    """A model that is a file, folders of other names: the link leaves the model's folder."""
    opened = ExternalFiles(str(cache(tmp_path / "a", **change) / "model.onnx"))
    with pytest.raises(Refusal, match="outside"):
        opened.open("data")


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    """Also where the folder itself is reached by a link; not into a folder whose name only begins the same."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m2").mkdir()
    (tmp_path / "m" / "data").write_bytes(b"data")
    (tmp_path / "m2" / "data").write_bytes(b"data")
    (tmp_path / "m" / "link").symlink_to("data")
    (tmp_path / "m" / "other").symlink_to("../m2/data")
    (tmp_path / "way").symlink_to("m")
    (tmp_path / "m" / "model.onnx").write_bytes(b"model")
    for folder in ("m", "way"):
        opened = ExternalFiles(str(tmp_path / folder / "model.onnx"))
        assert opened.open("link").size == 4
        with pytest.raises(Refusal, match="outside"):
            opened.open("other")
        opened.close()
    os.link(tmp_path / "m" / "model.onnx", tmp_path / "m" / "twin")
    with pytest.raises(Refusal, match="the model itself"):
        ExternalFiles(str(tmp_path / "m" / "model.onnx")).open("twin")
    os.link(tmp_path / "m" / "data", tmp_path / "m" / "data2")
    with pytest.raises(Refusal, match="hard links"):
        ExternalFiles(str(tmp_path / "m" / "model.onnx")).open("data")


def test_a_part_of_a_tensors_bytes() -> None:
    """Any part, in memory of the reader's own or of the caller's; nothing is read for nothing."""
    found = StoredTensor("w", "uint8", (20,), BytesSource(bytes(range(100))), 30, 20)
    for start, stop in ((0, 20), (5, 9), (19, 20), (7, 7)):
        assert found.read_bytes(start, stop).tolist() == list(range(30 + start, 30 + stop))
        buffer = np.full(25, 255, np.uint8)
        assert found.read_bytes(start, stop, buffer).tolist() == list(range(30 + start, 30 + stop))
        assert buffer[: stop - start].tolist() == list(range(30 + start, 30 + stop))
        assert buffer[stop - start :].tolist() == [255] * (25 - stop + start)


# -- sparse tensors ----------------------------------------------------------------------------------------------------


def sparse(
    dims: Sequence[int], indices: Any, values: Any = (2.0, 3.0), kind: Any = np.float32, places: Any = np.int64
) -> StoredTensor:
    made = onnx.SparseTensorProto(dims=dims)
    made.values.CopyFrom(numpy_helper.from_array(np.array(values, kind), "w"))
    made.indices.CopyFrom(numpy_helper.from_array(np.array(indices, places)))
    return TensorReader(BytesSource(b""), ExternalFiles(None), lambda _: None).sparse(made, "w")


@pytest.mark.parametrize(
    ("dims", "indices"),
    [((6,), (0, 5)), ((2, 3), (0, 5)), ((2, 3), ((0, 0), (1, 2))), ((2, 3), ((1, 2), (0, 0))), ((2, 3), (5, 0)), ((6,), ((0,), (5,)))],
)  # fmt: skip
def test_sparse_tensors_are_written_out(dims: tuple[int, ...], indices: Any) -> None:
    """By their place in the whole or by coordinates, in any order."""
    dense = np.zeros(dims, np.float32)
    for where, value in zip(indices, (2.0, 3.0), strict=True):
        dense[np.unravel_index(where, dims) if np.isscalar(where) else tuple(where)] = value
    found = sparse(dims, indices)
    assert (found.shape, found.read().tolist()) == (dims, dense.tolist())


def test_sparse_of_nothing() -> None:
    """No value is stored: all are zero."""
    assert sparse((2, 2), np.zeros(0), np.zeros(0)).read().tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("dims", "indices", "more", "words"),
    [
        ((2, 3), (0, 6), {}, "out of range"),
        ((2, 3), (-1, 0), {}, "out of range"),
        ((2, 3), ((0, 0), (2, 0)), {}, "out of range"),
        ((2, 3), ((0, 0), (0, 3)), {}, "out of range"),
        ((2, 3), ((0, 0), (0, -1)), {}, "out of range"),
        ((2, 3), (1, 1), {}, "an element twice"),
        ((2, 3), ((0, 1), (0, 1)), {}, "an element twice"),
        ((2, 3), (0,), {}, "do not fit"),
        ((2, 3), (0, 1, 2), {}, "do not fit"),
        ((2, 3), ((0,), (1,)), {}, "do not fit"),
        ((2, 3), (((0, 1),),), {}, "do not fit"),
        ((2, 3), ((0, 1),), {}, "do not fit"),
        ((2, 3), (0, 1), {"places": np.int32}, "wrong kind"),
        ((2, 3), (0, 1), {"values": ((2.0,), (3.0,))}, "wrong kind"),
        ((0, 3), (0, 1), {}, "with shape"),
        ((-2, -3), (0, 1), {}, "with shape"),
        ((1,) * 65, (0, 0), {}, "with shape"),
    ],
)  # fmt: skip
def test_sparse_claims_that_do_not_hold(dims: tuple[int, ...], indices: Any, more: dict[str, Any], words: str) -> None:
    """An index for each value, inside the shape, each element once."""
    with pytest.raises(Refusal, match=words) as refusal:
        sparse(dims, indices, **more)
    assert refusal.value.reason == Reason.TENSOR


def test_sparse_of_packed_types_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types that share bytes are not written out, nor is more than a limit; 8 bits and the limit itself are."""
    import ml_dtypes  # noqa: PLC0415 - registers the types

    with pytest.raises(Refusal, match="wrong kind"):
        sparse((4,), (0, 1), (1, 2), ml_dtypes.int4)
    assert sparse((4,), (0, 1), (1, 2), np.int8).read().tolist() == [1, 2, 0, 0]
    assert sparse((1,) * 64, (0,), (1.0,)).count == 1
    monkeypatch.setattr(tensors, "MOST_DENSE", 6)
    assert sparse((2, 3), (0, 5)).count == 6
    with pytest.raises(Refusal, match="elements, more than 6"):
        sparse((7,), (0, 5))

"""A TensorProto as a StoredTensor: where its bytes are, after every claim it makes was checked."""

import hashlib
import os
import re
import stat
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from initlint.elements import BITS, FLOATS, name_of, nbytes_of, numpy_type, pack6
from initlint.errors import Reason, Refusal
from initlint.graph import Source, StoredTensor
from initlint.source import BytesSource, FileSource, open_file
from initlint.utf8 import as_text
from initlint.wire import FLOAT_DATA, RAW_DATA, Payload

__all__ = ["ExternalFiles", "TensorReader", "check_location"]

MOST_AXES = 64
MOST_ELEMENTS = 1 << 48  # also of a shape with a 0 in it, which no array library takes beyond 63 bits
MOST_DENSE = 1 << 24  # elements a sparse tensor may have when written out
LONGEST_LOCATION = 4096
KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
HASHED = 1 << 31  # bytes of external data up to which a checksum is verified while opening
TYPED = {
    "float_data": frozenset({"float32", "complex64"}),
    "double_data": frozenset({"float64", "complex128"}),
    "int64_data": frozenset({"int64"}),
    "uint64_data": frozenset({"uint32", "uint64"}),
    "int32_data": frozenset(BITS) - {"float32", "float64", "int64", "uint32", "uint64", "complex64", "complex128"},
    "string_data": frozenset({"string"}),
}


class ExternalFiles:
    """The data files beside a model, each opened once and kept inside the model's folder."""

    def __init__(self, model_path: str | None) -> None:
        self.folder = os.path.dirname(os.path.abspath(model_path)) if model_path is not None else None
        self.model_path = model_path
        self._open: dict[str, FileSource] = {}

    @property
    def size(self) -> int:
        """Bytes of all files opened."""
        return sum(source.size for source in self._open.values())

    def open(self, location: str) -> FileSource:
        """The data file at a relative location. Raises Refusal where it would leave the model's folder."""
        if location in self._open:
            return self._open[location]
        if self.folder is None or self.model_path is None:
            raise _external("a model in memory has no folder to find its data in")
        check_location(location)
        path = os.path.join(self.folder, location)
        real = os.path.realpath(path)
        if not self._allowed(path, real):
            raise _external(f"data at {location!r} lies outside the model's folder")
        if os.path.exists(path) and os.path.samefile(path, self.model_path):
            raise _external("the data file is the model itself")
        try:
            source = open_file(real, single_link=True)
        except Refusal as refusal:
            raise _external(f"data file {location!r} {refusal.message.removeprefix('the file ')}") from refusal
        if source.size == 0:
            raise _external(f"data file {location!r} is empty")
        self._open[location] = source
        return source

    def _allowed(self, path: str, real: str) -> bool:
        """Inside the folder once links are resolved; or a Hugging Face cache, whose links lead to blobs beside it."""
        folder = os.path.realpath(self.folder or ".")
        if _within(real, folder):
            return True
        blobs = self._blobs()
        return blobs is not None and stat.S_ISLNK(os.lstat(path).st_mode) and _within(real, blobs)

    def _blobs(self) -> str | None:
        """`.../blobs` of the cache where the model itself is a link into it from `.../snapshots/<revision>`."""
        if self.model_path is None or not os.path.islink(self.model_path):
            return None
        parent = os.path.dirname(os.path.realpath(self.model_path))
        cache = os.path.dirname(parent)
        inside = _within(os.path.abspath(self.model_path), os.path.join(cache, "snapshots")) or _within(
            os.path.realpath(os.path.dirname(os.path.abspath(self.model_path))), os.path.join(cache, "snapshots")
        )
        return parent if os.path.basename(parent) == "blobs" and inside else None

    def close(self) -> None:
        """Close all files."""
        for source in self._open.values():
            source.close()


def _within(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(os.path.realpath(folder), ""))


def check_location(location: str) -> None:
    """Raise Refusal where the location of external data is no plain relative path below the model's folder."""
    if not location or len(location) > LONGEST_LOCATION:
        raise _external("data without a usable location")
    if "\0" in location or "\\" in location or re.match(r"[A-Za-z]:", location):
        raise _external(f"data location {location[:80]!r} is not a plain relative path")
    parts = location.split("/")
    if location.startswith("/") or ".." in parts or location in (".", "./"):
        raise _external(f"data location {location[:80]!r} leaves the model's folder")


def _external(message: str) -> Refusal:
    return Refusal(Reason.EXTERNAL_DATA, message)


class TensorReader:
    """Turns TensorProtos into StoredTensors for one model."""

    def __init__(self, source: Source, files: ExternalFiles, payload_of: Callable[[bytes], Payload | None]) -> None:
        self.source, self.files, self.payload_of = source, files, payload_of

    def tensor(self, proto: Any, name: str) -> StoredTensor:
        """The tensor under the given name. Raises Refusal (tensor, external data) where its claims do not agree."""
        shape, dtype = self._shape_and_type(proto, name)
        count = prod(shape)
        if proto.HasField("segment"):
            raise _bad(name, "is a segment of a larger tensor, which no file may hold")
        if proto.data_location == 1:
            return self._external(proto, name, dtype, shape)
        if len(proto.external_data):
            raise _bad(name, "names external data and says its data is inside")
        filled = [field for field in TYPED if len(getattr(proto, field))]
        raw = proto.raw_data if proto.HasField("raw_data") else None
        if len(filled) + (raw is not None) > 1:
            raise _bad(name, "has its data in two fields")
        if dtype == "string":
            return self._strings(proto, name, shape, count, raw)
        expected = nbytes_of(dtype, count)
        payload = self.payload_of(raw) if raw is not None else None
        if payload is not None:
            self._check_payload(payload, name, dtype, expected)
            return StoredTensor(name, dtype, shape, self.source, payload.offset, expected)
        if raw is not None:
            if len(raw) != expected:
                raise _bad(name, f"holds {len(raw)} bytes, {dtype}{list(shape)} takes {expected}")
            return StoredTensor(name, dtype, shape, BytesSource(raw), 0, expected)
        if not filled:
            if count:
                raise _bad(name, f"is {dtype}{list(shape)} and has no data")
            return StoredTensor(name, dtype, shape, BytesSource(b""), 0, 0)
        return self._typed(proto, name, dtype, shape, count, filled[0])

    def _shape_and_type(self, proto: Any, name: str) -> tuple[tuple[int, ...], str]:
        dtype = name_of(proto.data_type)
        if dtype == "undefined":
            raise _bad(name, f"has element type {proto.data_type}, which is not known")
        shape = tuple(proto.dims)
        if len(shape) > MOST_AXES:
            raise _bad(name, f"has {len(shape)} axes, more than {MOST_AXES}")
        if any(extent < 0 for extent in shape):
            raise _bad(name, f"has a negative extent in {list(shape)}")
        if prod(extent for extent in shape if extent) > MOST_ELEMENTS:
            raise _bad(name, f"claims the shape {list(shape)}")
        return shape, dtype

    @staticmethod
    def _check_payload(payload: Payload, name: str, dtype: str, expected: int) -> None:
        wanted = "float_data" if payload.field == FLOAT_DATA else "double_data"
        if payload.field != RAW_DATA and dtype not in TYPED[wanted]:
            raise _bad(name, f"is {dtype} and has its data in {wanted}")
        if payload.length != expected:
            raise _bad(name, f"holds {payload.length} bytes, its shape takes {expected}")

    def _strings(self, proto: Any, name: str, shape: tuple[int, ...], count: int, raw: bytes | None) -> StoredTensor:
        if raw is not None:
            raise _bad(name, "is of strings and has raw data")
        if len(proto.string_data) != count:
            raise _bad(name, f"has {len(proto.string_data)} strings, its shape takes {count}")
        return StoredTensor(name, "string", shape, BytesSource(b""), 0, 0)

    def _typed(self, proto: Any, name: str, dtype: str, shape: tuple[int, ...], count: int, field: str) -> StoredTensor:
        """Data in a typed field, as the bytes that raw_data would hold."""
        if dtype not in TYPED[field]:
            raise _bad(name, f"is {dtype} and has its data in {field}")
        values = getattr(proto, field)
        complex_type = dtype.startswith("complex")
        packed = field == "int32_data" and BITS[dtype] < 6
        wanted = nbytes_of(dtype, count) if packed else count * (2 if complex_type else 1)
        if len(values) != wanted:
            raise _bad(name, f"has {len(values)} values in {field}, its shape takes {wanted}")
        if field in ("float_data", "double_data"):
            array = np.asarray(values, np.float32 if field == "float_data" else np.float64)
        else:
            array = _integers(values, name, dtype, packed=packed)
            if BITS[dtype] == 6:
                array = pack6(array.astype(np.uint8))
        payload = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        return StoredTensor(name, dtype, shape, BytesSource(payload), 0, payload.size)

    def _external(self, proto: Any, name: str, dtype: str, shape: tuple[int, ...]) -> StoredTensor:
        if proto.HasField("raw_data") or any(len(getattr(proto, field)) for field in TYPED):
            raise _bad(name, "has data inside and outside")
        for entry in proto.external_data:
            as_text(entry.key, f"external data of tensor {name[:80]!r}")
            as_text(entry.value, f"external data of tensor {name[:80]!r}")
        keys = [entry.key for entry in proto.external_data]
        if len(set(keys)) != len(keys):
            raise _external(f"tensor {name!r} gives a key of its external data twice")
        if not set(keys) <= KEYS - {"basepath"}:
            raise _external(f"tensor {name!r} has unknown keys {sorted(set(keys) - KEYS)} in its external data")
        entries = {entry.key: entry.value for entry in proto.external_data}
        if dtype == "string" or "location" not in entries:
            raise _external(f"tensor {name!r} is external and has no location")
        source = self.files.open(entries["location"])
        expected = nbytes_of(dtype, prod(shape))
        offset = _natural(entries.get("offset", "0"), name)
        length = _natural(entries["length"], name) if "length" in entries else expected
        if length != expected:
            raise _external(f"tensor {name!r} takes {expected} bytes, its external data has {length}")
        if offset + length > source.size:
            raise _external(f"tensor {name!r} ends at byte {offset + length}, its file at {source.size}")
        tensor = StoredTensor(name, dtype, shape, source, offset, length)
        if "checksum" in entries:
            _verify(tensor, entries["checksum"])
        return tensor

    def sparse(self, proto: Any, name: str) -> StoredTensor:
        """A sparse tensor written out, where that is small enough."""
        shape = tuple(proto.dims)
        values = self.tensor(proto.values, name)
        indices = self.tensor(proto.indices, f"{name}/indices")
        if any(extent <= 0 for extent in shape) or len(shape) > MOST_AXES:
            raise _bad(name, f"is sparse with shape {list(shape)}")
        if prod(shape) > MOST_DENSE:
            raise _bad(name, f"is sparse with {prod(shape):.3g} elements, more than {MOST_DENSE} when written out")
        if len(values.shape) != 1 or indices.dtype != "int64" or BITS[values.dtype] < 8:
            raise _bad(name, "is sparse and its values or indices are of the wrong kind")
        where = np.asarray(indices.read(), np.int64)
        if where.ndim == 2 and where.shape == (values.count, len(shape)):
            if np.any(where < 0) or np.any(where >= np.array(shape)):
                raise _bad(name, "is sparse and has an index out of range")
            where = np.ravel_multi_index(tuple(where.T), shape)
        elif where.shape != (values.count,):
            raise _bad(name, "is sparse and its indices do not fit its values")
        if np.any(where < 0) or np.any(where >= prod(shape)):
            raise _bad(name, "is sparse and has an index out of range")
        if len(np.unique(where)) != len(where):
            raise _bad(name, "is sparse and gives an element twice")
        dense = np.zeros(prod(shape), numpy_type(values.dtype))
        dense[where] = values.read()
        payload = dense.view(np.uint8)
        return StoredTensor(name, values.dtype, shape, BytesSource(payload), 0, payload.size)


def _integers(values: Any, name: str, dtype: str, *, packed: bool) -> "np.ndarray[Any, Any]":
    """Values of int32_data, int64_data or uint64_data in the element type's own width, range-checked."""
    array = np.asarray(values, np.uint64 if dtype in ("uint32", "uint64") else np.int64)
    if dtype in ("int64", "uint64"):
        return array
    if packed:
        width: Any = np.uint8
    elif BITS[dtype] == 6:  # one code an element
        if array.size and not 0 <= array.min() <= array.max() < 64:
            raise _bad(name, f"has a value beyond {dtype} in its integer data")
        return array.astype(np.uint8)
    elif dtype in FLOATS:
        width = np.dtype(f"u{BITS[dtype] // 8}")
    else:
        width = np.uint8 if dtype == "bool" else numpy_type(dtype)
    limits = np.iinfo(width)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise _bad(name, f"has a value beyond {dtype} in its integer data")
    return array.astype(width)


def _natural(text: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise _external(f"tensor {name!r} has {text[:40]!r} where a byte count belongs")
    return int(text)


def _verify(tensor: StoredTensor, checksum: str) -> None:
    """The SHA1 of the data file that the format allows to be given."""
    if tensor.nbytes > HASHED:
        return
    digest = hashlib.sha1(tensor.read_bytes(0, tensor.nbytes).data, usedforsecurity=False).hexdigest()
    whole = hashlib.sha1(usedforsecurity=False)
    source = tensor.source
    if digest != checksum.lower() and isinstance(source, FileSource) and source.size <= HASHED:
        buffer = np.empty(source.size, np.uint8)
        source.read_into(0, buffer.data)
        whole.update(buffer.data)
    if checksum.lower() not in (digest, whole.hexdigest()):
        raise _external(f"tensor {tensor.name!r} does not have the checksum its file gives")


def _bad(name: str, message: str) -> Refusal:
    return Refusal(Reason.TENSOR, f"tensor {name[:120]!r} {message}")

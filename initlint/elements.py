"""ONNX element types: sizes, limits, and stored bytes as arrays."""

import ml_dtypes
import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["BITS", "FLOATS", "Format", "decode", "format_of", "name_of", "nbytes_of", "pack6", "to_working_type"]

# Number in onnx.proto -> name used throughout, in lower case as onnx spells it but for the two C names.
NAMES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4e2m1", 24: "float8e8m0", 25: "uint2", 26: "int2", 27: "float6e2m3", 28: "float6e3m2",
}  # fmt: skip
BITS = {
    "float32": 32, "uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "int32": 32, "int64": 64, "bool": 8, "float16": 16,
    "float64": 64, "uint32": 32, "uint64": 64, "complex64": 64, "complex128": 128, "bfloat16": 16, "float8e4m3fn": 8,
    "float8e4m3fnuz": 8, "float8e5m2": 8, "float8e5m2fnuz": 8, "float8e8m0": 8, "uint4": 4, "int4": 4, "float4e2m1": 4,
    "uint2": 2, "int2": 2, "float6e2m3": 6, "float6e3m2": 6,
}  # fmt: skip
FLOATS = frozenset(
    {"float16", "bfloat16", "float32", "float64", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz",
     "float8e8m0", "float4e2m1", "float6e2m3", "float6e3m2"}
)  # fmt: skip
_NUMPY: dict[str, npt.DTypeLike] = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8e5m2": ml_dtypes.float8_e5m2,
    "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8e8m0": ml_dtypes.float8_e8m0fnu,
    "float4e2m1": ml_dtypes.float4_e2m1fn,
    "float6e2m3": ml_dtypes.float6_e2m3fn,
    "float6e3m2": ml_dtypes.float6_e3m2fn,
}


class Format(msgspec.Struct, frozen=True):
    """Limits of a floating format: largest finite value, smallest normal and smallest subnormal, spacing at 1."""

    largest: float
    smallest_normal: float
    smallest_subnormal: float
    epsilon: float


def name_of(number: int) -> str:
    """Element type's name from its number in onnx.proto; `undefined` for one that is not known."""
    return NAMES.get(number, "undefined")


def nbytes_of(dtype: str, count: int) -> int:
    """Bytes of `count` packed elements (types of less than 8 bits share bytes)."""
    return (BITS[dtype] * count + 7) // 8


def numpy_type(dtype: str) -> np.dtype[np.generic]:
    """The numpy type that holds one element."""
    return np.dtype(_NUMPY.get(dtype, dtype))


def format_of(dtype: str) -> Format | None:
    """Limits of a floating element type; None for others."""
    if dtype not in FLOATS:
        return None
    limits = ml_dtypes.finfo(numpy_type(dtype))  # type: ignore[no-untyped-call]
    return Format(float(limits.max), float(limits.smallest_normal), float(limits.smallest_subnormal), float(limits.eps))


def decode(dtype: str, shape: tuple[int, ...], raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
    """Little-endian bytes as an array of this shape, one element each; 4-bit and 2-bit integers come as int8 or uint8."""
    if dtype == "bool":
        return (raw != 0).reshape(shape)
    bits = BITS[dtype]
    if bits < 8:
        return _unpack(dtype, bits, raw, shape)
    array = raw.view(numpy_type(dtype))
    return array.reshape(shape)


def _unpack(dtype: str, bits: int, raw: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    count = int(np.prod(shape, dtype=np.int64))
    flat = (_codes6(raw) if bits == 6 else _codes(raw, bits))[:count]
    if dtype in FLOATS:
        return flat.view(numpy_type(dtype)).reshape(shape)
    if dtype.startswith("int"):
        sign = 1 << (bits - 1)
        return ((flat ^ sign).astype(np.int8) - np.int8(sign)).reshape(shape)
    return flat.reshape(shape)


def _codes(raw: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    per_byte = 8 // bits
    mask = (1 << bits) - 1
    codes = np.empty((raw.size, per_byte), np.uint8)
    for index in range(per_byte):
        codes[:, index] = (raw >> (bits * index)) & mask
    return codes.reshape(-1)


def _codes6(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Four 6-bit codes in three bytes, a bit stream with the lowest bits first (onnx.proto, TensorProto.raw_data)."""
    padded = np.zeros((-(-raw.size // 3), 3), np.uint8)
    padded.reshape(-1)[: raw.size] = raw
    first, second, third = padded.T
    codes = np.stack([first, first >> 6 | second << 2, second >> 4 | third << 4, third >> 2], axis=1) & 0x3F
    return codes.astype(np.uint8).reshape(-1)


def pack6(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """6-bit codes, one an element, as the bytes that raw_data holds."""
    padded = np.zeros((-(-codes.size // 4), 4), np.uint8)
    padded.reshape(-1)[: codes.size] = codes
    a, b, c, d = padded.T
    packed = np.stack([a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2], axis=1).reshape(-1)
    return packed.astype(np.uint8)[: nbytes_of("float6e2m3", codes.size)]


def to_working_type(array: npt.NDArray[np.generic], dtype: str, float_type: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """Floating elements in the working type; integers, booleans and strings as they are."""
    return array.astype(float_type, copy=False) if dtype in FLOATS else array

"""Element types: their limits against numpy's and ml_dtypes' own, the working type, the layout of 6-bit codes."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from initlint.elements import (
    BITS,
    FLOATS,
    NAMES,
    decode,
    format_of,
    name_of,
    nbytes_of,
    numpy_type,
    pack6,
    to_working_type,
)

KINDS = {
    "float16": np.float16, "float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn, "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz, "float8e5m2": ml_dtypes.float8_e5m2,
    "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz, "float8e8m0": ml_dtypes.float8_e8m0fnu, "float4e2m1": ml_dtypes.float4_e2m1fn,
    "float6e2m3": ml_dtypes.float6_e2m3fn, "float6e3m2": ml_dtypes.float6_e3m2fn,
}  # fmt: skip


@pytest.mark.parametrize("dtype", KINDS)
def test_limits_of_floating_formats(dtype: str) -> None:
    """Largest, smallest normal, smallest of all and spacing at 1, as the numbers themselves have them."""
    limits, kind = format_of(dtype), KINDS[dtype]
    assert dtype in FLOATS
    assert limits is not None
    assert numpy_type(dtype) == np.dtype(kind)
    size = np.dtype(kind).itemsize
    if size <= 2:  # every number there is
        every = np.arange(1 << (BITS[dtype]), dtype=f"u{size}").view(kind).astype(np.float64)
        positive = np.sort(every[np.isfinite(every) & (every > 0)])
        assert limits.largest == positive[-1]
        assert limits.smallest_subnormal == positive[0]
        assert limits.smallest_normal in positive
        above = positive[positive > 1]
        assert limits.epsilon == above[0] - 1 if above[0] - 1 > 0 else limits.epsilon
    else:
        info = np.finfo(kind)
        assert (limits.largest, limits.smallest_normal, limits.smallest_subnormal, limits.epsilon) == (
            float(info.max), float(info.smallest_normal), float(info.smallest_subnormal), float(info.eps),
        )  # fmt: skip


def test_only_floating_formats_have_limits() -> None:
    """Integers, texts and numbers of two parts have none; the twelve floating types are all there are."""
    assert set(KINDS) == FLOATS == {name for name in NAMES.values() if "float" in name}
    for dtype in (*BITS, "string", "undefined"):
        assert (format_of(dtype) is None) is (dtype not in KINDS)


def test_numbers_of_types_are_those_of_the_format() -> None:
    """As onnx.proto has them; one that it has not is undefined."""
    for name, number in TensorProto.DataType.items():
        ours = {"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())
        assert name_of(number) == ours
    assert name_of(10_000) == name_of(-1) == "undefined"


@pytest.mark.parametrize("dtype", BITS)
def test_bytes_of_packed_elements(dtype: str) -> None:
    """Types of less than 8 bits share bytes; the last one is begun."""
    for count in range(10):
        assert nbytes_of(dtype, count) == -(-BITS[dtype] * count // 8)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 100])
def test_6_bit_codes_are_a_stream_of_bits(count: int) -> None:
    """The lowest bits first, whatever the byte."""
    codes = np.random.default_rng(count).integers(0, 64, count).astype(np.uint8)
    stream = sum(int(code) << (6 * index) for index, code in enumerate(codes))
    packed = pack6(codes)
    assert packed.tobytes() == stream.to_bytes(nbytes_of("float6e2m3", count), "little")
    assert (decode("float6e2m3", (count,), packed).view(np.uint8) & 0x3F).tolist() == codes.tolist()


def test_the_working_type_is_of_floats_alone() -> None:
    """Floats are widened or narrowed, and not copied where they have the type; integers and booleans stay."""
    for dtype, kind in KINDS.items():
        assert to_working_type(np.ones(3).astype(kind), dtype, np.float32).dtype == np.float32
    same = np.ones(3, np.float32)
    assert to_working_type(same, "float32", np.float32) is same
    for dtype in ("int8", "int64", "bool", "uint4"):
        kept = np.ones(3, np.int64)
        assert to_working_type(kept, dtype, np.float32) is kept

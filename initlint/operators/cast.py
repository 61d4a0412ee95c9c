"""Change of element type.

All floating types live in the run's working type. A cast to float16 or bfloat16 changes nothing there: what such a
tensor would overflow or lose is judged on its true scale. A cast to a type of 8 bits and fewer is a quantisation, part of
what the graph computes, and is carried out.
"""

import numpy as np
import numpy.typing as npt

from initlint.graph import Node
from initlint.operators.arguments import invalid, number, working_type
from initlint.operators.table import Array, Draws, NotComputed, Run, operator

STRING = 8
SMALL_FLOATS = frozenset({"float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float4e2m1"})

PACKED = {"int4": (4, True), "uint4": (4, False), "int2": (2, True), "uint2": (2, False)}


@operator("Cast")
def cast(node: Node, run: Run, x: Draws) -> Array:
    """Change of element type to `to`."""
    from initlint.elements import name_of  # noqa: PLC0415 - ml_dtypes only where a cast is

    to = number(node, "to")
    values = _converted(x.values, working_type(run, to), string=to == STRING)
    return _quantised(values, name_of(to), saturate=bool(number(node, "saturate", 1)))


@operator("CastLike")
def cast_like(node: Node, run: Run, x: Draws, like: Draws) -> Array:
    """Change of element type to that of the second input."""
    kind = like.values.dtype
    values = _converted(x.values, run.float_type if kind.kind == "f" else kind, string=kind.kind in "OT")
    return _quantised(values, like.dtype, saturate=bool(number(node, "saturate", 1)))


def _converted(values: Array, to: npt.DTypeLike, *, string: bool) -> Array:
    if string:
        if values.dtype.kind in "OT":
            return values
        raise NotComputed("numbers written as text")
    if values.dtype.kind in "OT":
        try:
            return np.array([float(item) for item in values.reshape(-1)]).astype(to).reshape(values.shape)
        except ValueError:
            raise NotComputed("a text that is no number") from None
    return values.astype(to, copy=False)


def _quantised(values: Array, dtype: str, *, saturate: bool) -> Array:
    """The values as a small type would hold them."""
    if dtype in PACKED:
        # Kept one a byte, the higher bits dropped.
        bits, signed = PACKED[dtype]
        sign = (1 << bits - 1) if signed else 0
        return (((values & ((1 << bits) - 1)) ^ sign) - sign).astype(values.dtype)
    if dtype not in SMALL_FLOATS or values.dtype.kind != "f":
        return values
    from initlint.elements import format_of, numpy_type  # noqa: PLC0415 - ml_dtypes only where a cast is

    limits = format_of(dtype)
    if saturate and limits is not None:
        values = np.clip(values, -limits.largest, limits.largest)
    return values.astype(np.float32, copy=False).astype(numpy_type(dtype)).astype(values.dtype)


@operator("BitCast")
def bit_cast(node: Node, run: Run, x: Draws) -> Array:
    """The same bits read as another type of the same size."""
    from initlint.elements import BITS, FLOATS, name_of, numpy_type, to_working_type  # noqa: PLC0415

    to = name_of(number(node, "to"))
    if min(BITS.get(to, 0), BITS.get(x.dtype, 0)) < 8:
        raise NotComputed("the bits of a packed type")
    if BITS[to] != BITS[x.dtype]:
        raise invalid(f"the bits of {x.dtype} read as {to}")
    values = x.values.astype(numpy_type(x.dtype)) if x.dtype in FLOATS else x.values
    return to_working_type(np.ascontiguousarray(values).view(numpy_type(to)), to, run.float_type)

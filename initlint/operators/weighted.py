"""Products with matrices: MatMul and Gemm, as few and as large BLAS calls as the draws allow."""

from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, number, real
from initlint.operators.rows import is_large, row_blocks
from initlint.operators.table import Array, Draws, Run, Stored, operator

__all__ = ["add_in_place", "matmul", "times_matrix", "times_stored"]


@operator("MatMul")
def matmul_operator(_: Node, run: Run, a: Draws, b: Draws) -> Array:
    """numpy's matmul behind the axis of draws; one large product where the right side is one constant matrix."""
    if isinstance(b, Stored) and is_large(b) and len(b.shape) == 2:
        x = a.values[:, np.newaxis] if len(a.shape) == 1 else a.values
        y = times_stored(run, x, b)
        return y[:, 0] if len(a.shape) == 1 else y
    return matmul(run, a.values, b.values)


def _stored_matrix_check(x: Array, rows: int) -> None:
    if x.shape[-1] != rows:
        raise invalid(f"a product of shapes {x.shape[1:]} and ({rows}, ...)")


def times_stored(run: Run, x: Array, matrix: Stored, *, transposed: bool = False) -> Array:
    """`x [..., K]` times a stored matrix `[K, N]` (transposed: `[N, K]`) that is read in blocks of rows."""
    terms, outputs = matrix.shape[::-1] if transposed else matrix.shape
    _stored_matrix_check(x, terms)
    shape = (*x.shape[:-1], outputs)
    run.claim(*shape, work=prod(shape) * terms)
    if (noise := run.stand_in(*shape)) is not None:
        return noise
    flat = x.reshape(-1, terms)
    if transposed:
        out = np.empty((flat.shape[0], outputs), x.dtype)
        for start, stop, rows in row_blocks(matrix):
            np.matmul(flat, rows.T, out=out[:, start:stop])
    else:
        out = np.zeros((flat.shape[0], outputs), x.dtype)
        for start, stop, rows in row_blocks(matrix):
            out += flat[:, start:stop] @ rows
    return out.reshape(shape)


def times_matrix(run: Run, x: Array, matrix: Array) -> Array:
    """`x [..., K]` times one matrix `[K, N]` as a single product."""
    _stored_matrix_check(x, matrix.shape[0])
    shape = (*x.shape[:-1], matrix.shape[1])
    run.claim(*shape, work=prod(shape) * matrix.shape[0])
    if (noise := run.stand_in(*shape)) is not None and x.dtype.kind == "f":
        return noise
    return (x.reshape(-1, matrix.shape[0]) @ matrix).reshape(shape)


def _runs(x: Array) -> Array:
    """The array with matrices that BLAS can take as they are; copied where neither matrix axis is contiguous."""
    if x.dtype.kind != "f" or x.itemsize in x.strides[-2:]:
        return x
    return np.ascontiguousarray(x)


def matmul(run: Run, x: Array, y: Array) -> Array:
    """`[s, ..., M, K]` times `[s, ..., K, N]` with numpy's rules for vectors and batches behind the draws."""
    if x.ndim == 1 or y.ndim == 1:
        raise invalid("a product with a scalar")
    left, right = x.ndim == 2, y.ndim == 2
    if left:
        x = x[:, np.newaxis]
    if right:
        y = y[:, :, np.newaxis]
    if x.shape[-1] != y.shape[-2]:
        raise invalid(f"a product of shapes {x.shape[1:]} and {y.shape[1:]}")
    if y.size == y.shape[-1] * y.shape[-2]:
        z = times_matrix(run, x, y.reshape(y.shape[-2:]))
        z = z.reshape(z.shape[0], *(1,) * max(0, y.ndim - z.ndim), *z.shape[1:])
    else:
        z = _batched(run, x, y)
    if left:
        z = z[..., 0, :]
    return z[..., 0] if right else z


def _batched(run: Run, x: Array, y: Array) -> Array:
    rank = max(x.ndim, y.ndim)
    x = x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])
    y = y.reshape(y.shape[0], *(1,) * (rank - y.ndim), *y.shape[1:])
    try:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise invalid(f"a product of shapes {x.shape[1:]} and {y.shape[1:]}") from None
    shape = (*batch, x.shape[-2], y.shape[-1])
    run.claim(*shape, work=prod(shape) * x.shape[-1])
    if (noise := run.stand_in(*shape)) is not None and x.dtype.kind == "f":
        return noise
    result: Array = np.matmul(_runs(x), _runs(y))
    return result


def add_in_place(run: Run, y: Array, other: Array) -> Array:
    """`y + other` into `y`, which belongs to the caller, where the shapes allow."""
    shape = np.broadcast_shapes(y.shape, other.shape)
    if shape == y.shape:
        y += other
        return y
    run.claim(*shape)
    result: Array = y + other
    return result


@operator("Gemm")
def gemm(node: Node, run: Run, a: Draws, b: Draws, c: Draws | None = None) -> Array:
    """alpha A' B' + beta C, each of A and B transposed on demand, C broadcast to the product."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise invalid(f"Gemm of shapes {a.shape} and {b.shape}")
    alpha, beta = real(node, "alpha", 1.0), real(node, "beta", 1.0)
    x = a.values.swapaxes(1, 2) if number(node, "transA", 0) else a.values
    transposed = bool(number(node, "transB", 0))
    if isinstance(b, Stored) and is_large(b):
        y = times_stored(run, x, b, transposed=transposed)
    else:
        y = matmul(run, x, b.values.swapaxes(1, 2) if transposed else b.values)
    if alpha != 1:
        y *= y.dtype.type(alpha)
    if c is None or beta == 0:
        return y
    bias = c.values
    if bias.ndim > y.ndim:
        raise invalid(f"a bias of shape {c.shape} for a product of shape {y.shape[1:]}")
    bias = bias.reshape(bias.shape[0], *(1,) * (y.ndim - bias.ndim), *bias.shape[1:])
    if any(extent not in {1, own} for extent, own in zip(bias.shape[1:], y.shape[1:], strict=True)):
        raise invalid(f"a bias of shape {c.shape} for a product of shape {y.shape[1:]}")
    return add_in_place(run, y, bias if beta == 1 else bias * bias.dtype.type(beta))


@operator("Det")
def determinant(_: Node, __: Run, x: Draws) -> Array:
    """Determinants of the matrices in the last two axes."""
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        raise invalid(f"a determinant of shape {x.shape}")
    result: Array = np.linalg.det(x.values)
    return result

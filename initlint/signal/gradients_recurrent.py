"""Gradient rules of LSTM, GRU and RNN: backpropagation through time (Werbos 1990) on the draws."""

from collections.abc import Callable, Sequence

import numpy as np

from initlint.graph import Node
from initlint.operators.recurrent import Activation, Cell, cell_of, functions_of, state_of
from initlint.operators.table import Array, Draws, NotComputed, Run
from initlint.signal.gradients import STEP, gradient

__all__: list[str] = []

# Of one step, from the projected input, the states before it and the gradients of the states after it: the states after
# it, and a function from their gradients to those of the projected input and of the states before it.
Back = Callable[[Array, Array], tuple[Array, Array, Array]]
Step = Callable[[Node, Array, Array, Array, Cell, list[Activation]], tuple[Array, Array, Back]]


def _slope(function: Activation, at: Array) -> Array:
    """The activation's derivative, a central difference in float64."""
    wide = at.astype(np.float64)
    step = STEP * (np.abs(wide) + 1e-3)
    return np.asarray((function(wide + step) - function(wide - step)) / (2 * step), at.dtype)


def _total(x: Array, h: Array, cell: Cell) -> Array:
    total = x + np.matmul(h, cell.r.swapaxes(-1, -2))
    return total if cell.recurrent_bias is None else total + cell.recurrent_bias[:, np.newaxis]


def _lstm(
    node: Node, x: Array, h: Array, c: Array, cell: Cell, functions: list[Activation]
) -> tuple[Array, Array, Back]:
    """Gates in ONNX's order: input, output, forget, cell."""
    f, g, last = functions
    hidden = h.shape[-1]
    zi, zo, zf, zc = np.split(_total(x, h, cell), 4, axis=-1)
    pi = po = pf = np.zeros((1, 1, hidden), x.dtype)
    if cell.peephole is not None:
        pi, po, pf = (cell.peephole[:, np.newaxis, k * hidden : (k + 1) * hidden] for k in range(3))
    zi, zf = zi + pi * c, zf + pf * c
    tied = bool(node.attributes.get("input_forget"))
    i, candidate = f(zi), g(zc)
    forget = 1 - i if tied else f(zf)
    new = forget * c + i * candidate
    zo = zo + po * new
    o, shown = f(zo), last(new)

    def back(dh: Array, dc: Array) -> tuple[Array, Array, Array]:
        do = dh * shown * _slope(f, zo)
        dnew = dc + dh * o * _slope(last, new) + do * po
        di = dnew * (candidate - c if tied else candidate) * _slope(f, zi)
        df = np.zeros_like(di) if tied else dnew * c * _slope(f, zf)
        gates = np.concatenate([di, do, df, dnew * i * _slope(g, zc)], axis=-1)
        return gates, np.matmul(gates, cell.r), dnew * forget + di * pi + df * pf

    return o * shown, new, back


def _gru(
    node: Node, x: Array, h: Array, c: Array, cell: Cell, functions: list[Activation]
) -> tuple[Array, Array, Back]:
    """Gates in ONNX's order: update, reset, hidden."""
    f, g = functions
    hidden = h.shape[-1]
    rz, rh = cell.r[:, : 2 * hidden], cell.r[:, 2 * hidden :]
    bias = np.zeros((1, 3 * hidden), x.dtype) if cell.recurrent_bias is None else cell.recurrent_bias
    gates = x[..., : 2 * hidden] + np.matmul(h, rz.swapaxes(-1, -2)) + bias[:, np.newaxis, : 2 * hidden]
    z, reset = np.split(f(gates), 2, axis=-1)
    tail = bias[:, np.newaxis, 2 * hidden :]
    after = bool(node.attributes.get("linear_before_reset"))
    inner = np.matmul(h if after else reset * h, rh.swapaxes(-1, -2)) + tail
    before = x[..., 2 * hidden :] + (reset * inner if after else inner)
    candidate = g(before)

    def back(dh: Array, dc: Array) -> tuple[Array, Array, Array]:
        dcandidate = dh * (1 - z) * _slope(g, before)
        if after:
            dreset = dcandidate * inner
            dprevious = np.matmul(dcandidate * reset, rh)
        else:
            product = np.matmul(dcandidate, rh)
            dreset, dprevious = product * h, product * reset
        dgates = np.concatenate([dh * (h - candidate), dreset], axis=-1) * _slope(f, gates)
        total = dh * z + dprevious + np.matmul(dgates, rz)
        return np.concatenate([dgates, dcandidate], axis=-1), total, dc

    return (1 - z) * candidate + z * h, c, back


def _rnn(
    _node: Node, x: Array, h: Array, c: Array, cell: Cell, functions: list[Activation]
) -> tuple[Array, Array, Back]:
    total = _total(x, h, cell)

    def back(dh: Array, dc: Array) -> tuple[Array, Array, Array]:
        gates = dh * _slope(functions[0], total)
        return gates, np.matmul(gates, cell.r), dc

    return functions[0](total), c, back


CELLS: dict[str, tuple[Step, int, tuple[str, ...]]] = {
    "LSTM": (_lstm, 4, ("Sigmoid", "Tanh", "Tanh")),
    "GRU": (_gru, 3, ("Sigmoid", "Tanh")),
    "RNN": (_rnn, 1, ("Tanh",)),
}


@gradient(*CELLS)
def _recurrent(
    node: Node, _run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array | None]
) -> tuple[Array | None, ...]:
    """Gradients of X and of the initial states; of the weights none."""
    step, gates, default = CELLS[node.op]
    given: list[Draws | None] = [*inputs, *[None] * (8 - len(inputs))]
    x, w, r, bias, _lengths, h0, c0, peephole = given
    if x is None or w is None or r is None or node.attributes.get("clip"):
        raise NotComputed("a clipped cell")
    layout = int(node.attributes.get("layout", 0))  # type: ignore[arg-type]
    values = x.values.transpose(0, 2, 1, 3) if layout else x.values
    time, batch, hidden = values.shape[1], values.shape[2], r.shape[2]
    arriving = _by_direction(gradients, layout, time)
    total = np.zeros_like(values)
    states: tuple[list[Array], list[Array]] = ([], [])
    for index, functions in enumerate(functions_of(node, w.shape[0], default)):
        cell = cell_of(w, r, bias, peephole, index, gates, hidden)
        backwards = node.attributes.get("direction") == "reverse" or index == 1
        order = range(time - 1, -1, -1) if backwards else range(time)
        h, c = (state_of(item, index, layout, values, batch, hidden) for item in (h0, c0))
        backs = []
        for moment in order:
            projected = np.matmul(values[:, moment], cell.w.swapaxes(-1, -2))
            if cell.input_bias is not None:
                projected = projected + cell.input_bias[:, np.newaxis]
            h, c, back = step(node, projected, h, c, cell, functions)
            backs.append((moment, back))
        y, dh, dc = (item[index] for item in arriving)
        for moment, back in reversed(backs):
            dx, dh, dc = back(dh + y[:, moment], dc)
            total[:, moment] += np.matmul(dx, cell.w)
        states[0].append(dh)
        states[1].append(dc)
    found: list[Array | None] = [None] * len(inputs)
    found[0] = total.transpose(0, 2, 1, 3) if layout else total
    for slot, items in zip((5, 6), states, strict=True):
        if slot < len(inputs) and inputs[slot] is not None:
            stacked = np.stack(items, axis=1)
            found[slot] = stacked.transpose(0, 2, 1, 3) if layout else stacked
    return tuple(found)


def _by_direction(
    gradients: Sequence[Array | None], layout: int, time: int
) -> tuple[list[Array], list[Array], list[Array]]:
    """Gradients of Y `[s, time, batch, hidden]`, Y_h and Y_c `[s, batch, hidden]`, one of each a direction."""
    y, *states = [*gradients, *[None] * (3 - len(gradients))][:3]
    moved = [None if item is None else item.transpose(0, 2, 1, 3) if layout else item for item in states]
    if y is not None:
        y = y.transpose(0, 2, 3, 1, 4) if layout else y  # [s, time, directions, batch, hidden]
    else:
        known = next((item for item in moved if item is not None), None)
        if known is None:
            raise NotComputed("no output is used")
        y = np.zeros((known.shape[0], time, *known.shape[1:]), known.dtype)
    directions = range(y.shape[2])
    last = [
        [np.zeros_like(y[:, 0, index]) if item is None else item[:, index] for index in directions] for item in moved
    ]
    return [y[:, :, index] for index in directions], last[0], last[1]

"""LSTM, GRU and RNN: the input projection in one product, then a walk over time on all draws at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import integers, invalid, number
from initlint.operators.special import sigmoid
from initlint.operators.table import Array, Draws, NotComputed, Run, operator

__all__ = ["Activation", "Cell", "cell_of", "functions_of", "recur", "state_of"]

Activation = Callable[[Array], Array]
FUNCTIONS: dict[str, Activation] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "hardsigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}


class Cell(NamedTuple):
    """Weights of one direction, each `[s, ...]`: input, recurrent, bias (both summed up per gate), peepholes."""

    w: Array
    r: Array
    input_bias: Array | None
    recurrent_bias: Array | None
    peephole: Array | None


def functions_of(node: Node, directions: int, default: tuple[str, ...]) -> list[list[Activation]]:
    """Activations of each direction in the order the operator names them."""
    names = node.attributes.get("activations") or default * directions
    if not isinstance(names, tuple) or len(names) != len(default) * directions:
        raise invalid(f"needs {len(default) * directions} activations")
    found = []
    for name in names:
        function = FUNCTIONS.get(str(name).lower())
        if function is None:
            raise NotComputed(f"activation {name!r} in a recurrent operator")
        found.append(function)
    return [found[index * len(default) : (index + 1) * len(default)] for index in range(directions)]


def recur(  # one recurrent operator has this many parts
    node: Node,
    run: Run,
    x: Draws,
    w: Draws,
    r: Draws,
    b: Draws | None,
    lengths: Draws | None,
    h0: Draws | None,
    c0: Draws | None,
    p: Draws | None,
    *,
    gates: int,
    default: tuple[str, ...],
    step: Callable[..., tuple[Array, Array | None]],
) -> tuple[Array | None, Array | None, Array | None]:
    """Y `[s, time, directions, batch, hidden]`, the last hidden state and the last cell state."""
    if len(x.shape) != 3 or len(w.shape) != 3 or len(r.shape) != 3:
        raise invalid(f"needs X, W and R of three axes, has {x.shape}, {w.shape}, {r.shape}")
    layout = number(node, "layout", 0)
    values = x.values.transpose(0, 2, 1, 3) if layout else x.values
    directions, hidden = w.shape[0], r.shape[2]
    if w.shape[1] != gates * hidden or r.shape != (directions, gates * hidden, hidden) or w.shape[2] != values.shape[3]:
        raise invalid(f"weights {w.shape} and {r.shape} do not fit an input of {values.shape[3]} and {hidden} units")
    direction = node.attributes.get("direction", "forward")
    if directions != (2 if direction == "bidirectional" else 1):
        raise invalid(f"has {directions} directions and is {direction!r}")
    time, batch = values.shape[1], values.shape[2]
    if lengths is not None and set(integers(lengths, "sequence_lens")) - {time}:
        raise NotComputed("sequences of different lengths")
    functions = functions_of(node, directions, default)
    clip = float(node.attributes.get("clip", 0.0))  # type: ignore[arg-type]
    outputs, last_h, last_c = [], [], []
    for index in range(directions):
        cell = cell_of(w, r, b, p, index, gates, hidden)
        backwards = direction == "reverse" or index == 1
        ordered = values[:, ::-1] if backwards else values
        run.claim(values.shape[0], time, batch, gates * hidden, work=float(values.shape[0] * time * batch) * (
            gates * hidden * (values.shape[3] + hidden)))  # fmt: skip
        projected = np.matmul(ordered, np.swapaxes(cell.w, -1, -2)[:, np.newaxis])
        if cell.input_bias is not None:
            projected = projected + cell.input_bias[:, np.newaxis, np.newaxis]
        h = state_of(h0, index, layout, values, batch, hidden)
        c = state_of(c0, index, layout, values, batch, hidden)
        steps = []
        for moment in range(time):
            h, next_c = step(node, projected[:, moment], h, c, cell, functions[index], clip)
            c = c if next_c is None else next_c
            steps.append(h)
        draws = max(item.shape[0] for item in steps) if steps else 1
        y = np.stack([np.broadcast_to(item, (draws, *item.shape[1:])) for item in steps], axis=1)
        outputs.append(y[:, ::-1] if backwards else y)
        last_h.append(h)
        last_c.append(c)
    found = (_joined(outputs, 2, layout), _stacked(last_h, layout), _stacked(last_c, layout))
    named = (*(bool(name) for name in node.outputs), False, False, False)
    return found[0] if named[0] else None, found[1] if named[1] else None, found[2] if named[2] else None


def _joined(outputs: list[Array], axis: int, layout: int) -> Array:
    draws = max(item.shape[0] for item in outputs)
    y = np.stack([np.broadcast_to(item, (draws, *item.shape[1:])) for item in outputs], axis=axis)
    return y.transpose(0, 3, 1, 2, 4) if layout else y


def _stacked(states: list[Array], layout: int) -> Array:
    draws = max(item.shape[0] for item in states)
    state = np.stack([np.broadcast_to(item, (draws, *item.shape[1:])) for item in states], axis=1)
    return state.transpose(0, 2, 1, 3) if layout else state


def cell_of(w: Draws, r: Draws, b: Draws | None, p: Draws | None, index: int, gates: int, hidden: int) -> Cell:
    """The weights of one direction."""
    bias = None if b is None else b.values[:, index]
    return Cell(
        w.values[:, index],
        r.values[:, index],
        None if bias is None else bias[:, : gates * hidden],
        None if bias is None else bias[:, gates * hidden :],
        None if p is None else p.values[:, index],
    )


def state_of(item: Draws | None, index: int, layout: int, values: Array, batch: int, hidden: int) -> Array:
    """Where a direction starts, `[s, batch, hidden]`: zeros unless given."""
    if item is None:
        return np.zeros((1, batch, hidden), values.dtype)
    state = item.values.transpose(0, 2, 1, 3) if layout else item.values
    if state.shape[1] <= index or state.shape[2:] != (batch, hidden):
        raise invalid(f"an initial state of {item.shape} for {batch} sequences and {hidden} units")
    return state[:, index]


def _clipped(values: Array, clip: float) -> Array:
    return np.clip(values, -clip, clip) if clip > 0 else values


def _product(h: Array, r: Array) -> Array:
    return np.asarray(np.matmul(h, np.swapaxes(r, -1, -2)))


def _lstm_step(
    node: Node, x: Array, h: Array, c: Array, cell: Cell, functions: list[Activation], clip: float
) -> tuple[Array, Array]:
    """One step; gates in ONNX's order: input, output, forget, cell."""
    f, g, last = functions
    hidden = h.shape[-1]
    total = x + _product(h, cell.r)
    if cell.recurrent_bias is not None:
        total = total + cell.recurrent_bias[:, np.newaxis]
    i, o, forget, candidate = (total[..., k * hidden : (k + 1) * hidden] for k in range(4))
    if cell.peephole is not None:
        pi, po, pf = (cell.peephole[:, np.newaxis, k * hidden : (k + 1) * hidden] for k in range(3))
        i, forget = i + pi * c, forget + pf * c
    i = f(_clipped(i, clip))
    forget = 1 - i if node.attributes.get("input_forget") else f(_clipped(forget, clip))
    new = forget * c + i * g(_clipped(candidate, clip))
    if cell.peephole is not None:
        o = o + po * new
    return f(_clipped(o, clip)) * last(new), new


def _gru_step(
    node: Node, x: Array, h: Array, _c: Array, cell: Cell, functions: list[Activation], clip: float
) -> tuple[Array, None]:
    """One step; gates in ONNX's order: update, reset, hidden."""
    f, g = functions
    hidden = h.shape[-1]
    rz, rh = cell.r[:, : 2 * hidden], cell.r[:, 2 * hidden :]
    bias = cell.recurrent_bias
    gates = x[..., : 2 * hidden] + _product(h, rz)
    if bias is not None:
        gates = gates + bias[:, np.newaxis, : 2 * hidden]
    gates = f(_clipped(gates, clip))
    z, reset = gates[..., :hidden], gates[..., hidden:]
    tail = 0.0 if bias is None else bias[:, np.newaxis, 2 * hidden :]
    after = node.attributes.get("linear_before_reset")
    inner = reset * (_product(h, rh) + tail) if after else _product(reset * h, rh) + tail
    candidate = g(_clipped(x[..., 2 * hidden :] + inner, clip))
    return (1 - z) * candidate + z * h, None


def _rnn_step(
    _node: Node, x: Array, h: Array, _c: Array, cell: Cell, functions: list[Activation], clip: float
) -> tuple[Array, None]:
    total = x + _product(h, cell.r)
    if cell.recurrent_bias is not None:
        total = total + cell.recurrent_bias[:, np.newaxis]
    return functions[0](_clipped(total, clip)), None


@operator("LSTM")
def lstm(
    node: Node,
    run: Run,
    x: Draws,
    w: Draws,
    r: Draws,
    b: Draws | None = None,
    lengths: Draws | None = None,
    h0: Draws | None = None,
    c0: Draws | None = None,
    p: Draws | None = None,
) -> tuple[Array | None, ...]:
    """Long short-term memory; Y, Y_h, Y_c."""
    return recur(
        node, run, x, w, r, b, lengths, h0, c0, p, gates=4, default=("Sigmoid", "Tanh", "Tanh"), step=_lstm_step
    )


@operator("GRU")
def gru(
    node: Node,
    run: Run,
    x: Draws,
    w: Draws,
    r: Draws,
    b: Draws | None = None,
    lengths: Draws | None = None,
    h0: Draws | None = None,
) -> tuple[Array | None, ...]:
    """Gated recurrent unit; Y, Y_h."""
    return recur(node, run, x, w, r, b, lengths, h0, None, None, gates=3, default=("Sigmoid", "Tanh"), step=_gru_step)[
        :2
    ]


@operator("RNN")
def rnn(
    node: Node,
    run: Run,
    x: Draws,
    w: Draws,
    r: Draws,
    b: Draws | None = None,
    lengths: Draws | None = None,
    h0: Draws | None = None,
) -> tuple[Array | None, ...]:
    """A plain recurrent layer; Y, Y_h."""
    return recur(node, run, x, w, r, b, lengths, h0, None, None, gates=1, default=("Tanh",), step=_rnn_step)[:2]

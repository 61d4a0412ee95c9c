"""Fourier transforms, the windows before them and the mel filters behind them."""

from collections.abc import Callable

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axis_in, constant, integers, invalid, number, working_type
from initlint.operators.table import Array, Draws, NotComputed, Run, operator

LOG = 5.0  # multiply-adds of a fast Fourier transform, an element and a doubling of its length


def _one(item: Draws, what: str) -> int:
    values = integers(item, what)
    if len(values) != 1:
        raise invalid(f"{what} is not one number")
    return values[0]


def _complex(values: Array) -> Array:
    """`[..., 1 or 2]` of real and imaginary parts as complex numbers `[...]`."""
    parts = values.shape[-1]
    if parts not in {1, 2}:
        raise invalid(f"{parts} parts of a complex number")
    wide = np.complex64 if values.dtype == np.float32 else np.complex128
    result: Array = values[..., 0].astype(wide)
    if parts == 2:
        result += np.asarray(1j * values[..., 1], wide)
    return result


def _parts(values: Array, float_type: np.dtype[np.floating]) -> Array:
    return np.stack([values.real, values.imag], axis=-1).astype(float_type)


def _claim(run: Run, shape: tuple[int, ...], length: int) -> None:
    size = float(np.prod(shape, dtype=np.float64))
    run.claim(*shape, work=LOG * size * max(1.0, np.log2(max(length, 2))))


@operator("DFT")
def dft(node: Node, run: Run, x: Draws, length: Draws | None = None, axis: Draws | None = None) -> Array:
    """Discrete Fourier transform along one axis, of real or complex `[..., 1 or 2]`, and its inverse."""
    rank = len(x.shape)
    if rank < 2:
        raise invalid(f"an input of shape {x.shape}")
    if node.version < 20:
        along = axis_in(number(node, "axis", 1), rank)
    else:
        along = axis_in(-2 if axis is None else _one(axis, "the axis"), rank)
    if along == rank - 1:
        raise invalid("a transform along real and imaginary parts")
    inverse, onesided = bool(number(node, "inverse", 0)), bool(number(node, "onesided", 0))
    size = x.shape[along]
    if inverse and onesided:
        size = 2 * (size - 1)
    size = size if length is None else _one(length, "dft_length")
    if size < 1:
        raise invalid(f"a transform of length {size}")
    shape = list(x.values.shape)
    shape[along + 1] = size // 2 + 1 if onesided and not inverse else size
    _claim(run, (*shape[:-1], 2), size)
    values = _complex(x.values)
    if inverse and onesided:
        real = np.fft.irfft(values, n=size, axis=along + 1)
        return np.asarray(real[..., np.newaxis], x.values.dtype)
    found = (np.fft.ifft if inverse else np.fft.fft)(values, n=size, axis=along + 1)
    if onesided:
        found = np.take(found, np.arange(size // 2 + 1), axis=along + 1)
    return _parts(found, x.values.dtype)


@operator("STFT")
def stft(
    node: Node, run: Run, x: Draws, step: Draws, window: Draws | None = None, length: Draws | None = None
) -> Array:
    """Fourier transforms of overlapping frames: `[B, frames, bins, 2]` of `[B, time]` or `[B, time, 1 or 2]`."""
    values = x.values[..., np.newaxis] if len(x.shape) == 2 else x.values
    if values.ndim != 4:
        raise invalid(f"a signal of shape {x.shape}")
    hop = _one(step, "frame_step")
    if length is not None:
        size = _one(length, "frame_length")
    else:
        size = values.shape[2] if window is None else window.shape[0]
    if hop < 1 or not 0 < size <= values.shape[2]:
        raise invalid(f"frames of {size} every {hop} in a signal of {values.shape[2]}")
    frames = 1 + (values.shape[2] - size) // hop
    bins = size // 2 + 1 if number(node, "onesided", 1) else size
    draws = max(values.shape[0], 1 if window is None else window.values.shape[0])
    _claim(run, (draws, values.shape[1], frames, size), size)
    signal = _complex(values)
    taken = np.lib.stride_tricks.sliding_window_view(signal, size, axis=2)[:, :, ::hop]
    if window is not None:
        shaped = window.values
        if shaped.shape[1] != size:  # centred in a longer frame, as the field does
            before = (size - shaped.shape[1]) // 2
            shaped = np.pad(shaped, ((0, 0), (before, size - shaped.shape[1] - before)))
        taken = taken * shaped[:, np.newaxis, np.newaxis]
    return _parts(np.fft.fft(taken, axis=-1)[..., :bins], x.values.dtype)


def _window(terms: tuple[float, ...]) -> Callable[[Node, Run, Draws], Array]:
    """A sum of cosines with alternating signs, periodic or symmetric."""

    def apply(node: Node, run: Run, size: Draws) -> Array:
        count = _one(size, "the size")
        if count < 1:
            raise invalid(f"a window of {count}")
        run.claim(1, count)
        period = count if number(node, "periodic", 1) else max(count - 1, 1)
        angle = 2 * np.pi * np.arange(count) / period
        values = sum((-1) ** order * factor * np.cos(order * angle) for order, factor in enumerate(terms))
        return np.asarray(values, working_type(run, number(node, "output_datatype", 1)))[np.newaxis]

    return apply


operator("HannWindow")(_window((0.5, 0.5)))
operator("HammingWindow")(_window((25 / 46, 21 / 46)))
operator("BlackmanWindow")(_window((0.42, 0.5, 0.08)))


@operator("MelWeightMatrix")
def mel_weight_matrix(
    node: Node, run: Run, filters: Draws, length: Draws, rate: Draws, low: Draws, high: Draws
) -> Array:
    """Triangles equally spaced in mel, from spectrum bins `[length // 2 + 1]` to filters."""
    count, size = _one(filters, "num_mel_bins"), _one(length, "dft_length")
    if count < 1 or size < 1:
        raise invalid(f"{count} filters of a transform of {size}")
    run.claim(1, size // 2 + 1, count)
    edges = [float(constant(item, "an edge").reshape(-1)[0]) for item in (low, high)]
    first, last = (2595 * np.log10(1 + edge / 700) for edge in edges)
    mel = first + np.arange(count + 2) * (last - first) / (count + 2)
    bins = ((size + 1) * (700 * (10 ** (mel / 2595) - 1)) // _one(rate, "sample_rate")).astype(int)
    if bins[0] < 0 or bins[-1] > size // 2 + 1:
        raise invalid(f"filters up to bin {bins[-1]} of {size // 2 + 1}")
    out = np.zeros((size // 2 + 1, count))
    for index in range(count):
        left, centre, right = bins[index : index + 3]
        if centre == left:
            out[centre, index] = 1
        else:
            rise = np.arange(left, centre + 1)
            out[rise, index] = (rise - left) / (centre - left)
        if right > centre:
            fall = np.arange(centre, right)
            out[fall, index] = (right - fall) / (right - centre)
    return np.asarray(out, working_type(run, number(node, "output_datatype", 1)))[np.newaxis]


@operator("com.microsoft::Rfft")
def rfft(node: Node, run: Run, x: Draws) -> Array:
    """The non-negative frequencies of a real signal over the last axes: `[..., 2]`."""
    axes = _signal_axes(node, len(x.shape))
    _claim(run, (*x.values.shape, 2), x.shape[-1])
    return _parts(np.fft.rfftn(x.values, axes=axes), x.values.dtype)


@operator("com.microsoft::Irfft")
def irfft(node: Node, run: Run, x: Draws) -> Array:
    """The real signal of non-negative frequencies `[..., 2]`."""
    axes = _signal_axes(node, len(x.shape) - 1)
    _claim(run, x.values.shape, x.shape[-2])
    return np.asarray(np.fft.irfftn(_complex(x.values), axes=axes), x.values.dtype)


def _signal_axes(node: Node, rank: int) -> tuple[int, ...]:
    count = number(node, "signal_ndim", 1)
    if number(node, "normalized", 0) or not number(node, "onesided", 1):
        raise NotComputed("a normalised or two-sided transform")
    if not 0 < count <= rank:
        raise invalid(f"a transform over {count} of {rank} axes")
    return tuple(range(-count, 0))

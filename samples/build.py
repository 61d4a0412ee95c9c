"""Build the sample models: for each rule one that breaks it and a good twin that does not, from a seed.

    python samples/build.py [FOLDER]        writes FOLDER/bad/<CODE>.onnx and FOLDER/good/<CODE>.onnx

Every sample is a network somebody could have exported: layers, biases, activations, and exactly one thing that differs
between the twins. They are small (a few dozen kB) so that they can live in the repository.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array: TypeAlias = npt.NDArray[Any]
OPSET = 18


class Sketch:
    """A graph being drawn: call `gemm`, `conv`, `op`, ... in order, then `model`."""

    def __init__(self, seed: int, shape: tuple[int | str, ...], dtype: type[np.generic] = np.float32) -> None:
        self.random = np.random.Generator(np.random.Philox(seed))
        self.shape, self.dtype = shape, dtype
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.last = "x"
        self.count = 0

    def normal(self, *shape: int, std: float) -> Array:
        """Independent normal draws."""
        return self.random.standard_normal(shape) * std

    def keep(self, name: str, values: Array) -> str:
        """Store a constant."""
        self.weights.append(numpy_helper.from_array(np.asarray(values, self.dtype), name))
        return name

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: object) -> str:
        """Append a node on the last output (or on the inputs named) and make its output the last."""
        self.count += 1
        name = name or f"{kind.lower()}{self.count}"
        output = f"{name}_out"
        self.nodes.append(helper.make_node(kind, list(inputs) or [self.last], [output], name=name, **attributes))
        self.last = output
        return output

    def gemm(self, name: str, weight: Array, bias: Array | float = 0.0) -> str:
        """A fully connected layer; weight `[out, in]` as PyTorch stores it."""
        weight_name = self.keep(f"{name}.weight", weight)
        bias_name = self.keep(f"{name}.bias", np.broadcast_to(np.asarray(bias, float), weight.shape[:1]))
        return self.op("Gemm", self.last, weight_name, bias_name, name=name, transB=1)

    def conv(self, name: str, weight: Array, bias: Array | float = 0.0) -> str:
        """A 3x3 (or whatever the weight is) convolution with padding that keeps the size."""
        weight_name = self.keep(f"{name}.weight", weight)
        bias_name = self.keep(f"{name}.bias", np.broadcast_to(np.asarray(bias, float), weight.shape[:1]))
        pads = [extent // 2 for extent in weight.shape[2:]] * 2
        return self.op("Conv", self.last, weight_name, bias_name, name=name, pads=pads)

    def layer_norm(self, name: str, width: int) -> str:
        """LayerNormalization with gamma 1 and beta 0."""
        gamma, beta = self.keep(f"{name}.weight", np.ones(width)), self.keep(f"{name}.bias", np.zeros(width))
        return self.op("LayerNormalization", self.last, gamma, beta, name=name)

    def batch_norm(self, name: str, gamma: Array, beta: Array, mean: Array, variance: Array) -> str:
        """BatchNormalization in inference mode."""
        parts = [
            self.keep(f"{name}.{part}", values)
            for part, values in (
                ("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", variance)
            )
        ]  # fmt: skip
        return self.op("BatchNormalization", self.last, *parts, name=name)

    def model(self, output: tuple[int | str, ...]) -> onnx.ModelProto:
        """The finished model."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            self.nodes,
            "sample",
            [helper.make_tensor_value_info("x", kind, self.shape)],
            [helper.make_tensor_value_info(self.last, kind, output)],
            self.weights,
        )
        domains = {"": OPSET} | {node.domain: 1 for node in self.nodes if node.domain}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains.items()],
            producer_name="initlint samples",
        )
        model.ir_version = 9
        onnx.checker.check_model(model)
        return model


WIDTH = 48


def mlp(
    seed: int = 1,
    *,
    depth: int = 6,
    activation: str = "Relu",
    gain: float = 2.0,
    width: int = WIDTH,
    change: Callable[[int, Array], Array] = lambda _, weight: weight,
    bias: Callable[[int, int], Array | float] = lambda _, __: 0.0,
    uniform: bool = False,
    dtype: type[np.generic] = np.float32,
    entry: float = 1.0,
) -> onnx.ModelProto:
    """A stack of fully connected layers whose weights have variance `gain / fan_in` before `change(layer, weight)`."""
    sketch = Sketch(seed, ("batch", width), dtype)
    for layer in range(1, depth + 1):
        std = (gain / width) ** 0.5 * (entry if layer == 1 else 1.0)
        if uniform:
            weight = sketch.random.uniform(-1, 1, (width, width)) * std * 3**0.5
        else:
            weight = sketch.normal(width, width, std=std)
        sketch.gemm(f"fc{layer}", change(layer, weight), bias(layer, width))
        if layer < depth:
            sketch.op(activation, name=f"act{layer}")
    return sketch.model(("batch", width))


def only(layer: int, change: Callable[[Array], Array]) -> Callable[[int, Array], Array]:
    """Change one layer's weight and leave the others."""
    return lambda index, weight: change(weight) if index == layer else weight


def default_bias(seed: int) -> Callable[[int, int], Array]:
    """PyTorch's own bias: uniform within 1/sqrt(fan_in)."""
    random = np.random.Generator(np.random.Philox(seed))
    return lambda _, width: random.uniform(-1, 1, width) / width**0.5


def zero_rows(share: float) -> Callable[[Array], Array]:
    """Set a share of the outputs' weights to zero, the others scaled to keep the second moment."""

    def change(weight: Array) -> Array:
        dead = int(share * len(weight))
        changed = weight.copy()
        changed[:dead] = 0
        return changed

    return change


def trained(sketch: Sketch, rows: int, columns: int, gain: float = 1.0) -> Array:
    """A matrix as training leaves it: a fresh one with a few strong directions and uneven rows and columns."""
    weight = sketch.normal(rows, columns, std=1.0)
    weight *= np.exp(sketch.normal(rows, 1, std=0.4)) * np.exp(sketch.normal(1, columns, std=0.4))
    for strength in (3.0, 2.0, 1.5):
        u, v = sketch.normal(rows, 1, std=1.0), sketch.normal(1, columns, std=1.0)
        weight += strength * (u @ v) / max(rows, columns) ** 0.5
    return weight * (gain / columns / np.mean(weight**2)) ** 0.5


def trained_mlp(
    *, fresh: int | None = None, dtype: type[np.generic] = np.float32, scale: float = 1.0
) -> onnx.ModelProto:
    """Trained layers; one of them replaced by a fresh one, or the second scaled and the third scaled back."""
    sketch = Sketch(31, ("batch", 96), dtype)
    for layer in range(1, 6):
        weight = trained(sketch, 96, 96, 2.0)
        if layer == fresh:
            weight = sketch.normal(96, 96, std=(2 / 96) ** 0.5)
        bias = np.zeros(96) if layer == fresh else sketch.normal(96, std=0.3) - 0.05
        factor = {2: scale, 3: 1 / scale}.get(layer, 1.0)
        sketch.gemm(f"fc{layer}", weight * factor, bias * (scale if layer == 2 else 1.0))
        if layer < 5:
            sketch.op("Relu", name=f"act{layer}")
    return sketch.model(("batch", 96))


def normalised(scale: float) -> onnx.ModelProto:
    """A layer whose output is scaled and then normalised: harmless forward, not backward."""
    sketch = Sketch(41, ("batch", WIDTH))
    for layer in range(1, 5):
        factor = scale if layer == 1 else 1.0
        sketch.gemm(f"fc{layer}", sketch.normal(WIDTH, WIDTH, std=factor * (2 / WIDTH) ** 0.5))
        sketch.layer_norm(f"norm{layer}", WIDTH)
        sketch.op("Relu", name=f"act{layer}")
    sketch.gemm("head", sketch.normal(WIDTH, WIDTH, std=(2 / WIDTH) ** 0.5))
    return sketch.model(("batch", WIDTH))


def attention(scale: float) -> onnx.ModelProto:
    """One block of self-attention whose queries are scaled."""
    sketch = Sketch(51, (1, 16, 32))
    std = (1 / 32) ** 0.5
    for name, factor in (("q", scale), ("k", 1.0), ("v", 1.0)):
        weight = sketch.keep(f"{name}.weight", sketch.normal(32, 32, std=factor * std))
        sketch.op("MatMul", "x", weight, name=name)
    sketch.op("Transpose", "k_out", name="kt", perm=[0, 2, 1])
    sketch.op("Mul", "q_out", sketch.keep("scale", np.asarray(32**-0.5)), name="scaled")
    sketch.op("MatMul", "scaled_out", "kt_out", name="scores")
    sketch.op("Softmax", name="attention", axis=-1)
    sketch.op("MatMul", "attention_out", "v_out", name="mixed")
    weight = sketch.keep("o.weight", sketch.normal(32, 32, std=std))
    sketch.op("MatMul", "mixed_out", weight, name="o")
    sketch.op("Add", "x", "o_out", name="residual")
    sketch.layer_norm("norm", 32)
    return sketch.model((1, 16, 32))


def convolutional(kind: str) -> onnx.ModelProto:
    """Conv-BatchNorm-ReLU with statistics that fit, are fresh, contradict the weights or are degenerate."""
    sketch = Sketch(61, ("batch", 8, 16, 16))
    width = 16
    before = 8
    for layer in range(1, 5):
        weight = trained(sketch, width, before * 9, 2.0).reshape(width, before, 3, 3)
        sketch.conv(f"conv{layer}", weight)
        gamma, beta = np.exp(sketch.normal(width, std=0.2)), sketch.normal(width, std=0.2)
        mean, variance = sketch.normal(width, std=0.2), np.exp(sketch.normal(width, std=0.3)) * 1.5
        if layer == 2:
            match kind:
                case "contradict":
                    mean, variance = mean + 4000.0, variance * 1e-3
                    beta = beta + gamma * 4000.0 / np.sqrt(variance)
                case "degenerate":
                    variance = np.where(np.arange(width) == 3, -1.0, variance)
        if kind == "fresh":
            mean, variance = np.zeros(width), np.ones(width)
        sketch.batch_norm(f"bn{layer}", gamma, beta, mean, variance)
        sketch.op("Relu", name=f"act{layer}")
        before = width
    return sketch.model(("batch", width, 16, 16))


def unknown_operator(*, whole: bool) -> onnx.ModelProto:
    """A custom operator in the middle (nothing after it is known) or off to the side."""
    sketch = Sketch(71, ("batch", WIDTH))
    for layer in range(1, 13):
        sketch.gemm(f"fc{layer}", sketch.normal(WIDTH, WIDTH, std=(2 / WIDTH) ** 0.5))
        sketch.op("Relu", name=f"act{layer}")
        if whole and layer == 3:
            sketch.op("Mystery", name="mystery", domain="example.custom")
    if not whole:
        sketch.op("Mystery", name="mystery", domain="example.custom")
    return sketch.model(("batch", WIDTH))


def unseen(*tail: tuple[str, Any], before: float = 0.0) -> onnx.ModelProto:
    """A sound network and, behind an operator that only onnxruntime knows (SampleOp: it copies), what the probe alone sees.

    `tail`: operators with their constant operand, None for operators of one input; `before` is added in front of it.
    """
    sketch = Sketch(91, ("batch", WIDTH))
    for layer in range(1, 21):
        sketch.gemm(f"fc{layer}", sketch.normal(WIDTH, WIDTH, std=(2 / 1.09 / WIDTH) ** 0.5))
        if layer < 20:
            sketch.op("LeakyRelu", name=f"act{layer}", alpha=0.3)
    if before:
        sketch.op("Add", sketch.last, sketch.keep("before.value", np.asarray(before)), name="before")
    sketch.op("SampleOp", name="unseen", domain="com.microsoft")
    for kind, operand in tail:
        constant = [] if operand is None else [sketch.keep(f"tail{sketch.count}.value", np.asarray(operand))]
        sketch.op(kind, sketch.last, *constant, name=f"tail{sketch.count}")
    return sketch.model(("batch", WIDTH))


def unseen_gradient(scale: float) -> onnx.ModelProto:
    """As `normalised`, behind an operator that hides the gradient from the prediction."""
    sketch = Sketch(92, ("batch", WIDTH))
    for layer in range(1, 9):
        factor = scale if layer == 1 else 1.0
        sketch.gemm(f"fc{layer}", sketch.normal(WIDTH, WIDTH, std=factor * (2 / WIDTH) ** 0.5))
        if layer < 3:
            sketch.layer_norm(f"norm{layer}", WIDTH)
        sketch.op("Relu", name=f"act{layer}")
    sketch.gemm("head", sketch.normal(WIDTH, WIDTH, std=(2 / WIDTH) ** 0.5))
    sketch.op("SampleOp", name="unseen", domain="com.microsoft")
    return sketch.model(("batch", WIDTH))


def noisy(*, draws: bool) -> onnx.ModelProto:
    """A network that adds random numbers at inference, or nothing."""
    sketch = Sketch(93, ("batch", WIDTH))
    before = sketch.gemm("fc1", sketch.normal(WIDTH, WIDTH, std=(2 / WIDTH) ** 0.5))
    if draws:
        sketch.op("RandomNormalLike", before, name="noise", scale=0.1)
        sketch.op("Add", before, sketch.last, name="noisy")
    sketch.op("Relu", name="act1")
    sketch.gemm("fc2", sketch.normal(WIDTH, WIDTH, std=(2 / WIDTH) ** 0.5))
    return sketch.model(("batch", WIDTH))


def half(scale: float) -> onnx.ModelProto:
    """A float16 network whose second layer is scaled and whose third undoes it."""
    change = lambda layer, weight: weight * {2: scale, 3: 1 / scale}.get(layer, 1.0)  # noqa: E731
    return mlp(81, depth=4, change=change, dtype=np.float16)


def subnormal(weight: Array) -> Array:
    """A few weights below the smallest normal float32."""
    changed = weight.copy()
    changed[0, :4] = 1e-40
    return changed


def poisoned(weight: Array) -> Array:
    """One NaN."""
    changed = weight.copy()
    changed[3, 5] = np.nan
    return changed


def duplicated(weight: Array) -> Array:
    """One pair of identical outputs."""
    changed = weight.copy()
    changed[1] = changed[0]
    return changed


def vanishing(weight: Array) -> Array:
    """One weight in ten far below what float16 can hold."""
    return np.where(np.arange(weight.size).reshape(weight.shape) % 10 == 0, 1e-10, weight)


def dying(_: int, width: int) -> Array:
    """A bias that keeps three in five units below zero."""
    return np.where(np.arange(width) < 0.6 * width, -8.0, 0.3)


Pair: TypeAlias = tuple[Callable[[], onnx.ModelProto], Callable[[], onnx.ModelProto]]

SAMPLES: dict[str, Pair] = {
    "IL001": (lambda: unknown_operator(whole=True), mlp),
    "IL002": (lambda: unknown_operator(whole=False), mlp),
    # The same model twice: the settings say what its custom operator does, wrongly or rightly.
    "IL003": (lambda: unseen(before=-2.5), lambda: unseen(before=-2.5)),
    "IL101": (lambda: mlp(2, change=only(3, lambda w: w * 2.6)), lambda: mlp(2)),
    "IL102": (lambda: mlp(3, change=only(3, lambda w: w / 2.6)), lambda: mlp(3)),
    "IL103": (lambda: mlp(4, depth=8, change=only(4, lambda w: w * 6.0)), lambda: mlp(4, depth=8)),
    "IL104": (lambda: mlp(5, gain=1.0, uniform=True), lambda: mlp(5, uniform=True)),
    "IL105": (lambda: mlp(6, change=only(3, lambda w: np.tile(w[:1], (len(w), 1)))), lambda: mlp(6)),
    "IL201": (lambda: mlp(7, depth=20, change=lambda _, w: w * 3), lambda: mlp(7, depth=20)),
    "IL202": (
        lambda: mlp(8, depth=20, gain=1 / 3, uniform=True, bias=default_bias(8)),
        lambda: mlp(8, depth=20, uniform=True),
    ),
    "IL203": (lambda: mlp(9, depth=12, change=lambda _, w: w * 1.35), lambda: mlp(9, depth=12)),
    "IL204": (lambda: normalised(1e-3), lambda: normalised(1.0)),
    "IL205": (lambda: normalised(5e3), lambda: normalised(1.0)),
    "IL206": (
        lambda: mlp(10, depth=12, activation="Tanh", gain=1.0, change=lambda _, w: w * 4),
        lambda: mlp(10, depth=12, activation="Tanh", gain=1.0),
    ),
    "IL207": (lambda: mlp(11, bias=lambda i, n: dying(i, n) if i == 3 else 0.0), lambda: mlp(11)),
    "IL208": (lambda: attention(200.0), lambda: attention(1.0)),
    "IL301": (lambda: mlp(12, change=only(3, poisoned)), lambda: mlp(12)),
    "IL302": (lambda: mlp(13, change=only(3, lambda w: w * 0)), lambda: mlp(13)),
    "IL303": (lambda: mlp(14, change=only(3, lambda w: np.full_like(w, 0.03))), lambda: mlp(14)),
    "IL304": (lambda: mlp(15, change=only(3, zero_rows(0.25))), lambda: mlp(15)),
    "IL305": (lambda: mlp(16, change=only(3, subnormal)), lambda: mlp(16)),
    "IL306": (lambda: trained_mlp(fresh=4), trained_mlp),
    "IL307": (lambda: convolutional("degenerate"), lambda: convolutional("fits")),
    "IL308": (lambda: mlp(17, change=only(3, duplicated)), lambda: mlp(17)),
    "IL309": (lambda: convolutional("contradict"), lambda: convolutional("fits")),
    "IL310": (lambda: convolutional("fresh"), lambda: convolutional("fits")),
    "IL401": (lambda: half(12000.0), lambda: half(1.0)),
    "IL402": (lambda: half(2.5e-5), lambda: half(1.0)),
    "IL403": (lambda: trained_mlp(scale=12000.0), trained_mlp),
    "IL404": (lambda: trained_mlp(scale=1e-5), trained_mlp),
    "IL405": (lambda: trained_mlp(scale=250.0, dtype=np.float16), lambda: trained_mlp(dtype=np.float16)),
    "IL406": (lambda: mlp(18, change=only(3, vanishing)), lambda: mlp(18)),
    "IL501": (lambda: unseen(("Log", None)), lambda: unseen(("Abs", None))),
    "IL502": (lambda: unseen(("Mul", 2e4)), lambda: unseen(("Mul", 2.0))),
    "IL503": (lambda: unseen(("Mul", 2e-5)), lambda: unseen(("Mul", 2.0))),
    "IL504": (
        lambda: unseen(("Add", dying(0, WIDTH) * 8), ("Relu", None)),
        lambda: unseen(("Add", np.full(WIDTH, 0.3)), ("Relu", None)),
    ),
    "IL505": (
        lambda: unseen(("Mul", 40.0), ("Tanh", None), ("Mul", 1.0)),
        lambda: unseen(("Mul", 0.4), ("Tanh", None), ("Mul", 1.0)),
    ),
    "IL506": (lambda: mlp(20), lambda: mlp(20)),
    "IL507": (lambda: noisy(draws=True), lambda: noisy(draws=False)),
    "IL508": (lambda: unseen_gradient(1e-3), lambda: unseen_gradient(1.0)),
}


def build(folder: Path) -> list[Path]:
    """Write every sample; the files written."""
    written = []
    for code, (bad, good) in SAMPLES.items():
        for kind, maker in (("bad", bad), ("good", good)):
            path = folder / kind / f"{code}.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(maker().SerializeToString(deterministic=True))
            written.append(path)
    return written


if __name__ == "__main__":
    for file in build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent):
        print(file)

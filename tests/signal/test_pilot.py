"""The pilot: what a dry run says about shapes and costs, and what follows for sizes and draws."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from initlint.inputs import describe, generator_for
from initlint.model import open_model
from initlint.operators import load
from initlint.operators.table import Run
from initlint.signal import propagate as module
from initlint.signal.evaluate import Evaluation
from initlint.signal.propagate import propagate

RANDOM = np.random.Generator(np.random.Philox(3))


def model_of(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A model from onnx's text form with initializers."""
    graph = parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def noise(*shape: int) -> np.ndarray:
    """float32 noise."""
    return RANDOM.standard_normal(shape, dtype=np.float32)


MIXED = model_of(
    """g (float[1, 3, 64, 64] x) => (float[a, b] y) {
        a = Conv<pads=[1, 1, 1, 1]>(x, w1)
        b = Relu(a)
        c = ConvTranspose<strides=[2, 2]>(b, w2)
        d = Einsum<equation="bchw,cd->bdhw">(c, w3)
        e = ReduceMean<keepdims=0>(d, axes)
        f = MatMul(e, w4)
        t = Transpose<perm=[1, 0]>(f)
        y = Gemm(t, f)
    }""",
    w1=noise(8, 3, 3, 3),
    w2=noise(8, 4, 2, 2),
    w3=noise(4, 64),
    w4=noise(64, 600),
    axes=np.array([2, 3]),
)


def walked(proto: onnx.ModelProto, *, dry: bool) -> Evaluation:
    """One evaluation on two draws."""
    with open_model(proto) as model:
        run = Run(draws=2, float_type=np.float32, generator=generator_for(model, 0), dry=dry)
        load()
        evaluation = Evaluation(model, run, {}, statistics=False)
        for item in describe(model):
            evaluation.feed(item, run.generator.standard_normal((2, *item.shape), dtype=np.float32))
        evaluation.walk(model.graph)
    return evaluation


def test_a_dry_run_finds_the_shapes_and_costs_of_a_real_one() -> None:
    """Nothing that the pilot is asked for is in the products it leaves out."""
    dry, real = walked(MIXED, dry=True), walked(MIXED, dry=False)
    assert (dry.shapes, dry.largest) == (real.shapes, real.largest)
    assert dry.run.work == pytest.approx(real.run.work, rel=0.05)
    assert not dry.contradictions


def test_what_the_values_decide_is_found_by_a_real_pilot() -> None:
    """A product of ones has no negative element, noise has: the dry run's shapes are not the network's."""
    proto = model_of(
        """g (float[1, 1, 64, 64] x) => (float[k] y) {
            z = Mul(x, zero)
            a = Conv(z, w, bias)
            flat = Reshape(a, all)
            below = Less(flat, nil)
            picked = Compress(flat, below)
            filled = Concat<axis=0>(picked, four)
            y = Reshape(filled, shape)
        }""",
        w=noise(1, 1, 1, 1), zero=np.float32(0), bias=np.float32([1]), all=np.array([-1]), nil=np.float32(0),
        four=noise(4), shape=np.array([2, 2]),
    )  # fmt: skip
    with open_model(proto) as model:
        found = propagate(model)
    assert not found.unknown


@pytest.mark.parametrize(("cost", "draws"), [(1e6, 256), (1e8, 16), (3e9, 6), (3e10, 4), (6e10, 2)])
def test_costly_networks_get_fewer_draws(cost: float, draws: int) -> None:
    """The work stays below what the deadline allows a small file, down to two draws."""
    assert module._draws(cost, 1000, module.WORK_LIMIT) == draws
    assert cost * draws <= module.WORK_LIMIT


def test_an_image_that_costs_too_much_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The side assumed for an image gives way before tensors become unknown, and the report says so."""
    proto = model_of(
        "g (float[n, 3, height, width] x) => (float[n, 8, a, b] y) { y = Conv(x, w) }", w=noise(8, 3, 3, 3)
    )
    monkeypatch.setattr(module, "WORK_LIMIT", 4e6)
    monkeypatch.setattr(module, "WORK_A_BYTE", 0.0)
    with open_model(proto) as model:
        found = propagate(model)
    assert found.inputs[0].shape == (1, 3, 56, 56)
    assert found.coverage == 1


def test_sides_that_are_made_smaller_can_still_be_halved() -> None:
    """A U-shaped network on 400 x 640: half of it, 200, is halved to 25 and then to 12, which does not double to 25."""
    lines = ["h0 = Conv<pads=[1, 1, 1, 1]>(x, w0)"]
    for step in range(1, 5):
        lines.append(f"p{step} = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(h{step - 1})")
        lines.append(f"h{step} = Conv<pads=[1, 1, 1, 1]>(p{step}, w{step})")
    before = "h4"
    for step in range(3, -1, -1):
        lines += [
            f'u{step} = Resize<mode="nearest">({before}, , double)',
            f"c{step} = Concat<axis=1>(u{step}, h{step})",
        ]
        lines.append(f"d{step} = Conv<pads=[1, 1, 1, 1]>(c{step}, v{step})")
        before = f"d{step}"
    model = model_of(
        f"g (float[1, 1, 400, 640] x) => (float[a, b, c, d] d0) {{ {' '.join(lines)} }}",
        w0=noise(48, 1, 3, 3), double=np.array([1, 1, 2, 2], np.float32),
        **{f"w{step}": noise(48, 48, 3, 3) for step in range(1, 5)}, **{f"v{step}": noise(48, 96, 3, 3) for step in range(4)},
    )  # fmt: skip
    with open_model(model) as opened:
        found = propagate(opened)
    assert found.shapes["d0"][2] < 400
    assert not found.unknown

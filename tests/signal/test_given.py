"""What is assumed of the inputs, and the user's own data in its place."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from initlint import check
from initlint.inputs import Kind
from initlint.model import open_model
from initlint.signal.given import draws_from
from initlint.signal.propagate import Assumptions, Propagation, propagate

RANDOM = np.random.Generator(np.random.Philox(17))


def model_of(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A model from onnx's text form with initializers."""
    graph = parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def predicted(proto: onnx.ModelProto, **assumptions: object) -> Propagation:
    """The prediction under some assumptions."""
    with open_model(proto) as model:
        return propagate(model, Assumptions(**assumptions))  # type: ignore[arg-type]


DENSE = model_of(
    "g (float[n, 32] x) => (float[n, 16] y) { y = MatMul(x, w) }", w=RANDOM.standard_normal((32, 16)).astype(np.float32)
)
SMOOTHING = model_of(
    "g (float[n, 1, h, w] x) => (float[n, 1, a, b] y) { y = AveragePool<kernel_shape=[5, 5]>(x) }"
)  # fmt: skip


def smooth_images(count: int) -> np.ndarray:
    """Images whose neighbouring pixels are nearly equal."""
    rough = RANDOM.standard_normal((count, 1, 8, 8))
    return np.kron(rough, np.ones((8, 8))).astype(np.float32)


def test_the_default_input_is_standard_normal() -> None:
    """And says which sizes were assumed."""
    found = predicted(DENSE)
    assert found.signals["x"].std == pytest.approx(1, rel=0.02)
    assert found.notes == ("x: n=1",)


def test_given_samples_bring_their_mean_std_and_correlation() -> None:
    """A mean over neighbours keeps smooth images and averages white noise away."""
    images = smooth_images(64) * 10 + 100
    found = predicted(SMOOTHING, given=draws_from([{"x": image[np.newaxis]} for image in images], 0))
    assert found.inputs[0].shape == (1, 1, 64, 64)
    assert found.signals["x"].mean == pytest.approx(100, abs=1)
    assert found.signals["x"].signal_std == pytest.approx(images.std(axis=0, ddof=1).mean(), rel=0.03)
    assert found.signals["y"].signal_std > 6
    assert predicted(SMOOTHING).signals["y"].signal_std == pytest.approx(1 / 5, rel=0.1)


def test_a_single_sample_gives_its_spectrum() -> None:
    """Look-alikes have the sample's std and its correlation between neighbours."""
    image = smooth_images(1) * 10
    made = draws_from([{"x": image}], 0)["x"]
    assert made.shape == (64, 1, 1, 64, 64)
    assert made.std() == pytest.approx(image.std(), rel=0.05)
    neighbours = np.corrcoef(made[..., 1:].ravel(), made[..., :-1].ravel())[0, 1]
    own = np.corrcoef(image[..., 1:].ravel(), image[..., :-1].ravel())[0, 1]
    assert neighbours == pytest.approx(own, abs=0.05)


def test_few_token_samples_are_shuffled() -> None:
    """Integers stay what they are."""
    made = draws_from([{"ids": np.array([[3, 5, 7, 9]])}], 0)["ids"]
    assert set(made.ravel().tolist()) == {3, 5, 7, 9}
    assert made.dtype == np.int64


def test_samples_of_several_inputs_stay_together() -> None:
    """x - x is nothing when both inputs hold the same sample."""
    proto = model_of("g (float[n, 4] a, float[n, 4] b) => (float[n, 4] y) { y = Sub(a, b) }")
    values = RANDOM.standard_normal((20, 1, 4)).astype(np.float32)
    found = predicted(proto, given=draws_from([{"a": item, "b": item} for item in values], 3))
    assert found.signals["y"].std == 0
    assert found.signals["a"].std > 0.5


def test_input_on_the_command_line_reaches_the_prediction(tmp_path: Path) -> None:
    """`--input data.npz` sets what the static prediction assumes."""
    np.savez(tmp_path / "data.npz", x=(1000 * RANDOM.standard_normal((40, 32))).astype(np.float32))
    onnx.save(DENSE, tmp_path / "m.onnx")
    plain = check(tmp_path / "m.onnx", isolation="none")
    scaled = check(tmp_path / "m.onnx", isolation="none", input=str(tmp_path / "data.npz"))
    query = "SELECT signal_std FROM tensor WHERE name = 'y'"
    stds = [report.facts.query(query)[0]["signal_std"] for report in (plain, scaled)]
    assert stds[1] == pytest.approx(1000 * stds[0], rel=0.2)


def test_sizes_of_symbolic_dimensions_can_be_set() -> None:
    """--dim NAME=SIZE."""
    assert predicted(SMOOTHING, sizes={"h": 40, "w": 30}).inputs[0].shape == (1, 1, 40, 30)


def test_integer_images_that_the_graph_normalises_come_out_right() -> None:
    """uint8 in, divided by 255, centred and scaled: near mean 0 and std 1, and the reference is there."""
    proto = model_of(
        """g (uint8[n, 3, 32, 32] image) => (float[n, 3, 32, 32] y) {
            f = Cast<to=1>(image) d = Div(f, c) s = Sub(d, mean) y = Div(s, std) }""",
        c=np.float32(255), mean=np.float32([0.485, 0.456, 0.406]).reshape(3, 1, 1),
        std=np.float32([0.229, 0.224, 0.225]).reshape(3, 1, 1),
    )  # fmt: skip
    found = predicted(proto)
    assert found.inputs[0].kind is Kind.IMAGE
    assert found.signals["y"].signal_std == pytest.approx(
        1.28, rel=0.02
    )  # uniform over 0..255 is wider than photographs
    assert found.reference_std["y"] == found.signals["y"].signal_std


def test_tokens_are_rows_of_the_table_and_caches_are_zero() -> None:
    """Ids below the vocabulary; a past is no root and adds nothing."""
    table = RANDOM.standard_normal((50, 8)).astype(np.float32)
    proto = model_of(
        """g (int64[n, t] ids, float[n, 8] past_state) => (float[n, t, 8] y, float[n, 8] present_state) {
            e = Gather(table, ids) y = Add(e, past_state) present_state = Identity(past_state) }""",
        table=table,
    )
    found = predicted(proto)
    assert {item.name: item.kind for item in found.inputs} == {"ids": Kind.TOKENS, "past_state": Kind.STATE}
    assert found.inputs[0].high == 50
    assert found.signals["y"].std == pytest.approx(table.std(), rel=0.05)
    assert found.reference_std["y"] == pytest.approx(found.signals["e"].signal_std)


@pytest.mark.parametrize("height", ["?", "unk__7", "H"])
def test_a_nameless_height_is_no_batch(height: str) -> None:
    """Exporters write dimensions as question marks: an image of height 1 would fit no pooling."""
    proto = model_of("g (float[n, 3, h, w] x) => (float[n, 3, a, b] y) { y = MaxPool<kernel_shape=[3, 3]>(x) }")
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = height
    assert predicted(proto).inputs[0].shape == (1, 3, 224, 224)

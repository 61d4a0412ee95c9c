"""The probe against numpy over fetched activations, torch autograd and its own process boundary."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper, parser

from initlint.analysis import Settings, analyse
from initlint.config import Config
from initlint.errors import Refusal
from initlint.inputs import generator_for
from initlint.model import open_model
from initlint.probe.feeds import fed, load_data, pairs
from initlint.probe.folding import fold
from initlint.probe.measure import ProbeOptions, measure_model
from initlint.probe.session import open_session, pair, run
from initlint.probe.taps import Tap
from initlint.probe.twins import instrument
from initlint.signal.propagate import Assumptions, propagate

RANDOM = np.random.Generator(np.random.Philox(11))


def saved(folder: Path, text: str, opset: int = 18, **weights: np.ndarray) -> Path:
    """A model file from onnx's text form."""
    graph = parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


def convolutional(folder: Path, opset: int = 18) -> Path:
    """Conv, ReLU, Tanh and a far mean."""
    return saved(
        folder,
        """g (float[1, 3, 20, 30] x) => (float[1, 8, 20, 30] t, float[1, 8, 20, 30] far) {
            c = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c) t = Tanh(r) far = Add(c, thousand) }""",
        opset,
        w=RANDOM.standard_normal((8, 3, 3, 3)).astype(np.float32),
        b=RANDOM.standard_normal(8).astype(np.float32),
        thousand=np.float32(1000),
    )


def fetched(path: Path, names: list[str], feeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Activations of plain onnxruntime runs, stacked over runs, as float64."""
    proto = onnx.load(str(path))
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(names, feed) for feed in feeds]
    return {name: np.stack([values[index] for values in runs]).astype(np.float64) for index, name in enumerate(names)}


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_statistics_agree_with_numpy_over_fetched_activations(tmp_path: Path, opset: int) -> None:
    """Mean, std, signal std, absmax, active and saturated shares to 1e-5, also where the mean dwarfs the std."""
    path = convolutional(tmp_path, opset)
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
        probe = measure_model(model, prediction.inputs, prediction, ["c"], ProbeOptions(samples=4, seed=5))
        generator = generator_for(model, 5 + 2)
        given = list(pairs(prediction.inputs, generator, 4))
    names = ["c", "r", "t", "far"]
    one = fetched(path, names, [feed for feed, _ in given])
    two = fetched(path, names, [feed for _, feed in given])
    for name in names:
        both = np.concatenate([one[name], two[name]])
        item = probe.measured[name]
        assert item.mean == pytest.approx(both.mean(), rel=1e-5, abs=1e-6)
        assert item.std == pytest.approx(both.std(), rel=1e-5)
        expected = np.sqrt(np.mean((one[name] - two[name]) ** 2) / 2)
        assert item.signal_std == pytest.approx(expected, rel=1e-5)
        assert item.absmax == pytest.approx(np.abs(both).max(), rel=1e-6)
    near = np.mean(np.abs(np.concatenate([one["t"], two["t"]])) > 0.97)
    assert probe.measured["t"].saturated_fraction == pytest.approx(near, abs=1e-6)


def test_weights_stay_in_their_file(tmp_path: Path) -> None:
    """The session's model refers to the original file instead of holding the weights."""
    path = saved(
        tmp_path,
        "g (float[1, 64] x) => (float[1, 512] y) { y = MatMul(x, w) }",
        w=RANDOM.standard_normal((64, 512)).astype(np.float32),
    )
    with open_model(path) as model:
        instrumented = instrument(model, model.graph.nodes, [Tap("y", (1, 512))], frozenset({"x", "y"}))
        assert instrumented.exported.proto.ByteSize() < 8192
        session = open_session(instrumented)
        feed = {"x": np.ones((1, 64), np.float32)}
        measured = fold(instrumented.taps, run(session, instrumented.outputs, [pair(feed, feed)]))
    weight = numpy_helper.to_array(onnx.load(str(path)).graph.initializer[0])
    assert measured["y"].std == pytest.approx(weight.sum(axis=0).std(), rel=1e-4)
    assert measured["y"].signal_std == 0


def test_gradients_by_perturbation_agree_with_the_chain_rule(tmp_path: Path) -> None:
    """For y = A relu(B x) the squared norm of the Jacobian at B x is known in closed form."""
    a, b = (RANDOM.standard_normal((32, 32)).astype(np.float32) for _ in range(2))
    path = saved(
        tmp_path, "g (float[1, 32] x) => (float[1, 32] y) { h = MatMul(x, b) r = Relu(h) y = MatMul(r, a) }", a=a, b=b
    )
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
        probe = measure_model(model, prediction.inputs, prediction, ["h", "y"], ProbeOptions(samples=2))
    expected = np.sqrt(0.5 * np.mean(np.sum(a.astype(np.float64) ** 2, axis=1)))
    assert probe.gradient_std["y"] == pytest.approx(1, rel=0.2)
    assert probe.gradient_std["h"] == pytest.approx(expected, rel=0.35)


def test_a_random_model_is_not_repeatable(tmp_path: Path) -> None:
    """Two runs of one feed that differ are seen."""
    path = saved(tmp_path, "g (float[1, 64] x) => (float[1, 64] y) { n = RandomNormalLike(x) y = Add(x, n) }")
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
        probe = measure_model(model, prediction.inputs, prediction, [], ProbeOptions(samples=2))
    assert probe.repeatable is False


def test_what_follows_an_operator_that_onnxruntime_lacks_is_left_out(tmp_path: Path) -> None:
    """The largest part that runs is measured and the rest is said."""
    graph = parser.parse_graph(
        "g (float[1, 64] x) => (float[1, 64] y) { a = Relu(x) b = my.op.Mystery(a) y = Relu(b) }"
    )
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("my.op", 1)], ir_version=9
    )
    path = tmp_path / "model.onnx"
    onnx.save(proto, str(path))
    with open_model(path) as model:
        hint = Assumptions(plain=True, operators={"my.op::Mystery": "identity"})
        prediction = propagate(model, hint)
        probe = measure_model(model, prediction.inputs, prediction, [], ProbeOptions(samples=2))
    assert probe.left_out == ("my.op::Mystery",)
    assert "a" in probe.measured
    assert "y" not in probe.measured


def test_the_report_holds_prediction_and_measurement_side_by_side(tmp_path: Path) -> None:
    """`--probe` fills the measured columns through a process of its own and finds no contradiction."""
    report = analyse(str(convolutional(tmp_path)), Settings(Config(probe=True), "model"))
    rows = report.facts.query("SELECT name, std, measured_std FROM tensor WHERE measured_std IS NOT NULL")
    assert {row["name"] for row in rows} >= {"c", "r", "t"}
    assert all(abs(np.log2(row["std"] / row["measured_std"])) < 0.5 for row in rows)  # type: ignore[operator]
    assert report.run.probe["status"] == "measured"


def test_a_device_that_is_not_there_is_said_and_ends_in_two(tmp_path: Path) -> None:
    """Never a CPU result under the name of a GPU: IL506, exit code 2."""
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this machine has the CUDA provider")
    report = analyse(str(convolutional(tmp_path)), Settings(Config(probe=True, device="cuda"), "model"))
    assert [finding.exit for finding in report.findings if finding.code == "IL506"] == [2]
    assert "onnxruntime-gpu" in report.run.probe["message"]


def test_the_users_own_data_is_fed(tmp_path: Path) -> None:
    """A .npz with a samples axis, a .npy, a folder of ONNX test data; a wrong name is refused."""
    samples = RANDOM.standard_normal((6, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=samples)
    np.save(tmp_path / "x.npy", samples.reshape(6, 4))
    np.savez(tmp_path / "wrong.npz", z=samples)
    folder = tmp_path / "data" / "test_data_set_0"
    folder.mkdir(parents=True)
    (folder / "input_0.pb").write_bytes(numpy_helper.from_array(samples[0], "x").SerializeToString())
    shapes = {"x": (1, 4)}
    for path, count in ((tmp_path / "x.npz", 6), (tmp_path / "x.npy", 6), (tmp_path / "data", 1)):
        feeds = load_data(path, shapes)
        assert len(feeds) == count
        assert np.array_equal(feeds[0]["x"].reshape(-1), samples[0].reshape(-1))
    with pytest.raises(Refusal, match="z"):
        load_data(tmp_path / "wrong.npz", shapes)


def test_feeds_are_valid_by_kind(tmp_path: Path) -> None:
    """Ids lie in their table, masks are ones, positions count up."""
    path = saved(
        tmp_path,
        """g (int64[b, s] input_ids, int64[b, s] attention_mask, int64[b, s] position_ids) => (float[b, s, 4] y) {
            e = Gather(table, input_ids) p = Gather(positions, position_ids) z = Add(e, p)
            m = Cast<to = 1>(attention_mask) u = Unsqueeze(m, last) y = Mul(z, u) }""",
        table=RANDOM.standard_normal((7, 4)).astype(np.float32),
        positions=RANDOM.standard_normal((40, 4)).astype(np.float32),
        last=np.array([-1], np.int64),
    )
    with open_model(path) as model:
        feed = fed(propagate(model).inputs, generator_for(model, 0))
    assert feed["input_ids"].min() >= 0
    assert feed["input_ids"].max() < 7
    assert np.all(feed["attention_mask"] == 1)
    assert np.array_equal(feed["position_ids"][0], np.arange(feed["position_ids"].shape[1]))

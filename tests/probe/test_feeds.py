"""What is fed: valid inputs for every kind of model from the graph alone, and the user's own data."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from initlint.analysis import Settings, analyse
from initlint.config import Config
from initlint.errors import Refusal
from initlint.inputs import generator_for
from initlint.model import open_model
from initlint.probe.feeds import fed
from initlint.report import Report
from initlint.signal.propagate import propagate
from tests.probe.models import normal, saved

CACHE = """g (int64[batch, tokens] input_ids, int64[batch, total] attention_mask, int64[batch, tokens] position_ids,
    float[batch, 2, past, 4] past_key, float[batch, 2, past, 4] past_value)
    => (float[batch, tokens, 11] logits, float[batch, 2, total, 4] present_key, float[batch, 2, total, 4] present_value) {
    e = Gather(table, input_ids) p = Gather(places, position_ids) h = Add(e, p)
    heads = Constant<value = int64[4] {0, -1, 2, 4}>() r = Reshape(h, heads) k = Transpose<perm = [0, 2, 1, 3]>(r)
    present_key = Concat<axis = 2>(past_key, k) present_value = Concat<axis = 2>(past_value, k)
    kt = Transpose<perm = [0, 1, 3, 2]>(present_key) scores = MatMul(k, kt)
    one = Constant<value = int64[2] {1, 2}>() m = Unsqueeze(attention_mask, one) mf = Cast<to = 1>(m)
    low = Constant<value_float = -10000.0>() ones = Constant<value_float = 1.0>() inverse = Sub(ones, mf)
    bias = Mul(inverse, low) masked = Add(scores, bias) a = Softmax<axis = -1>(masked) v = MatMul(a, present_value)
    back = Transpose<perm = [0, 2, 1, 3]>(v) flat = Constant<value = int64[3] {0, -1, 8}>() o = Reshape(back, flat)
    logits = MatMul(o, head) }"""
MODELS = {
    "vision": """g (float[batch, 3, 32, 48] image) => (float[batch, 8] y) {
        c = Conv<strides = [2, 2]>(image, kernel) r = Relu(c) y = ReduceMean<keepdims = 0, axes = [2, 3]>(r) }""",
    "bytes": """g (uint8[1, 32, 32, 3] image) => (float[1, 8, 16, 16] y) {
        f = Cast<to = 1>(image) t = Transpose<perm = [0, 3, 1, 2]>(f) most = Constant<value_float = 255.0>() d = Div(t, most)
        y = Conv<strides = [2, 2], pads = [1, 1, 0, 0]>(d, kernel) }""",
    "audio": """g (float[batch, samples] audio, int64 sr) => (float[batch, samples, 8] y, bool fast) {
        last = Constant<value = int64[1] {2}>() u = Unsqueeze(audio, last) y = MatMul(u, spread)
        rate = Constant<value = int64 {8000}>() fast = Greater(sr, rate) }""",
    "text": """g (int64[b, s] input_ids, int64[b, s] token_type_ids, int64[b, s] attention_mask) => (float[b, s, 8] y) {
        e = Gather(table, input_ids) t = Gather(types, token_type_ids) h = Add(e, t) m = Cast<to = 1>(attention_mask)
        last = Constant<value = int64[1] {2}>() u = Unsqueeze(m, last) y = Mul(h, u) }""",
    "recurrent": """g (float[t, n, 8] x, float[1, n, 8] h0, float[1, n, 8] c0) => (float[t, 1, n, 8] y, float[1, n, 8] hn) {
        y, hn, cn = LSTM<hidden_size = 8>(x, W, R, , , h0, c0) }""",
    "lengths": """g (float[t, n, 8] x, int32[n] lengths) => (float[t, 1, n, 8] y) { y = LSTM<hidden_size = 8>(x, W, R, , lengths) }""",
    "flags": """g (float[n, 8] x, bool training) => (float[n, 8] y) {
        y = If(training) <then_branch = t () => (float[n, 8] a) { a = Neg(x) }, else_branch = e () => (float[n, 8] b) { b = Abs(x) }> }""",
    "cache": CACHE,
}
WEIGHTS = {
    "kernel": normal(8, 3, 3, 3), "spread": normal(1, 8), "table": normal(11, 8), "types": normal(2, 8), "places": normal(64, 8),
    "W": normal(1, 32, 8, std=0.3), "R": normal(1, 32, 8, std=0.3), "head": normal(8, 11),
}  # fmt: skip


def model_of(folder: Path, name: str) -> Path:
    text = MODELS[name]
    return saved(folder, text, opset=17, **{key: value for key, value in WEIGHTS.items() if key in text})


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_runs_on_what_is_made_up(tmp_path: Path, name: str) -> None:
    """From the graph alone: plain onnxruntime takes the feed, the probe measures every float output."""
    path = model_of(tmp_path, name)
    with open_model(path) as model:
        feed = fed(propagate(model).inputs, generator_for(model, 0))
        wanted = {info.name for info in model.graph.outputs if info.dtype == "float32"}
    ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)
    report = analyse(str(path), Settings(Config(probe=True, all_tensors=True), name))
    assert report.run.probe["status"] == "measured"
    assert report.run.probe["left_out"] == []
    measured = {str(row["name"]) for row in report.tensors if row["measured_std"] is not None}
    assert wanted <= measured
    assert set(report.run.probe["fed"]) == set(feed)


def probed(path: Path, data: Path) -> Report:
    return analyse(str(path), Settings(Config(probe=True, input=str(data), all_tensors=True), "model"))


def test_real_data_is_measured_as_numpy_sees_it(tmp_path: Path) -> None:
    """Seven batches of one's own, of another size than assumed: total and signal over the samples, mean over all of them."""
    path = saved(tmp_path, "g (float[n, 8] x) => (float[n, 8] y) { y = MatMul(x, w) }", w=normal(8, 8))
    samples = normal(6, 5, 8, std=7.0)
    np.savez(tmp_path / "x.npz", x=samples.astype(np.float64))
    (row,) = [item for item in probed(path, tmp_path / "x.npz").tensors if item["name"] == "y"]
    weight = numpy_helper.to_array(onnx.load(str(path)).graph.initializer[0])
    y = samples.astype(np.float64) @ weight
    assert row["measured_std"] == pytest.approx(y.std(), rel=1e-5)
    assert row["measured_mean"] == pytest.approx(y.mean(), rel=1e-4)
    assert row["measured_signal_std"] == pytest.approx(np.sqrt(np.mean((y[::2] - y[1::2]) ** 2) / 2), rel=1e-5)
    assert row["measured_reference_std"] == pytest.approx(
        np.sqrt(np.mean((samples[::2] - samples[1::2]) ** 2) / 2), rel=1e-5
    )


def test_one_sample_has_no_signal_to_show(tmp_path: Path) -> None:
    """What does not vary is not called lost: the signal is not known, and nothing is said of it."""
    path = saved(tmp_path, "g (float[n, 8] x) => (float[n, 8] y) { y = MatMul(x, w) }", w=normal(8, 8))
    np.save(tmp_path / "x.npy", normal(1, 8))
    report = probed(path, tmp_path / "x.npy")
    assert all(row["measured_signal_std"] is None for row in report.tensors)
    assert all(row["measured_std"] is not None for row in report.tensors)
    assert not [item for item in report.findings if item.code == "IL503"]


def test_a_folder_of_test_data_in_sets(tmp_path: Path) -> None:
    """Samples of the most common shape are compared; the others are counted."""
    path = saved(tmp_path, "g (float[n, 8] x) => (float[n, 8] y) { y = MatMul(x, w) }", w=normal(8, 8))
    for index, rows in enumerate((3, 3, 4, 3, 3)):
        folder = tmp_path / "data" / f"test_data_set_{index}"
        folder.mkdir(parents=True)
        (folder / "input_0.pb").write_bytes(numpy_helper.from_array(normal(rows, 8), "x").SerializeToString())
    report = probed(path, tmp_path / "data")
    assert report.run.probe["fed"]["x"].endswith("float32[3, 8] x 4 of 5, those of one shape")
    assert report.run.probe["samples"] == 4


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([["a"] * 8]), "holds <U1"),
        (np.zeros((1, 9), np.float32), "onnxruntime"),
        (np.zeros((2, 2, 2, 8)), "axes"),
    ],
    ids=["text", "extent", "axes"],
)
def test_data_that_does_not_fit_is_said(tmp_path: Path, values: np.ndarray, words: str) -> None:
    """By name, and what the model wants; never a measurement of something else."""
    path = saved(tmp_path, "g (float[n, 8] x) => (float[n, 8] y) { y = MatMul(x, w) }", w=normal(8, 8))
    np.save(tmp_path / "x.npy", values)
    try:
        message = probed(path, tmp_path / "x.npy").run.probe["message"]
    except Refusal as refusal:
        message = refusal.message
    assert words in message


def test_streams_are_keyed_by_the_seed(tmp_path: Path) -> None:
    """Another seed, another stream; other names, the same numbers; never numpy's default stream."""
    (tmp_path / "other").mkdir()
    text = "g (float[1, 8] x) => (float[1, 8] y) {{ y = MatMul(x, {w}) }}"
    first = saved(tmp_path, text.format(w="w"), w=normal(8, 8))
    second = saved(tmp_path / "other", text.format(w="v"), v=normal(8, 8))
    drawn = []
    for path, seed in ((first, 0), (first, 0), (first, 1), (second, 0)):
        with open_model(path) as model:
            drawn.append(fed(propagate(model).inputs, generator_for(model, seed))["x"])
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn.pop())
    plain = np.random.default_rng(0).standard_normal((1, 8), dtype=np.float32)
    for other in (*drawn[2:], plain):
        assert not np.any(drawn[0] == other)

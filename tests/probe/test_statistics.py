"""Statistics inside the graph against numpy over fetched activations, whatever the element type and the magnitude."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from initlint import source
from initlint.inputs import generator_for
from initlint.model import open_model
from initlint.probe.feeds import pairs
from initlint.probe.measure import Probe, ProbeOptions, measure_model
from initlint.probe.taps import ROW, row_of
from initlint.signal.propagate import Assumptions, propagate
from tests.probe.models import built, normal, saved

RUNS = 3
CHAIN = """g ({kind}[2, 60] x) => ({kind}[2, 70] y) {{
    h = MatMul(x, w) r = Relu(h) big = Mul(r, large) y = Add(big, shift) }}"""


def probe_of(model_file: Path | bytes, **settings: object) -> tuple[Probe, list[dict[str, np.ndarray]]]:
    """The probe of a model and the feeds of both copies in a row."""
    with open_model(model_file) as model:
        prediction = propagate(model, Assumptions(plain=True))
        options = ProbeOptions(samples=RUNS, sensitivity=False, **settings)  # type: ignore[arg-type]
        probe = measure_model(model, prediction.inputs, prediction, [], options)
        return probe, [feed for pair in pairs(prediction.inputs, generator_for(model, 2), RUNS) for feed in pair]


def fetched(proto: onnx.ModelProto, names: list[str], feeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Activations of plain runs, as float64."""
    given = {item.name for item in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    runs = [session.run(names, feed) for feed in feeds]
    return {name: np.stack([values[i] for values in runs]).astype(np.float64) for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("kind", "large", "shift"),
    [("float", 1.0, 0.0), ("float", 3.0, 900.0), ("double", 1.0, 0.0), ("double", 3.0, 900.0), ("float16", 1.0, 0.0)],
)
def test_every_element_type(tmp_path: Path, kind: str, large: float, shift: float) -> None:
    """To 1e-5; float16 to its rounding, since onnxruntime hands the probe what it computed in float32 before rounding."""
    dtype = {"float": np.float32, "double": np.float64, "float16": np.float16}[kind]
    proto = built(
        CHAIN.format(kind=kind),
        w=normal(60, 70).astype(dtype),
        large=np.asarray(large, dtype),
        shift=np.asarray(shift, dtype),
    )
    path = tmp_path / "model.onnx"
    onnx.save(proto, str(path))
    probe, feeds = probe_of(path)
    close = 5e-4 if kind == "float16" else 1e-5
    for name, value in fetched(proto, ["h", "r", "big", "y"], feeds).items():
        item = probe.measured[name]
        assert item.mean == pytest.approx(value.mean(), rel=close, abs=close * value.std()), name
        assert item.std == pytest.approx(value.std(), rel=close), name
        assert item.signal_std == pytest.approx(np.sqrt(np.mean((value[::2] - value[1::2]) ** 2) / 2), rel=close), name
        assert item.absmax == pytest.approx(np.abs(value).max(), rel=close), name
    assert probe.measured["r"].zero_fraction == pytest.approx(np.mean(fetched(proto, ["r"], feeds)["r"] == 0), abs=1e-9)


@pytest.mark.parametrize("exponent", [-22, -17, 17, 21])
def test_magnitudes_whose_squares_leave_float32(tmp_path: Path, exponent: int) -> None:
    """1e-22 squared is zero in float32 and 1e21 squared infinite: such tensors are measured in units of their own."""
    path = saved(
        tmp_path, CHAIN.format(kind="float"), w=normal(60, 70), large=np.float32(10.0**exponent), shift=np.float32(0)
    )
    probe, feeds = probe_of(path)
    value = fetched(onnx.load(str(path)), ["big"], feeds)["big"]
    item = probe.measured["big"]
    assert item.std == pytest.approx(value.std(), rel=1e-5)
    assert item.mean == pytest.approx(value.mean(), rel=1e-5)
    assert item.signal_std == pytest.approx(np.sqrt(np.mean((value[::2] - value[1::2]) ** 2) / 2), rel=1e-5)
    assert (item.nans, item.infs) == (0, 0)


def test_nan_and_infinity_are_told_apart_and_left_out_of_the_moments(tmp_path: Path) -> None:
    """Rows are counted; the moments are those of the rows that are finite; a tensor of NaN has none."""
    poison = np.zeros((40, ROW), np.float32)
    poison[3, 5], poison[7, 1:3], poison[9, 0] = np.nan, np.inf, -np.inf
    path = saved(
        tmp_path,
        f"g (float[1, {ROW}] x) => (float[40, {ROW}] y, float[1, {ROW}] z) {{ y = Add(x, p) n = Sub(x, x) z = Div(n, n) }}",
        p=poison,
    )
    probe, feeds = probe_of(path)
    value = fetched(onnx.load(str(path)), ["y"], feeds)["y"]
    item = probe.measured["y"]
    assert (item.nans, item.infs) == (2 * RUNS, 4 * RUNS)
    kept = np.isfinite(value).all(axis=(0, 2))
    assert item.std == pytest.approx(value[:, kept].std(), rel=1e-5)
    assert item.absmax == pytest.approx(np.abs(value[np.isfinite(value)]).max())
    whole = probe.measured["z"]
    assert whole.nans == 2 * RUNS
    assert (whole.mean, whole.std, whole.signal_std) == (None, None, None)


def test_bfloat16_graphs_are_computed_in_float32(tmp_path: Path) -> None:
    """The CPU provider has no bfloat16 MatMul: values are those of the float32 graph with the same weights."""
    text = "g ({kind}[2, 60] x) => ({kind}[2, 70] y) {{ h = MatMul(x, w) c = Cast<to = 1>(h) t = Tanh(c) y = Cast<to = {to}>(t) }}"
    weight = normal(60, 70).astype(ml_dtypes.bfloat16)
    narrow = built(text.format(kind="bfloat16", to=16))
    narrow.graph.initializer.append(
        helper.make_tensor("w", onnx.TensorProto.BFLOAT16, (60, 70), weight.tobytes(), raw=True)
    )
    path = tmp_path / "model.onnx"
    onnx.save(narrow, str(path))
    probe, feeds = probe_of(path)
    wide = built(text.format(kind="float", to=1), w=weight.astype(np.float32))
    for name, value in fetched(wide, ["h", "t", "y"], [{"x": feed["x"].astype(np.float32)} for feed in feeds]).items():
        assert probe.measured[name].std == pytest.approx(value.std(), rel=1e-5), name
    assert probe.left_out == ()


@pytest.mark.parametrize("count", [1, 7, 4096, 4097, 8191, 1_000_000, 2 * 4099, 12544 * 64])
def test_rows_divide_the_tensor(count: int) -> None:
    """Whatever the count, rows divide it and are neither single elements nor, unless they must, longer than 4,096."""
    row = row_of(count)
    assert count % row == 0
    divisors = [length for length in range(1, min(count, ROW) + 1) if count % length == 0]
    assert row == divisors[-1] if divisors[-1] >= min(64, count) else row > ROW


def test_tensors_with_a_large_prime_factor_are_measured(tmp_path: Path) -> None:
    """One row of 8,191 in float64."""
    path = saved(tmp_path, "g (float[8191] x) => (float[8191] y) { y = Add(x, c) }", c=np.float32(50))
    probe, feeds = probe_of(path)
    value = fetched(onnx.load(str(path)), ["y"], feeds)["y"]
    assert probe.measured["y"].std == pytest.approx(value.std(), rel=1e-5)


def test_weights_beyond_two_gigabytes_stay_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inline model that onnxruntime itself refuses: two tables of 1.2 GB, of which a few rows are read."""
    monkeypatch.setattr(source, "HOLLOW", 1 << 40)  # the file is mostly holes so that it takes no room
    rows, width = 300_000, 1024
    graph = built(
        f"g (int64[1, 4] ids) => (float[1, 4, {width}] y) {{"
        " n = Constant<value = int64 {8}>() few = Mod(ids, n) a = Gather(one, few) b = Gather(two, few) y = Add(a, b) }"
    )
    payload = rows * width * 4
    path = tmp_path / "huge.onnx"
    _write(path, graph, ("one", "two"), (rows, width), payload)
    assert path.stat().st_size > 2 << 30
    probe, _ = probe_of(path)
    assert probe.measured["y"].absmax == 2.0
    with pytest.raises(Exception, match=r"(?i)protobuf|parse|load|2GB|size"):
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _huge(name: str, shape: tuple[int, int], payload: int) -> bytes:
    """Head of an initializer field whose raw data of `payload` bytes follows."""
    inner = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape).SerializeToString()
    inner += b"\x4a" + _varint(payload)  # field 9, raw_data
    return b"\x2a" + _varint(len(inner) + payload) + inner  # field 5 of GraphProto, initializer


def _write(path: Path, model: onnx.ModelProto, names: tuple[str, ...], shape: tuple[int, int], payload: int) -> None:
    """The model with sparse initializers: zeros that take no room on the disk, but for ones in the first eight rows."""
    graph = model.graph.SerializeToString()
    heads = [_huge(name, shape, payload) for name in names]
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    length = len(graph) + sum(len(head) + payload for head in heads)
    with path.open("wb") as file:
        file.write(rest.SerializeToString() + b"\x3a" + _varint(length) + graph)
        for head in heads:
            file.write(head)
            start = file.tell()
            file.write(np.ones((8, shape[1]), np.float32).tobytes())
            file.seek(start + payload)
        file.truncate(file.tell())


def _varint(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = value >> 7, value & 127
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)

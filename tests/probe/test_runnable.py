"""What runs is measured, what does not is said; where it ran is read from onnxruntime; its files are those that were checked."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from initlint.errors import Reason, Refusal
from initlint.model import open_model
from initlint.probe.measure import Probe, ProbeOptions, measure_model
from initlint.probe.session import CPU, CUDA, open_session, pair, providers_of_nodes, ran_where
from initlint.probe.taps import Tap
from initlint.probe.twins import instrument
from initlint.signal.propagate import Assumptions, propagate
from tests.probe.models import normal, saved


def probe_of(path: Path) -> Probe:
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
        return measure_model(model, prediction.inputs, prediction, [], ProbeOptions(samples=3, sensitivity=False))


def test_an_operator_inside_a_branch_costs_the_branch(tmp_path: Path) -> None:
    """The If that holds what onnxruntime lacks is left out, its neighbours are not."""
    path = saved(
        tmp_path,
        """g (float[1, 8] x, bool c) => (float[1, 8] y, float[1, 8] z) {
            h = MatMul(x, w) z = Relu(h)
            y = If(c) <then_branch = t () => (float[1, 8] a) { a = my.op.Mystery(h) },
                       else_branch = e () => (float[1, 8] b) { b = Abs(h) }> }""",
        domains=("my.op",),
        w=normal(8, 8),
    )
    probe = probe_of(path)
    assert probe.left_out == ("my.op::Mystery",)
    assert {"h", "z"} <= set(probe.measured)
    assert "y" not in probe.measured


def test_a_node_at_which_the_run_stops_is_left_out(tmp_path: Path) -> None:
    """A table that is indexed out of its range: what does not depend on it is measured."""
    path = saved(
        tmp_path,
        """g (float[1, 8] x) => (float[1, 8] y, float[1, 8] z) {
            z = Relu(x) far = Constant<value = int64 {99}>() k = Cast<to = 7>(x) none = Sub(k, k) there = Add(none, far)
            y = GatherElements<axis = 0>(z, there) }""",
    )
    probe = probe_of(path)
    assert probe.left_out == ("GatherElements",)
    assert "z" in probe.measured


def test_tensors_whose_shape_depends_on_the_data_are_named(tmp_path: Path) -> None:
    """NonZero gives as many columns as there are: not compared between two inputs; the rest is measured."""
    path = saved(
        tmp_path,
        """g (float[1, 64] x) => (float[1, 64] y, float[1, n] z) {
            y = Relu(x) on = NonZero(y) flat = Constant<value = int64[1] {-1}>() last = Constant<value = int64 {1}>()
            columns = Gather(on, last) z = Gather<axis = 1>(y, columns) }""",
    )
    probe = probe_of(path)
    assert "z" not in probe.measured
    assert "y" in probe.measured


def test_tensors_that_the_prediction_does_not_know_are_measured(tmp_path: Path) -> None:
    """SampleOp copies its input: the same figures, though the prediction ends there."""
    path = saved(
        tmp_path,
        "g (float[1, 64] x) => (float[1, 64] y) { h = Relu(x) s = com.microsoft.SampleOp(h) y = Neg(s) }",
        domains=("com.microsoft",),
    )
    probe = probe_of(path)
    assert probe.measured["s"].std == probe.measured["h"].std
    assert probe.measured["y"].signal_std == probe.measured["h"].signal_std


def test_a_profile_says_what_ran_where() -> None:
    """Floats that strayed from the device count, integers (shapes) and the probe's own reductions do not."""
    events = [
        event("Conv_3_kernel_time", "Conv", CUDA, "float"),
        event("odd_kernel_time", "NonMaxSuppression", CPU, "int64"),
        event("slow_kernel_time", "Einsum", CPU, "float16"),
        event("initlint/h/ReduceSum0_kernel_time", "ReduceSum", CPU, "float"),
        {"cat": "Session", "name": "model_run", "args": {}},
    ]
    kinds, strayed = ran_where(events, CUDA)
    assert kinds == {CUDA: ("Conv",), CPU: ("NonMaxSuppression", "Einsum")}
    assert strayed == ("Einsum",)


def event(name: str, kind: str, provider: str, dtype: str) -> dict[str, object]:
    return {
        "cat": "Node",
        "name": name,
        "args": {"op_name": kind, "provider": provider, "output_type_shape": [{dtype: [1, 8]}]},
    }


def test_a_real_profile_is_read(tmp_path: Path) -> None:
    """Of the model's own operators, both copies', on this machine's CPU."""
    path = saved(tmp_path, "g (float[1, 8] x) => (float[1, 8] y) { h = MatMul(x, w) y = Relu(h) }", w=normal(8, 8))
    feed = {"x": normal(1, 8)}
    with open_model(path) as model:
        made = instrument(model, model.graph.nodes, [Tap("y", (1, 8))], frozenset({"x", "h", "y"}))
        kinds, strayed = providers_of_nodes(made, pair(feed, feed), "cpu")
    assert set(kinds) == {CPU}
    assert set(kinds[CPU]) == {"MatMul", "Relu"}
    assert strayed == ()


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this onnxruntime has CUDA")
def test_a_device_that_is_missing_is_refused_with_what_to_install(tmp_path: Path) -> None:
    """Before anything runs: no CPU result can be taken for it."""
    path = saved(tmp_path, "g (float[1, 8] x) => (float[1, 8] y) { y = Relu(x) }")
    with open_model(path) as model:
        made = instrument(model, model.graph.nodes, [Tap("y", (1, 8))], frozenset({"x", "y"}))
        with pytest.raises(Refusal, match="pip install --force-reinstall --no-deps onnxruntime-gpu") as caught:
            open_session(made, device="cuda:1")
    assert caught.value.reason is Reason.PROVIDER


def external(folder: Path) -> Path:
    """A model whose weight lies in a file of its own."""
    path = saved(folder, "g (float[1, 64] x) => (float[1, 64] y) { y = MatMul(x, w) }", w=normal(64, 64))
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_weights_behind_links_are_found(tmp_path: Path) -> None:
    """Hugging Face's cache: model and data are links into a folder of blobs outside of the model's own."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    folder.mkdir(parents=True)
    external(blobs)
    (folder / "model.onnx").symlink_to("../../blobs/model.onnx")
    (folder / "weights.bin").symlink_to("../../blobs/weights.bin")
    probe = probe_of(folder / "model.onnx")
    weight = onnx.numpy_helper.to_array(onnx.load(str(blobs / "model.onnx")).graph.initializer[0])
    assert probe.measured["y"].std == pytest.approx(np.sqrt((weight**2).sum(axis=0).mean()), rel=0.3)


def test_a_file_that_was_replaced_meanwhile_is_not_taken_for_the_one_that_was_checked(tmp_path: Path) -> None:
    """onnxruntime opens the file by its path: device and inode must still be those of the reader."""
    path = external(tmp_path)
    with open_model(path) as model:
        made = instrument(model, model.graph.nodes, [Tap("y", (1, 64))], frozenset({"x", "y"}))
        other = tmp_path / "other.bin"
        other.write_bytes(bytes(64 * 64 * 4))
        other.replace(tmp_path / "weights.bin")
        with pytest.raises(Refusal, match="replaced") as caught:
            open_session(made)
    assert caught.value.reason is Reason.EXTERNAL_DATA

"""The probe's process: whatever onnxruntime does to it is a named status, and the static report stays whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from initlint import checking
from initlint.analysis import Settings, analyse
from initlint.config import Config, Loaded
from initlint.formats import View, text
from initlint.probe import run as probe_run
from initlint.report import Report
from tests.probe.models import normal, saved

POSIX = pytest.mark.skipif(os.name == "nt", reason="no process isolation on Windows")
ENDLESS = """g (float[1, 8] x) => (float[1, 8] y, float[1, 8] z) {
    n = Constant<value = int64 {4611686018427387904}>() c = Constant<value = bool {1}>() h = MatMul(x, w)
    y = Loop(n, c, h) <body = b (int64 i, bool k, float[1, 8] v) => (bool ko, float[1, 8] vo) {
        ko = Identity(k) vo = Relu(v) }>
    z = Relu(h) }"""


def layers(path: Path) -> Path:
    """A two-layer network whose static findings are known."""
    return saved(
        path, "g (float[1, 8] x) => (float[1, 8] y) { h = MatMul(x, w) y = Relu(h) }", w=normal(8, 8, std=900.0)
    )


def probed(path: Path, **settings: object) -> Report:
    return analyse(str(path), Settings(Config(probe=True, **settings), "model"))  # type: ignore[arg-type]


def whole(report: Report) -> bool:
    """Whether the static part has come through."""
    return {layer["name"] for layer in report.layers} != set() and bool(report.rules)


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crash", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGFPE)", "crash", "SIGFPE"),
        ("import os; os._exit(3)", "crash", "exit code 3"),
        ("print('no frame')", "crash", "probe"),
        ("import time; time.sleep(60)", "deadline", "--timeout"),
        ("import time; x = bytearray(900 << 20); time.sleep(60)", "memory", "--memory"),
    ],
    ids=["segmentation fault", "division", "exit", "noise", "hang", "memory"],
)
@POSIX
def test_the_end_of_the_process_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, status: str, words: str
) -> None:
    """A crash, a hang and a lack of memory each become their status; findings and facts are those without the probe."""
    monkeypatch.setattr(probe_run, "PROGRAM", ("-c", program))
    path = layers(tmp_path)
    report = probed(path, timeout=6.0 if status == "deadline" else None, memory=600)
    assert report.run.probe["status"] == status
    assert words in report.run.probe["message"]
    assert f"probe: {status}: " in text.render(report, View())
    plain = analyse(str(path), Settings(Config(), "model"))
    assert [(item.code, item.place) for item in report.findings] == [(item.code, item.place) for item in plain.findings]
    assert report.facts.query("SELECT probed, probe_status FROM model") == [{"probed": 0, "probe_status": status}]


@POSIX
def test_an_integer_division_by_zero_costs_no_more_than_itself(tmp_path: Path) -> None:
    """Older versions of onnxruntime die of it, newer ones stop at the node: a named status, or the node left out."""
    path = saved(
        tmp_path,
        """g (float[1, 8] x) => (float[1, 8] y, int64[1, 8] z) {
            h = MatMul(x, w) y = Relu(h) i = Cast<to = 7>(h) n = Sub(i, i) z = Div(i, n) }""",
        w=normal(8, 8),
    )
    report = probed(path)
    assert report.run.probe["status"] == "crash" or report.run.probe["left_out"] == ["Div"]
    assert whole(report)


@POSIX
def test_an_endless_loop_meets_the_deadline_inside_the_analysis_own(tmp_path: Path) -> None:
    """With --timeout the probe gives up early enough for the static report to be written: also in a worker."""
    path = saved(tmp_path, ENDLESS, w=normal(8, 8))
    report = checking.check(path, probe=True, timeout=8.0)
    assert report.run.probe["status"] == "deadline"
    assert whole(report)


@POSIX
def test_an_allocation_beyond_the_memory_limit_is_named(tmp_path: Path) -> None:
    """16 GB asked for at once: onnxruntime is refused, the report says memory."""
    path = saved(
        tmp_path,
        """g (float[1, 8] x) => (float[1, 8] y, float[1] s) {
            h = MatMul(x, w) y = Relu(h) size = Constant<value = int64[2] {536870912, 8}>()
            wide = Expand(h, size) s = ReduceMax<keepdims = 0, axes = [0, 1]>(wide) }""",
        opset=17,
        w=normal(8, 8),
    )
    report = probed(path, memory=1024)
    assert report.run.probe["status"] == "memory"
    assert whole(report)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_orphan_outlives_the_process_that_asked(tmp_path: Path) -> None:
    """When the analysis is killed, the probe's process ends by itself."""
    path = saved(tmp_path, ENDLESS, w=normal(8, 8))
    code = (
        "import sys; from initlint.analysis import Settings, analyse; from initlint.config import Config;"
        "analyse(sys.argv[1], Settings(Config(probe=True), 'm'))"
    )
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=root)
    try:
        child = _child_of(parent.pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    for _ in range(200):
        if _gone(child):
            break
        time.sleep(0.05)
    assert _gone(child)


def _child_of(pid: int) -> int:
    for _ in range(600):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        running = [int(item) for item in children if "initlint.probe.child" in _command(int(item))]
        if running:
            return running[0]
        time.sleep(0.05)
    raise AssertionError("the probe's process was never seen")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True


def test_no_time_left_is_said_and_nothing_is_started(tmp_path: Path) -> None:
    """A limit that the static part has used up leaves none for the probe."""
    with_time = probe_run.Allowance.of(Config(timeout=100.0), spent=20.0)
    assert with_time.seconds == pytest.approx(70.0)
    assert probe_run.Allowance.of(Config(), spent=20.0).seconds is None
    report = probed(layers(tmp_path), timeout=1e-9)
    assert report.run.probe["status"] == "deadline"


def test_the_settings_reach_the_worker(tmp_path: Path) -> None:
    """The command line's own way: a worker that starts the probe and sends one report."""
    reply = checking.analyse_in_worker(str(layers(tmp_path)), Loaded(Config(probe=True), {}, tmp_path))
    report = Report.from_json(reply.report)
    assert report.run.probe["status"] == "measured"
    assert all(layer["measured_std"] is not None for layer in report.layers)

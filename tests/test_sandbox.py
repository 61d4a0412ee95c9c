"""What the kernel takes from a worker: read elsewhere, write, reach the network, start a program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from initlint import check
from initlint.errors import Reason, Refusal
from initlint.sandbox import FULL, Cage, folders_of

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "samples" / "good" / "IL202.onnx"
# Confines itself as argument 1 says, then tries each thing and prints the errno, 0 where it worked.
TRIES = """
import ctypes, json, os, socket, sys
sys.path.insert(0, sys.argv[2])
from initlint.sandbox import Cage, confine
allowed, secret, folder = sys.argv[3:6]
held = confine(Cage.from_bytes(bytes.fromhex(sys.argv[1])))
def tried(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0
print(json.dumps({
    "held": held,
    "read": tried(lambda: open(allowed).close()),
    "read elsewhere": tried(lambda: open(secret).close()),
    "list elsewhere": tried(lambda: os.listdir(os.path.dirname(secret))),
    "write": tried(lambda: open(folder + "/new", "w").close()),
    "overwrite": tried(lambda: open(allowed, "r+").close()),
    "truncate": tried(lambda: os.truncate(allowed, 0)),
    "remove": tried(lambda: os.remove(allowed)),
    "network": tried(lambda: socket.socket().close()),
    "program": tried(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    "trace": ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0),
}))
"""


def offered() -> bool:
    """Whether this kernel has Landlock and seccomp, and lets us use them."""
    return sys.platform == "linux" and set(FULL) <= set(tried(Cage(()), MODEL, MODEL, ROOT)["held"])


def tried(cage: Cage, allowed: Path, secret: Path, folder: Path) -> dict[str, object]:
    arguments = [cage.to_bytes().hex(), str(ROOT), str(allowed), str(secret), str(folder)]
    answer = subprocess.run([sys.executable, "-c", TRIES, *arguments], capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(answer.stdout)
    return found


needs_kernel = pytest.mark.skipif(sys.platform != "linux" or not offered(), reason="no Landlock or seccomp here")


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A file that may be read, one elsewhere, and the first one's folder."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "file").write_text("x")
    return inside / "file", outside / "file", inside


def test_cage_over_the_pipe() -> None:
    """A cage arrives as it was sent, whatever bytes the paths have."""
    for cage in (Cage(), Cage((), probe=True), Cage(("/a", os.fsdecode(b"/caf\xe9\n")), required=True)):
        assert Cage.from_bytes(cage.to_bytes()) == cage


def test_folders(tmp_path: Path) -> None:
    """The folder of a model and the one behind its link, each once."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "m.onnx").touch()
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real" / "m.onnx")
    assert folders_of([str(tmp_path / "link.onnx")] * 2) == (str(tmp_path), str(tmp_path / "real"))


@needs_kernel
def test_analysis(places: tuple[Path, Path, Path]) -> None:
    """The named folder is read; nothing else, and nothing is written, reached or started."""
    found = tried(Cage((str(places[2]),)), *places)
    assert found.pop("held") == list(FULL)
    assert found.pop("read") == 0
    assert found.pop("trace") == -1
    assert all(found.values()), found


@needs_kernel
def test_reading_left_alone(places: tuple[Path, Path, Path]) -> None:
    """Without named folders everything is read, and still nothing written."""
    found = tried(Cage(), *places)
    assert (found["read"], found["read elsewhere"], found["list elsewhere"]) == (0, 0, 0)
    assert all(found[name] for name in ("write", "overwrite", "truncate", "remove", "network", "program"))


@needs_kernel
def test_probe(places: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe may start its child and write into the temporary folder, not beside the model."""
    monkeypatch.setenv("TMPDIR", str(places[1].parent))
    found = tried(Cage((str(places[2]),), probe=True), *places)
    assert found["program"] == 0
    assert found["network"]
    assert found["write"]
    assert found["remove"]


@needs_kernel
def test_the_report_says_so() -> None:
    """The report names what held, and requiring it changes nothing where it holds."""
    report = check(MODEL, require_isolation=True)
    assert report.run.isolation == "process, no-new-privileges, landlock, seccomp"
    assert report.models[0].isolation == "process"


def test_required_and_not_had() -> None:
    """--require-isolation is code 2 and one line where the kernel gives none; without it the analysis goes on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INITLINT_NO_SANDBOX": "1"}
    for option, code in (("--require-isolation", 2), ("--no-require-isolation", 0)):
        answer = subprocess.run(
            [sys.executable, "-m", "initlint", option, str(MODEL)],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert answer.returncode == code
        assert answer.stderr.count("\n") == (code == 2)
        assert ("[isolation]" in answer.stderr) == (code == 2)


def test_in_this_process() -> None:
    """A model in memory is not isolated: refused where that is required."""
    with pytest.raises(Refusal) as caught:
        check(MODEL.read_bytes(), require_isolation=True)
    assert caught.value.reason == Reason.ISOLATION
    assert check(MODEL.read_bytes()).models[0].isolation == "none"

"""One task in a worker: what a file holds is what its report is of, or there is no report."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from initlint.cache import Identity
from initlint.config import Config
from initlint.errors import Reason
from initlint.fleet.content import content_of
from initlint.fleet.records import Answer, Task
from initlint.fleet.small import LARGEST, small_identity
from initlint.fleet.spool import Spool
from initlint.fleet.work import Bench
from initlint.isolation import Progress, Reply, Worker, allowed_seconds
from initlint.report import Report
from initlint.serving import Request, serve
from tests.fleet.harness import model
from tests.fleet.test_scan import external_model


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A place with one worker."""
    made = Bench(4096, Spool())
    yield made
    made.close()


def task(path: Path, content: Answer | None = None) -> Task:
    known = content or Answer("")
    return Task(
        "report" if content else "content", path.name, os.fsencode(path), os.fsencode(path.parent), Config(),
        known.content, known.stamp,
    )  # fmt: skip


def rewrite(path: Path) -> None:
    """Other bytes, as many as before."""
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))


def disturbed(bench: Bench, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], times: int) -> None:
    """Have `change` happen after each analysis, the first `times` of them."""
    ask, left = bench._ask, [times]

    def asked(task: Task, path: str, wants: str) -> Reply:
        reply = ask(task, path, wants)
        if wants == "record" and left[0]:
            left[0] -= 1
            change()
        return reply

    monkeypatch.setattr(bench, "_ask", asked)


@pytest.mark.parametrize("name", ["m.onnx", "w.data"])
def test_changed_before_and_while_it_is_analysed(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A model, or a data file of it, that is not what was hashed is refused, whenever it was written to."""
    folder = tmp_path / "m"
    external_model(folder, 1.0)
    content = bench.perform(task(folder / "m.onnx"))
    kept = (folder / name).read_bytes()
    rewrite(folder / name)
    assert bench.perform(task(folder / "m.onnx", content)).reason == Reason.CHANGED
    (folder / name).write_bytes(kept)
    assert bench.perform(task(folder / "m.onnx", content)).reason is None
    disturbed(bench, monkeypatch, lambda: rewrite(folder / name), 1)
    assert bench.perform(task(folder / "m.onnx", content)).reason == Reason.CHANGED


def test_touched_only(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was written anew with the same bytes is analysed again, once, and not refused."""
    folder = tmp_path / "m"
    external_model(folder, 1.0)
    content = bench.perform(task(folder / "m.onnx"))
    data = folder / "w.data"
    disturbed(bench, monkeypatch, lambda: data.write_bytes(data.read_bytes()), 1)
    answer = bench.perform(task(folder / "m.onnx", content))
    assert answer.reason is None
    assert Report.from_json(answer.report).models[0].model == "m.onnx"


def test_a_refusal_of_what_was_half_written(bench: Bench, tmp_path: Path) -> None:
    """A file that is torn when it is analysed, and was whole when it was hashed, is said to have changed, not to be torn."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model("good"))
    content = bench.perform(task(path))
    path.write_bytes(model("good")[:500])
    assert bench.perform(task(path, content)).reason == Reason.CHANGED
    path.unlink()
    assert bench.perform(task(path, content)).reason == Reason.NOT_FOUND


def test_small_models_need_no_worker(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file's content is that which a worker takes of it; a worker has the word where a file is not plain."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model("bad"))
    found = small_identity(str(path))
    assert found is not None
    assert (found.content, found.size) == content_of(str(path))
    monkeypatch.setattr(Worker, "run", lambda *_: pytest.fail("asked a worker"))
    assert bench.perform(task(path)).content == found.content
    external_model(tmp_path / "e", 1.0)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "large").write_bytes(bytes(LARGEST + 1))
    os.mkfifo(tmp_path / "pipe")
    for name in ("e/m.onnx", "empty", "large", "pipe", "none", "e"):
        assert small_identity(str(tmp_path / name)) is None


def test_large_files_are_given_time(tmp_path: Path) -> None:
    """Before it hashes, a worker says how much there is to hash, data files included: the deadline goes by it."""
    external_model(tmp_path / "e", 1.0)
    path = tmp_path / "e/m.onnx"
    frames: list[tuple[bytes, bytes]] = []
    serve(
        msgspec.json.encode(Request(os.fsencode(path), b"", Config(), "identity")),
        lambda kind, content: frames.append((kind, content)),
    )
    assert [kind for kind, _ in frames] == [b"P", b"R"]
    size = path.stat().st_size + (tmp_path / "e/w.data").stat().st_size
    assert msgspec.json.decode(frames[0][1], type=Progress).size == size
    assert msgspec.json.decode(frames[1][1], type=Identity).size == size


def test_where_nobody_watches_only_deadlines_are_told(tmp_path: Path) -> None:
    """A record comes after fewer words than a report, without facts, and with the same time allowed."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model("bad"))
    told = {}
    for wants in ("report", "record"):
        frames: list[tuple[bytes, bytes]] = []
        asked = Request(os.fsencode(path), b"", Config(name="m"), wants)  # type: ignore[arg-type]
        serve(msgspec.json.encode(asked), lambda kind, content, frames=frames: frames.append((kind, content)))
        steps = [msgspec.json.decode(content, type=Progress) for kind, content in frames if kind == b"P"]
        told[wants] = (
            len(steps), max(allowed_seconds(step.size, step.nodes) for step in steps), sum(step.seconds for step in steps),
            [kind for kind, _ in frames if kind != b"P"], Report.from_json(frames[-1][1]).findings,
        )  # fmt: skip
    assert told["record"][0] < told["report"][0]
    assert told["record"][1:3] == told["report"][1:3]
    assert told["record"][4] == told["report"][4]
    assert (told["record"][3], told["report"][3]) == ([b"R"], [b"F", b"R"])

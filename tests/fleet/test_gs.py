"""Models in Google Cloud Storage: an emulator on this machine, real requests through gcsfs."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commandline import initlint
from tests.fleet.harness import ask, fill
from tests.fleet.test_scan import external_model

pytest.importorskip("gcsfs", reason="the extra `remote` is not installed")
emulator = pytest.importorskip("gcp_storage_emulator.server", reason="the emulator of the tests is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, one with data beside it."""
    made = tmp_path_factory.mktemp("objects")
    fill(made / "models", good=1, bad=1)
    external_model(made / "models/external", 0.0)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """The URL of an emulator that holds them in a bucket."""
    running = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    running.start()
    url = f"http://127.0.0.1:{running._api._httpd.server_address[1]}"
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        name = path.relative_to(folder).as_posix()
        address = f"{url}/upload/storage/v1/b/bucket/o?uploadType=media&name={name}"
        with urllib.request.urlopen(urllib.request.Request(address, path.read_bytes(), method="POST")) as answer:  # noqa: S310 - our own server
            assert answer.status == 200
    yield url
    running.stop()


def test_objects_are_what_files_are(server: str, folder: Path, tmp_path: Path) -> None:
    """A prefix gives what the folder gives, data files included; an object is one model."""
    question = "SELECT content, bytes, outcome, verdict, errors FROM model ORDER BY content"
    there = initlint("scan", "gs://bucket/models", "-s", "s", "-j1", cwd=tmp_path, STORAGE_EMULATOR_HOST=server)
    assert (there.returncode, there.stderr) == (1, "")
    assert initlint("scan", folder / "models", "-s", "t", "-j1", cwd=tmp_path).returncode == 1
    assert len(ask(tmp_path / "s", question)) == 3
    assert ask(tmp_path / "s", question) == ask(tmp_path / "t", question)
    assert ("gs://bucket/models/external/m.onnx",) in ask(tmp_path / "s", "SELECT name FROM model")


@pytest.mark.parametrize("path", ["gs://no-such-bucket/models", "gs://bucket/nowhere"])
def test_nothing_there(server: str, tmp_path: Path, path: str) -> None:
    """No bucket, no object: one line and code 2."""
    result = initlint("scan", path, "-s", "s", cwd=tmp_path, STORAGE_EMULATOR_HOST=server)
    assert (result.returncode, result.stderr) == (2, f"initlint: {path}: does not exist\n")

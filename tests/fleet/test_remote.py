"""Models in object stores, through fsspec: over HTTP from a real server, and in a store of objects."""

import contextlib
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commandline import initlint
from tests.fleet.harness import ask, fill, model
from tests.fleet.test_scan import external_model

pytest.importorskip("fsspec", reason="the extra `remote` is not installed")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some objects below a prefix: models, one of them under another name, one with data beside it, and what is none."""
    folder = tmp_path_factory.mktemp("bucket")
    fill(folder / "models", good=1, bad=1)
    shutil.copy(folder / "models/bad0000.onnx", folder / "models/renamed.bin")
    (folder / "models/readme.md").write_text("no model")
    external_model(folder / "models/external", 0.0)
    return folder


class Web(http.server.SimpleHTTPRequestHandler):
    """Files over HTTP: one that is kept from everybody, one that ends too soon, one that only a signature opens."""

    def do_GET(self) -> None:
        """As the base class, but for the files with something the matter."""
        path, _, query = self.path.partition("?")
        if path.endswith("closed.onnx"):
            self.send_error(403)
        elif path.endswith("cut.onnx"):
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(model("good")[:700])
        elif path.endswith("signed.onnx"):
            if "X-Amz-Signature=secret" in query:
                self.path = path.replace("signed", "bad0000")
                super().do_GET() if self.command == "GET" else super().do_HEAD()
            else:
                self.send_error(403)
        else:
            super().do_GET() if self.command == "GET" else super().do_HEAD()

    do_HEAD = do_GET  # noqa: N815 - as above

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Nothing."""


@pytest.fixture
def server(bucket: Path) -> Iterator[str]:
    """The objects behind a web server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Web, directory=bucket)) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        with contextlib.closing(running.socket):
            yield f"http://127.0.0.1:{running.server_port}"
            running.shutdown()


def verdicts(store: Path) -> dict[str, tuple[str, str]]:
    return {
        name: (outcome, verdict) for name, outcome, verdict in ask(store, "SELECT name, outcome, verdict FROM model")
    }


def test_prefix(bucket: Path, tmp_path: Path) -> None:
    """Everything below a prefix is listed, recognised, fetched with its data, and gone afterwards."""
    spool = tmp_path / "spool"
    spool.mkdir()
    url = f"file://{bucket}/models"
    result = initlint("scan", url, "-s", "s", "-j2", cwd=tmp_path, TMPDIR=str(spool))
    assert result.returncode == 1, result.stderr
    found = verdicts(tmp_path / "s")
    assert found == {
        f"{url}/bad0000.onnx": ("linted", "error"), f"{url}/good0000.onnx": ("linted", "ok"),
        f"{url}/external/m.onnx": ("linted", "error"), f"{url}/renamed.bin": ("duplicate", "error"),
    }  # fmt: skip
    assert not list(spool.iterdir())


def test_http(bucket: Path, server: str, tmp_path: Path) -> None:
    """Single objects over HTTP give what the files give; one that is not there is refused, and no password is kept."""
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP through aiohttp, which is not installed")
    named = server.replace("//", "//user:secret@")
    paths = (f"{named}/models/bad0000.onnx", f"{server}/models/external/m.onnx", f"{server}/models/none.onnx")
    result = initlint("scan", *paths[:2], "-s", "s", "-j1", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    local = initlint("scan", bucket / "models/bad0000.onnx", bucket / "models/external/m.onnx", "-s", "t", cwd=tmp_path)
    assert local.returncode == 1
    question = "SELECT content, verdict, errors FROM model ORDER BY content"
    assert ask(tmp_path / "s", question) == ask(tmp_path / "t", question)
    assert b"secret" not in (tmp_path / "s").read_bytes()
    missing = initlint("scan", paths[2], "-s", "u", cwd=tmp_path)
    assert missing.returncode == 2


def test_a_page_of_links_is_a_folder(server: str, tmp_path: Path) -> None:
    """A web address that ends in a slash is what the links below it lead to, as of a server's own list of files."""
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP through aiohttp, which is not installed")
    result = initlint("scan", f"{server}/models/", "-s", "s", "-j1", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    names = {name.rpartition("/models/")[2]: verdict for name, (_, verdict) in verdicts(tmp_path / "s").items()}
    assert names == {"bad0000.onnx": "error", "good0000.onnx": "ok", "external/m.onnx": "error", "renamed.bin": "error"}


def test_signed_links(server: str, tmp_path: Path) -> None:
    """What lets a user in is not kept: neither in the store nor in what is printed, nor where it lets nobody in."""
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP through aiohttp, which is not installed")
    link = f"{server}/models/signed.onnx?part=1&X-Amz-Signature=secret&X-Amz-Expires=60"
    result = initlint("scan", link, "-s", "s", "-f", "json", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert ask(tmp_path / "s", "SELECT name, path, verdict FROM model") == [
        (f"{server}/models/signed.onnx?part=1",) * 2 + ("error",)
    ]
    assert "secret" not in result.stdout + result.stderr
    assert b"secret" not in (tmp_path / "s").read_bytes()
    named = link.replace("//", "//user:hidden@").replace("=secret", "=wrong")
    wrong = initlint("scan", named, "-s", "s", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "hidden" not in wrong.stderr
    assert "wrong" not in wrong.stderr


def test_what_cannot_be_fetched(server: str, tmp_path: Path) -> None:
    """An object that ends too soon is refused and never linted as it came; one that is kept from the user ends nothing."""
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP through aiohttp, which is not installed")
    arguments = ("-s", "s", "-j1", "--max-refused", "1")
    result = initlint("scan", f"{server}/models/cut.onnx", f"{server}/models/good0000.onnx", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert dict(ask(tmp_path / "s", "SELECT name, reason FROM model")) == {
        f"{server}/models/cut.onnx": "fetch", f"{server}/models/good0000.onnx": None,
    }  # fmt: skip
    for name, words in (("closed", "403"), ("none", "does not exist")):
        refused = initlint("scan", f"{server}/models/{name}.onnx", *arguments, cwd=tmp_path)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert words in refused.stderr


def test_unknown_protocol(tmp_path: Path) -> None:
    """A protocol that nothing speaks is one line and code 2."""
    (tmp_path / "m.onnx").write_bytes(model("good"))
    result = initlint("scan", "nonsense://bucket/models", "-s", "s", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "nonsense" in result.stderr

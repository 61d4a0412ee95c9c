"""Models in S3: a real server on this machine, real requests, credentials from the environment as a user has them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commandline import initlint
from tests.fleet.harness import ask, contents, fill, model
from tests.fleet.test_scan import external_model

pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
Store = pytest.importorskip(
    "tests.fleet.s3server", reason="the S3 server of the tests is not installed", exc_type=ImportError
).Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models: one under another name, one with data beside it, one torn; and what is none."""
    made = tmp_path_factory.mktemp("objects")
    fill(made / "models", good=2, bad=1)
    shutil.copy(made / "models/bad0000.onnx", made / "models/renamed.bin")
    (made / "models/readme.md").write_text("no model")
    (made / "models/torn.onnx").write_bytes(model("good")[:500])
    external_model(made / "models/external", 0.0)
    return made


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    """A server."""
    store = Store()
    yield store
    store.server.shutdown()


@pytest.fixture
def store(running: Store, folder: Path) -> Iterator[tuple[Store, str]]:
    """The server with a bucket of its own, and the bucket's URL."""
    bucket = f"bucket-{len(running.client().list_buckets()['Buckets'])}"
    running.fill(bucket, folder)
    running.sent.clear()
    yield running, f"s3://{bucket}"
    running.before = None


def rows(path: Path) -> list[tuple[Any, ...]]:
    """What a store says of its models, whatever their place."""
    found = ask(path, "SELECT name, content, bytes, outcome, same_as, verdict, reason, errors FROM model")
    return sorted(tuple(str(item).rpartition("models/")[2] for item in row) for row in found)


def test_prefix(store: tuple[Store, str], folder: Path, tmp_path: Path) -> None:
    """A prefix is what its objects are as files: found, recognised, with data beside them; each is sent once, none stays."""
    server, bucket = store
    spool = tmp_path / "spool"
    spool.mkdir()
    arguments = ("-j2", "--max-refused", "1")
    there = initlint(
        "scan", f"{bucket}/models", "-s", "s", *arguments, cwd=tmp_path, TMPDIR=str(spool), **server.user()
    )
    assert (there.returncode, there.stderr) == (1, "")
    here = initlint("scan", folder / "models", "-s", "t", *arguments, cwd=tmp_path)
    assert here.returncode == 1
    assert len(rows(tmp_path / "s")) == 6
    assert rows(tmp_path / "s") == rows(tmp_path / "t")
    assert contents(tmp_path / "s")["finding"] != []
    assert set(server.sent.values()) == {1}
    assert set(server.sent) == {
        f"models/{path.relative_to(folder / 'models').as_posix()}"
        for path in (folder / "models").rglob("*")
        if path.is_file()
    } - {"models/readme.md"}
    assert not list(spool.iterdir())


def test_one_object_and_a_glob(store: tuple[Store, str], tmp_path: Path) -> None:
    """An object is a model whatever it is called; a glob is what it matches."""
    server, bucket = store
    paths = (f"{bucket}/models/renamed.bin", f"{bucket}/models/good*.onnx")
    result = initlint("scan", *paths, "-s", "s", "-j1", cwd=tmp_path, **server.user())
    assert result.returncode == 1
    names = [name for (name,) in ask(tmp_path / "s", "SELECT name FROM model ORDER BY name")]
    assert names == [f"{bucket}/models/good0000.onnx", f"{bucket}/models/good0001.onnx", f"{bucket}/models/renamed.bin"]


@pytest.mark.parametrize(
    ("path", "user", "words"),
    [
        ("s3://no-such-bucket/models", {}, "no-such-bucket"),
        ("{}/nowhere", {}, "nowhere"),
        ("{}/nowhere/*.onnx", {}, "no model there"),
        ("{}/models", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "redentials"),
        ("{}/models", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
    ],
)
def test_nothing_to_scan(store: tuple[Store, str], tmp_path: Path, path: str, user: dict[str, str], words: str) -> None:
    """No bucket, no object, no credentials, no server: one line and code 2."""
    server, bucket = store
    environment = {name: value for name, value in {**server.user(), **user}.items() if value}
    result = initlint("scan", path.format(bucket), "-s", "s", "-j1", cwd=tmp_path, **environment)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_vanishing(store: tuple[Store, str], tmp_path: Path) -> None:
    """An object that is gone when its turn comes is refused; the others are linted."""
    server, bucket = store
    gone = "models/good0001.onnx"

    def before(key: str) -> None:
        if key == gone:
            server.client().delete_object(Bucket=bucket[5:], Key=gone)

    server.before = before
    result = initlint("scan", f"{bucket}/models", "-s", "s", "-j1", "--max-refused", "1", cwd=tmp_path, **server.user())
    assert result.returncode == 1, result.stderr
    refused = dict(ask(tmp_path / "s", "SELECT name, reason FROM model WHERE outcome = 'refused'"))
    assert refused == {f"{bucket}/{gone}": "not-found", f"{bucket}/models/torn.onnx": "truncated"}


@pytest.mark.parametrize(("times", "reason"), [(1, None), (9, "changed")])
def test_written_while_it_is_fetched(store: tuple[Store, str], tmp_path: Path, times: int, reason: str | None) -> None:
    """A model is never paired with the data of another time: it is fetched again, and refused where that does not help."""
    server, bucket = store
    left = [times]

    def before(key: str) -> None:
        if key == "models/external/w.data" and left[0]:
            left[0] -= 1
            server.client().put_object(Bucket=bucket[5:], Key=key, Body=bytes([left[0] + 1]) * 4 * 64 * 64)

    server.before = before
    initlint("scan", f"{bucket}/models/external", "-s", "s", "-j1", cwd=tmp_path, **server.user())
    assert ask(tmp_path / "s", "SELECT reason FROM model") == [(reason,)]


def test_not_permitted(running: Store, folder: Path, tmp_path: Path) -> None:
    """A key that is not known is one line; one object that the user may not read is refused, and no other."""
    server = running
    server.fill("vault", folder)
    manager = server.client("iam")
    manager.create_user(UserName="auditor")
    rules = [
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject", "s3:HeadObject"], "Resource": "*"},
        {
            "Effect": "Deny",
            "Action": ["s3:GetObject", "s3:HeadObject"],
            "Resource": "arn:aws:s3:::vault/models/good0001.onnx",
        },
    ]
    manager.put_user_policy(
        UserName="auditor", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": rules})
    )
    key = manager.create_access_key(UserName="auditor")["AccessKey"]
    user = server.user(key["AccessKeyId"], key["SecretAccessKey"])
    with server.asking():
        unknown = initlint("scan", "s3://vault/models", "-s", "u", cwd=tmp_path, **server.user("nobody", "nothing"))
        result = initlint("scan", "s3://vault/models", "-s", "s", "-j1", "--max-refused", "1", cwd=tmp_path, **user)
    assert unknown.returncode == 2
    assert unknown.stderr.count("\n") == 1
    assert result.returncode == 1, result.stderr
    refused = dict(ask(tmp_path / "s", "SELECT name, reason FROM model WHERE outcome = 'refused'"))
    assert refused == {"s3://vault/models/good0001.onnx": "permission", "s3://vault/models/torn.onnx": "truncated"}

"""The command line: what goes to which stream, which code comes back, whatever happens."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from initlint.report import Report
from tests.commandline import COMMAND, ROOT, environment, initlint

BAD, GOOD = ROOT / "samples/bad/IL202.onnx", ROOT / "samples/good/IL202.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a bad and a good model."""
    shutil.copy(BAD, tmp_path / "bad.onnx")
    shutil.copy(GOOD, tmp_path / "good.onnx")
    return tmp_path


def test_good_and_bad(folder: Path) -> None:
    """A good model is code 0, a bad one code 1 with the rule on standard output and nothing on standard error."""
    good, bad = initlint("good.onnx", cwd=folder), initlint("bad.onnx", cwd=folder)
    assert (good.returncode, good.stderr) == (0, "")
    assert (bad.returncode, bad.stderr) == (1, "")
    assert "error[IL202] signal-vanishes" in bad.stdout


@pytest.mark.parametrize(
    "arguments",
    [("--format", "json", "bad.onnx"), ("bad.onnx", "--format", "json"), ("check", "-f", "json", "bad.onnx"), ("-fjson", "--", "bad.onnx")],
)  # fmt: skip
def test_check_may_be_left_out(folder: Path, arguments: Sequence[str]) -> None:
    """Options come before or after the model, with and without the command's name."""
    result = initlint(*arguments, cwd=folder)
    assert result.returncode == 1
    assert json.loads(result.stdout)["models"][0]["model"] == "bad.onnx"


def test_a_file_named_like_a_command(folder: Path) -> None:
    """`./explain` is a model, `explain` the command."""
    shutil.copy(BAD, folder / "explain")
    assert "IL202" in initlint("./explain", cwd=folder).stdout
    assert initlint("explain", cwd=folder).returncode == 2


def test_folders_and_globs(folder: Path) -> None:
    """Folders are searched, globs expanded, and no model is checked twice."""
    (folder / "sub").mkdir()
    shutil.copy(GOOD, folder / "sub/deep.ONNX")
    (folder / "sub/notes.txt").write_text("no model")
    for arguments, models in (
        ((".",), ["bad.onnx", "good.onnx", "sub/deep.ONNX"]),
        (("*.onnx", "good.onnx"), ["bad.onnx", "good.onnx"]),
        (("**/deep*",), ["sub/deep.ONNX"]),
    ):
        report = json.loads(initlint("-f", "json", *arguments, cwd=folder).stdout)
        assert [item["model"] for item in report["models"]] == models


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a model"),
        (("check",), "give a model"),
        (("nowhere.onnx",), "nowhere.onnx"),
        (("nowhere/",), "nowhere"),
        (("empty",), "holds no .onnx file"),
        (("*.pt",), "no file matches"),
        (("--fromat", "json", "good.onnx"), "--format"),
        (("--format", "yaml", "good.onnx"), "yaml"),
        (("good.onnx", "--select", "IX"), "IX"),
        (("good.onnx", "-o", "json"), "FORMAT:PATH"),
        (("good.onnx", "-o", "json:nowhere/a.json"), "no folder nowhere"),
        (("good.onnx", "--dim", "batch"), "NAME=SIZE"),
        (("good.onnx", "--jobs", "0"), "jobs"),
        (("good.onnx", "--config", "nowhere.toml"), "nowhere.toml"),
        (("good.onnx", "--target", "float7"), "float7"),
        (("good.onnx", "--baseline", "good.onnx"), "baseline"),
        (("explain", "IL999"), "IL999"),
        (("explain",), "CODE"),
        (("convert", "good.onnx", "--to", "sarif"), "no report"),
        (("query", "good.onnx", "SELEC"), "syntax"),
        (("query", "good.onnx", "DROP TABLE layer"), "not authorized"),
        (("test", "nowhere"), "nowhere"),
    ],
)
def test_bad_usage_is_one_line(folder: Path, arguments: Sequence[str], words: str) -> None:
    """Whatever cannot be meant is code 2, one clear line on standard error, and no document."""
    (folder / "empty").mkdir()
    result = initlint(*arguments, cwd=folder)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("initlint: ")
    assert "Traceback" not in result.stderr
    assert "error[" not in result.stdout


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "lfs-pointer"),
        (b"<!doctype html><html>", "not-onnx"),
        (b"PK\x03\x04" + bytes(100), "not-onnx"),
    ],
)
def test_refused_models(folder: Path, content: bytes, reason: str) -> None:
    """A file that is no model is code 2 whatever the others are, in the document and on standard error."""
    (folder / "odd.onnx").write_bytes(content)
    alone = initlint("odd.onnx", cwd=folder)
    assert alone.returncode == 2
    assert f"[{reason}]" in alone.stderr
    assert alone.stderr.count("\n") == 1
    both = initlint("-f", "json", "bad.onnx", "odd.onnx", cwd=folder)
    assert both.returncode == 2
    assert [item["reason"] for item in json.loads(both.stdout)["skipped"]] == [reason]
    assert {item["code"] for item in json.loads(both.stdout)["findings"]} >= {"IL202"}


@pytest.mark.parametrize("format_", ["concise", "sarif", "html", "openmetrics", "github"])
def test_code_does_not_depend_on_the_format(folder: Path, format_: str) -> None:
    """1 is 1 and 0 is 0 in every format."""
    assert initlint("-f", format_, "bad.onnx", cwd=folder).returncode == 1
    assert initlint("-f", format_, "good.onnx", cwd=folder).returncode == 0


def test_fail_on(folder: Path) -> None:
    """--fail-on sets the level; never never fails, and forgives no refusal."""
    assert initlint("--fail-on", "never", "bad.onnx", cwd=folder).returncode == 0
    assert initlint("bad.onnx", cwd=folder, INITLINT_FAIL_ON="never").returncode == 0
    (folder / "odd.onnx").write_bytes(b"")
    assert initlint("--fail-on", "never", ".", cwd=folder).returncode == 2


def test_command_line_beats_environment_beats_file(folder: Path) -> None:
    """And --show-config says where each value came from."""
    (folder / "initlint.toml").write_text('seed = 1\nfail-on = "note"\nphase = "init"\n')
    result = initlint(
        "check", "--show-config", "--seed", "3", cwd=folder, INITLINT_SEED="2", INITLINT_FAIL_ON="warning"
    )
    lines = {line.split(" = ")[0]: line for line in result.stdout.splitlines() if " = " in line}
    assert lines["seed"].split() == ["seed", "=", "3", "#", "command", "line"]
    assert lines["fail-on"].split() == ["fail-on", "=", '"warning"', "#", "environment", "INITLINT_FAIL_ON"]
    assert lines["phase"].split() == ["phase", "=", '"init"', "#", "initlint.toml:3"]
    isolated = initlint("check", "--show-config", "--isolated", cwd=folder)
    assert "settings file: none" in isolated.stdout


def test_bad_settings_have_a_line(folder: Path) -> None:
    """A setting that cannot be meant names its file and line, also where only the rules can tell."""
    for text, words in (
        ('fail-on = "eror"', "initlint.toml:1: fail-on"),
        ("[rules.IL201]\nmax_gian = 3", "initlint.toml:2: "),
        ("\n[rules.IL999]\nmax_gain = 3", "initlint.toml:2: "),
    ):
        (folder / "initlint.toml").write_text(text)
        result = initlint("good.onnx", cwd=folder)
        assert result.returncode == 2
        assert words in result.stderr


def test_repeatable(folder: Path) -> None:
    """Two runs give the same bytes but for `run`."""
    first, second = (json.loads(initlint("-f", "json", "bad.onnx", cwd=folder).stdout) for _ in range(2))
    assert first.pop("run") != {}
    second.pop("run")
    assert json.dumps(first) == json.dumps(second)


def test_jobs(folder: Path) -> None:
    """Several workers give what one gives, in the same order."""
    for index in range(4):
        shutil.copy(BAD if index % 2 else GOOD, folder / f"m{index}.onnx")
    one, two = (json.loads(initlint("-f", "json", ".", "-j", jobs, cwd=folder).stdout) for jobs in ("1", "2"))
    one.pop("run"), two.pop("run")
    assert one == two
    assert [item["model"] for item in one["models"]] == ["bad.onnx", "good.onnx", *(f"m{i}.onnx" for i in range(4))]


def test_outputs(folder: Path) -> None:
    """-o writes further documents, whole, beside the one on standard output; convert makes the same from JSON and HTML."""
    result = initlint("bad.onnx", "-o", "json:a.json", "-o", "sarif:b.sarif", "-o", "html:c.html", cwd=folder)
    assert result.returncode == 1
    assert "error[IL202]" in result.stdout
    sarif = (folder / "b.sarif").read_text()
    for source in ("a.json", "c.html"):
        converted = initlint("convert", source, "--to", "sarif", cwd=folder)
        assert converted.stdout == sarif
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "b.sarif", "bad.onnx", "c.html", "good.onnx"]
    assert (folder / "a.json").stat().st_mode & 0o444


def test_no_file_without_success(folder: Path) -> None:
    """What fails leaves an older document as it was, and no temporary file."""
    (folder / "a.json").write_text("old")
    result = initlint("bad.onnx", "-o", "json:a.json", "--config", "nowhere.toml", cwd=folder)
    assert result.returncode == 2
    assert (folder / "a.json").read_text() == "old"
    assert len(list(folder.iterdir())) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(folder: Path) -> None:
    """A document that cannot be written is code 2 and one line, on standard output as in a file."""
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*COMMAND, "good.onnx"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=folder,
            env=environment(),
        )
    assert result.returncode == 2
    assert result.stderr.startswith("initlint: cannot write to standard output")
    assert result.stderr.count("\n") == 1
    assert initlint("good.onnx", "-o", "json:/dev/full", cwd=folder).returncode == 2


def test_closed_stdout(folder: Path) -> None:
    """Without a standard output there is no answer: code 2, one line."""
    result = subprocess.run(  # noqa: S602 - the shell closes the descriptor
        f"{sys.executable} -m initlint good.onnx >&-",
        shell=True,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=folder,
        env=environment(),
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


def test_reader_gone(folder: Path) -> None:
    """A reader that goes away gets no traceback in return."""
    with subprocess.Popen(
        [*COMMAND, "-f", "html", "bad.onnx"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(folder: Path, number: int) -> None:
    """An interrupted run is code 2 and one line, writes nothing and leaves no worker."""
    script = folder / "slow.py"
    script.write_text(
        "import sys\nfrom initlint import isolation\n"
        "isolation.WORKER_PROGRAM = isolation.Worker.__init__.__kwdefaults__['program'] = ("
        '\'-c\', \'import time, sys; open("pid", "w").write(str(__import__("os").getpid())); time.sleep(60)\')\n'
        "from initlint.cli import run\nsys.exit(run(sys.argv[1:]))\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script), "bad.onnx", "-o", "json:a.json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=folder, env=environment(),
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 20
        while not ((folder / "pid").exists() and (folder / "pid").read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (2, "", "initlint: interrupted\n")
    assert not (folder / "a.json").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


def test_color(folder: Path) -> None:
    """Colour follows --color, else NO_COLOR, else FORCE_COLOR, else the terminal; a file never has any."""
    assert "\x1b[" not in initlint("bad.onnx", cwd=folder).stdout
    assert "\x1b[" in initlint("bad.onnx", cwd=folder, FORCE_COLOR="1").stdout
    assert "\x1b[" not in initlint("bad.onnx", cwd=folder, FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b[" in initlint("bad.onnx", "--color", "always", cwd=folder, NO_COLOR="1").stdout
    initlint("bad.onnx", "--color", "always", "-o", "text:a.txt", cwd=folder)
    assert "\x1b[" not in (folder / "a.txt").read_text()


def test_odd_file_names(folder: Path) -> None:
    """A file name that is hostile or no text is analysed, and harmless in what is printed."""
    for name in (b"a\n\x1b[2J::error::x.onnx", b"caf\xe9.onnx"):
        target = os.fsencode(folder) + b"/" + name
        shutil.copyfile(BAD, target)
        result = subprocess.run([*COMMAND, name], capture_output=True, check=False, cwd=folder, env=environment())
        assert result.returncode == 1, result.stderr
        assert b"\x1b" not in result.stdout
        assert not any(line.lstrip().startswith(b"::") for line in result.stdout.splitlines())
        result.stdout.decode()
        for format_ in ("json", "sarif", "github"):
            other = subprocess.run(
                [*COMMAND, "-f", format_, name], capture_output=True, check=False, cwd=folder, env=environment()
            )
            assert other.returncode == 1
            other.stdout.decode()


def test_baseline(folder: Path) -> None:
    """Findings of an earlier report do not count, and are still shown."""
    initlint("bad.onnx", "-o", "json:old.json", cwd=folder)
    result = initlint("bad.onnx", "--baseline", "old.json", cwd=folder)
    assert result.returncode == 0
    assert "in the baseline" in result.stdout


def test_waiver(folder: Path) -> None:
    """A waiver with a reason takes the finding from the gate, not from the page; an expired one does not."""
    (folder / "initlint.toml").write_text('[[waive]]\ncode = "IL202"\nreason = "known"\n')
    result = initlint("bad.onnx", cwd=folder)
    assert result.returncode == 0
    assert "waived: known" in result.stdout
    (folder / "initlint.toml").write_text('[[waive]]\ncode = "IL202"\nreason = "known"\nexpires = 2020-01-01\n')
    assert initlint("bad.onnx", cwd=folder).returncode == 1


def test_query(folder: Path) -> None:
    """The tables answer in SQL, from the model and from a file of facts, as table, JSON and CSV."""
    sql = "SELECT count(*) AS layers FROM layer WHERE slot IS NOT NULL"
    initlint("bad.onnx", "--facts", "facts.sqlite", cwd=folder)
    answers = [
        initlint("query", model, sql, "--format", "json", cwd=folder).stdout for model in ("bad.onnx", "facts.sqlite")
    ]
    assert answers[0] == answers[1]
    assert json.loads(answers[0])[0]["layers"] > 0
    assert initlint("query", "facts.sqlite", sql, "--format", "csv", cwd=folder).stdout.startswith("layers\n")
    assert "signal_std" in initlint("query", "--tables").stdout


def test_query_gives_programs_the_text(folder: Path) -> None:
    """JSON holds every text in full and as it is; a table and CSV show it harmless and cut. None acts on a terminal."""
    text = "\x1b[2J##[error]\u202e\x9b\U000e0041"
    sql = f"SELECT char({', '.join(str(ord(character)) for character in text)}) || printf('%.*c', 1000, 'x') AS name"
    initlint("bad.onnx", "--facts", "facts.sqlite", cwd=folder)
    shown = {
        layout: initlint("query", "facts.sqlite", sql, "-f", layout, cwd=folder).stdout
        for layout in ("json", "table", "csv")
    }
    assert json.loads(shown["json"]) == [{"name": text + "x" * 1000}]
    assert "\\x1b[2J" in shown["table"]
    assert len(shown["csv"]) < 300
    for layout, document in shown.items():
        assert "##[" not in document, layout
        assert all(character.isprintable() or character == "\n" for character in document), layout


def test_rules_explain_test(folder: Path) -> None:
    """All rules are listed and explained, and their own examples hold."""
    codes = [line.split()[0] for line in initlint("rules").stdout.splitlines()]
    assert codes == sorted(path.stem for path in (ROOT / "rules").glob("*.toml"))
    for code in codes:
        assert code in initlint("explain", code, cwd=folder).stdout.splitlines()[0]
        break
    everything = initlint("explain", *codes)
    assert everything.returncode == 0
    assert initlint("test").returncode == 0
    (folder / "XX001.toml").write_text(
        (ROOT / "rules/IL301.toml")
        .read_text()
        .replace("IL301", "XX001")
        .replace('verdict = "fail"', 'verdict = "pass"')
    )
    wrong = initlint("test", folder, cwd=folder)
    assert wrong.returncode == 1
    assert "expected pass, got fail" in wrong.stdout


def test_own_rules(folder: Path) -> None:
    """A folder of own rules is judged like the built-in ones."""
    (folder / "own").mkdir()
    (folder / "own/XX001.toml").write_text((ROOT / "rules/IL203.toml").read_text().replace("IL203", "XX001"))
    rules = json.loads(initlint("bad.onnx", "--rules", "own", "-f", "json", cwd=folder).stdout)["rules"]
    assert "XX001" in {rule["code"] for rule in rules}


def test_version_and_help() -> None:
    """--version is one line; every command has a help that fits 100 columns."""
    from initlint import __version__  # noqa: PLC0415 - beside its use

    assert initlint("--version").stdout == f"initlint {__version__}\n"
    for arguments in ((), ("check",), ("explain",), ("rules",), ("query",), ("test",), ("convert",)):
        result = initlint(*arguments, "--help")
        assert result.returncode == 0
        assert max(map(len, result.stdout.splitlines())) <= 100


def test_python_and_command_line_agree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`initlint.check` gives the report that the command line prints, in a process of its own or not."""
    import initlint as package  # noqa: PLC0415 - the name is taken above

    monkeypatch.chdir(folder)
    printed = Report.from_json(initlint("-f", "json", "bad.onnx", cwd=folder).stdout)
    isolated, here = package.check("bad.onnx"), package.check("bad.onnx", isolation="none")
    in_memory = package.check((folder / "bad.onnx").read_bytes(), name="bad.onnx")
    for report in (isolated, here, in_memory):
        assert report.findings == printed.findings
        assert report.facts.query("SELECT count(*) AS n FROM layer")[0]["n"] == len(printed.layers)
    assert isolated.models[0].isolation == "process"
    assert here.models[0].isolation == "none"
    assert not isolated.ok

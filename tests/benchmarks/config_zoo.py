"""Architectures of the transformers package at their own initialisation, small, by both exporters: fresh, sound networks.

    python tests/benchmarks/config_zoo.py OUT_DIR [--only NAME]

Every network is built from a configuration object, so nothing is downloaded. Needs `transformers`, which nothing else here does.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

TEXT = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 300,
}
IMAGE = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 32,
         "patch_size": 8}  # fmt: skip
# Architecture: configuration, kind of input.
NETWORKS: dict[str, tuple[dict[str, Any], str]] = {
    "Bert": (TEXT, "ids"),
    "Roberta": (TEXT, "ids"),
    "Electra": (TEXT | {"embedding_size": 64}, "ids"),
    "Albert": (TEXT | {"embedding_size": 32}, "ids"),
    "DistilBert": ({"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128, "vocab_size": 300}, "ids"),
    "MobileBert": (TEXT | {"embedding_size": 32, "intra_bottleneck_size": 32}, "ids"),
    "GPT2": ({"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 300}, "ids"),
    "GPTNeoX": (TEXT, "ids"),
    "OPT": (TEXT | {"ffn_dim": 128, "word_embed_proj_dim": 64}, "ids"),
    "Llama": (TEXT | {"num_key_value_heads": 2}, "ids"),
    "Mistral": (TEXT | {"num_key_value_heads": 2}, "ids"),
    "Qwen2": (TEXT | {"num_key_value_heads": 2}, "ids"),
    "Gemma": (TEXT | {"num_key_value_heads": 2, "head_dim": 16}, "ids"),
    "Phi": (TEXT, "ids"),
    "ViT": (IMAGE, "image"),
    "DeiT": (IMAGE, "image"),
    "Beit": (IMAGE, "image"),
    "Dinov2": (IMAGE, "image"),
    "ConvNext": ({"depths": [1, 1, 2, 1], "hidden_sizes": [16, 24, 32, 48]}, "image"),
    "ConvNextV2": ({"depths": [1, 1, 2, 1], "hidden_sizes": [16, 24, 32, 48]}, "image"),
    "ResNet": ({"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "layer_type": "basic"}, "image"),
    "RegNet": ({"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "groups_width": 8}, "image"),
    "MobileNetV1": ({"depth_multiplier": 0.25}, "image"),
    "MobileNetV2": ({"depth_multiplier": 0.25}, "image"),
    "Swin": ({"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "image_size": 32, "patch_size": 4}, "image"),
    "PoolFormer": ({"depths": [1, 1, 1, 1], "hidden_sizes": [16, 24, 32, 48]}, "image"),
    "Segformer": ({"depths": [1, 1, 1, 1], "hidden_sizes": [16, 24, 32, 48], "num_attention_heads": [1, 2, 4, 8]}, "image"),
    "Wav2Vec2": (TEXT | {"conv_dim": [32] * 3, "conv_stride": [5, 2, 2], "conv_kernel": [10, 3, 3], "num_conv_pos_embeddings": 16,
                         "num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 3}, "sound"),
}  # fmt: skip


class First(nn.Module):
    """The network's first output alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        found = self.network(x)
        return found[0] if isinstance(found, tuple) else next(iter(found.values()))


def made(name: str) -> tuple[nn.Module, Tensor]:
    """The network and an input."""
    settings, kind = NETWORKS[name]
    config = getattr(transformers, f"{name}Config")(**settings)
    config._attn_implementation = "eager"  # the form that exporters have always written out
    config.use_cache = False
    network = First(getattr(transformers, f"{name}Model")(config)).eval()
    size = 64 if "image_size" not in settings else 32
    samples = {
        "ids": torch.randint(0, 300, (1, 12)),
        "image": torch.randn(1, 3, size, size),
        "sound": torch.randn(1, 1600),
    }
    return network, samples[kind]


def main() -> None:
    """Write every network that is not there yet, by both exporters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in NETWORKS:
        for dynamo in (True, False):
            path = options.out / f"transformers_{name.lower()}-{'dynamo' if dynamo else 'torchscript'}.onnx"
            if path.exists() or (options.only and options.only != name):
                continue
            try:
                torch.manual_seed(len(name))
                network, sample = made(name)
                more = {"external_data": False, "verbose": False} if dynamo else {"opset_version": 17}
                torch.onnx.export(network, (sample,), path, dynamo=dynamo, input_names=["input"], **more)
            except Exception as failure:
                path.unlink(missing_ok=True)
                print(f"{path.stem}: {type(failure).__name__} {str(failure)[:100]!r}", flush=True)
                continue
            print(path.name, path.stat().st_size, flush=True)


if __name__ == "__main__":
    main()

"""onnx's generated protobuf classes alone: importing the whole onnx package costs four times as much."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["model_class"]

MODULE = "onnx.onnx_ml_pb2"


def model_class() -> Any:
    """The class ModelProto, the same that `import onnx` gives, whichever comes first."""
    return _module().ModelProto


def _module() -> ModuleType:
    if MODULE in sys.modules:
        return sys.modules[MODULE]
    if "onnx" not in sys.modules:
        package = importlib.util.find_spec("onnx")
        folder = next(iter(package.submodule_search_locations or ()), None) if package is not None else None
        file = Path(folder) / "onnx_ml_pb2.py" if folder is not None else None
        if file is not None and file.is_file():
            spec = importlib.util.spec_from_file_location(MODULE, file)
            if spec is not None and spec.loader is not None:
                module = importlib.util.module_from_spec(spec)
                sys.modules[MODULE] = module
                spec.loader.exec_module(module)
                return module
    import onnx.onnx_ml_pb2  # noqa: PLC0415 - the ordinary way, where the file is not where it used to be

    return onnx.onnx_ml_pb2

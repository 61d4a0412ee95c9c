"""What is fed: synthetic inputs by their kind, or the user's own arrays and ONNX test data."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from initlint.errors import Reason, Refusal
from initlint.inputs import Input, draw

__all__ = ["fed", "fitted", "load_data", "pairs"]

Feeds = dict[str, npt.NDArray[Any]]
LARGEST_FILE = 1 << 31  # bytes of a data file that is read


def pairs(inputs: Sequence[Input], generator: np.random.Generator, count: int) -> Iterator[tuple[Feeds, Feeds]]:
    """`count` pairs of independent feeds under the same assumptions as the prediction."""
    for _ in range(count):
        yield fed(inputs, generator), fed(inputs, generator)


def fed(inputs: Sequence[Input], generator: np.random.Generator) -> Feeds:
    """One feed, in the element types that the model declares. Raises Refusal for an input that cannot be made up."""
    feeds = {}
    for item in inputs:
        values = draw(item, generator, 1, np.float32)
        if values is None:
            raise Refusal(Reason.UNSUPPORTED, f"input {item.name!r} is of a kind that cannot be made up; use --input")
        feeds[item.name] = np.asarray(values[0], dtype=_numpy_type(item.dtype))
    return feeds


def fitted(samples: Sequence[Feeds], inputs: Mapping[str, Input]) -> list[Feeds]:
    """The samples in the inputs' element types; of several shapes those of the most common one, which can be compared.

    Raises Refusal (usage) where a sample is of another kind (text for numbers) or does not fit a declared extent.
    """
    typed = [{name: _typed(name, values, inputs[name].dtype) for name, values in sample.items()} for sample in samples]
    shapes = [tuple((name, values.shape) for name, values in sorted(sample.items())) for sample in typed]
    common = Counter(shapes).most_common(1)[0][0]
    return [sample for sample, shape in zip(typed, shapes, strict=True) if shape == common]


def _typed(name: str, values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    wanted = np.dtype(_numpy_type(dtype)) if dtype != "string" else np.dtype(object)
    numbers = "fiub"
    if (values.dtype.kind in numbers) != (wanted.kind in numbers or dtype == "bfloat16"):
        raise Refusal(Reason.USAGE, f"--input: {name} holds {values.dtype}, the model wants {dtype}")
    if wanted.kind in "iu" and values.dtype.kind == "f" and not np.array_equal(values, np.round(values)):
        raise Refusal(Reason.USAGE, f"--input: {name} holds fractions, the model wants {dtype}")
    return values.astype(wanted, copy=False)


def _numpy_type(dtype: str) -> npt.DTypeLike:
    if dtype == "bfloat16":
        import ml_dtypes  # noqa: PLC0415 - only for bfloat16 inputs

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype)


def load_data(path: Path, inputs: Mapping[str, tuple[int, ...]]) -> list[Feeds]:
    """Feeds from a .npz or .npy file, or from a folder of ONNX test data (`input_0.pb`, in sets or not).

    Arrays whose first axis is longer than the model's are cut into samples. Raises Refusal (usage) where a file cannot be
    read or names no input of the model.
    """
    if path.is_dir():
        return [_from_protobufs(folder, inputs) for folder in _test_sets(path)]
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise Refusal(Reason.USAGE, f"{path} is larger than {LARGEST_FILE >> 30} GiB")
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Refusal(Reason.USAGE, f"--input {path}: {error}") from error
    arrays = (
        {next(iter(inputs)): loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
    )
    unknown = sorted(set(arrays) - set(inputs))
    if unknown:
        raise Refusal(
            Reason.USAGE, f"--input {path} has {', '.join(unknown)}; the model's inputs are {', '.join(inputs)}"
        )
    return _samples(arrays, inputs)


def _test_sets(path: Path) -> list[Path]:
    sets = sorted(folder for folder in path.iterdir() if folder.is_dir() and list(folder.glob("input_*.pb")))
    if sets:
        return sets
    if list(path.glob("input_*.pb")):
        return [path]
    raise Refusal(Reason.USAGE, f"--input {path} holds no input_0.pb")


def _from_protobufs(folder: Path, inputs: Mapping[str, tuple[int, ...]]) -> Feeds:
    import onnx  # noqa: PLC0415 - only for ONNX test data
    from onnx import numpy_helper  # noqa: PLC0415

    feeds = {}
    for index, name in enumerate(inputs):
        file = folder / f"input_{index}.pb"
        try:
            proto = onnx.TensorProto.FromString(file.read_bytes())
            feeds[proto.name if proto.name in inputs else name] = numpy_helper.to_array(proto)
        except Exception as error:
            raise Refusal(Reason.USAGE, f"--input {file}: {error}") from error
    return feeds


def _samples(arrays: Mapping[str, npt.NDArray[Any]], inputs: Mapping[str, tuple[int, ...]]) -> list[Feeds]:
    """One feed a sample: arrays `[samples, *shape]`, or `[samples * n, ...]` for an input `[n, ...]`."""
    cut: dict[str, list[npt.NDArray[Any]]] = {}
    for name, values in arrays.items():
        shape = inputs[name]
        if values.ndim == len(shape) + 1:
            cut[name] = list(values)
        elif values.ndim == len(shape):
            step = max(shape[0] if shape else 1, 1)
            count = max(len(values) // step, 1) if shape else 1
            cut[name] = [values[index * step : (index + 1) * step] for index in range(count)] if shape else [values]
        else:
            raise Refusal(
                Reason.USAGE,
                f"--input: {name} has {values.ndim} axes, the model wants {len(shape)} or one more for samples",
            )
    count = max(len(items) for items in cut.values())
    return [{name: items[index % len(items)] for name, items in cut.items()} for index in range(count)]

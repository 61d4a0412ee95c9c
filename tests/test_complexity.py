"""Time and memory against the size of a model and of its graph, as ratios: what is asked is how they grow."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from initlint.analysis import Settings, analyse
from initlint.config import Config
from initlint.graph import StoredTensor
from initlint.index import index_of
from initlint.layerfacts import examine_layers
from initlint.layers import find_layers
from initlint.model import open_model
from initlint.source import FileSource
from initlint.weights import ChannelLayout, statistics
from tests.benchmarks.synthesised import write_graph, write_model

CONFIG = Settings(Config(), "model")


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Processor time of this process at its best: what other processes do does not count."""
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


def peak(work: Callable[[], object]) -> int:
    """Bytes allocated at most, arrays included."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def open_and_close(path: Path) -> None:
    with open_model(path) as model:
        assert next(iter(model.nodes()), None) is not None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8", "float8e4m3fn", "int4"])
@pytest.mark.parametrize("layout", [None, ChannelLayout((0,)), ChannelLayout((1,))])
def test_memory_of_statistics_does_not_grow_with_the_tensor(
    dtype: str, layout: ChannelLayout | None, tmp_path: Path
) -> None:
    path = tmp_path / "weight"
    with path.open("wb") as file:
        file.truncate(48 << 20)
    with path.open("rb") as file:
        source = FileSource(str(path), file.fileno(), 48 << 20)
        bits = {"float32": 32, "bfloat16": 16, "float16": 16, "int4": 4}.get(dtype, 8)
        peaks = []
        for size in (6 << 20, 48 << 20):
            tensor = StoredTensor("w", dtype, (size * 8 // bits // 512, 512), source, 0, size)
            peaks.append(peak(lambda tensor=tensor: statistics(tensor, layout)))  # type: ignore[misc]
    few_outputs = layout is None or layout.output_axes == (1,)
    grown = 0 if few_outputs else (48 << 20) * 8 // bits // 512 * 8 * 8  # figures of the outputs themselves
    assert peaks[1] <= peaks[0] + (1 << 20) + grown
    assert peaks[1] <= (12 << 20) + grown


def test_time_of_statistics_is_that_of_the_bytes(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", "float32", 68)
    with open_model(tmp_path / "model.onnx") as model:
        tensors = [tensor for tensor in model.initializers() if tensor.count > 1 << 20]
        one, all_ = seconds(lambda: statistics(tensors[0])), seconds(lambda: [statistics(item) for item in tensors])
    assert len(tensors) >= 4
    assert all_ <= 2.5 * len(tensors) * one


def test_a_model_opens_without_its_weights(tmp_path: Path) -> None:
    """Memory and bytes read do not grow with the weights."""
    figures = []
    for megabytes in (8, 64):
        path = tmp_path / f"{megabytes}.onnx"
        write_model(path, "float32", megabytes)
        figures.append(peak(lambda path=path: open_and_close(path)))  # type: ignore[misc]
    assert figures[1] <= figures[0] + (1 << 20)


def test_each_byte_of_a_weight_is_read_about_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all statistics, once for what is told from up to four million values, a little to look for fixed bases."""
    path = tmp_path / "model.onnx"
    write_model(path, "float32", 68)
    count = 0
    read = FileSource.read_into

    def counted(self: FileSource, offset: int, buffer: memoryview) -> None:
        nonlocal count
        count += len(buffer.cast("B"))
        read(self, offset, buffer)

    monkeypatch.setattr(FileSource, "read_into", counted)
    with open_model(path) as model:
        index = index_of(model)
        layers = find_layers(model, index)
        opened = count
        examine_layers(layers, index)
    size = path.stat().st_size
    assert opened <= 0.2 * size
    assert count - opened <= 2.01 * size


def test_ten_times_the_nodes_take_ten_times_the_time_and_memory(tmp_path: Path) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    write_graph(small, 200)
    write_graph(large, 2000)
    analyse(small, CONFIG)  # whatever is imported or compiled once
    assert seconds(lambda: analyse(large, CONFIG), 1) <= 14 * seconds(lambda: analyse(small, CONFIG))
    assert peak(lambda: open_and_close(large)) <= 12 * peak(lambda: open_and_close(small))

"""The layers behind a broken signal, each with what its weights are, what they should be, and the line that sets it right."""

from collections.abc import Sequence

import numpy as np

from initlint.elements import FLOATS
from initlint.index import Index
from initlint.initializers.recipes import bias_recipe
from initlint.layerfacts import Examined, layer_row
from initlint.report import Blamed
from initlint.signal.blame import Share, blame
from initlint.signal.propagate import Propagation
from initlint.tensorfacts import BOUNDED

__all__ = ["culprits"]

MOST_BLAMED = 20
RIGHT = 4.0  # a variance within this factor of its target is not what broke the signal (IL101, IL102)
FAR = 5.0  # a bias beyond so many stds of what its weights reach has taken over


def culprits(
    tensor: str, examined: Sequence[Examined], index: Index, propagation: Propagation, *, grows: bool
) -> tuple[Blamed, ...]:
    """The layers behind a broken signal at a tensor, by their share of the log gain."""
    signals = propagation.signals
    made = index.producer.get(tensor)
    if grows and made is not None and made.op in BOUNDED:  # what grew is hidden behind the asymptote
        tensor = made.inputs[0]
    if tensor not in signals:
        return ()
    # The node's own output, before a bias that the graph adds in a node behind it: the signal may break there already.
    by_output = {output: item for item in examined for output in item.layer.node.outputs if output}
    outputs = [(item.layer.name, output) for output, item in by_output.items()]
    shares = blame(tensor, outputs, index.producer, signals, grows=grows)
    return tuple(_blamed(by_output[share.output], share, index) for share in shares[:MOST_BLAMED])


def _blamed(item: Examined, share: Share, index: Index) -> Blamed:
    row = layer_row(item, absorbed=False, depth=0, untrained=None)
    recipe = (row.get("pytorch_init"), row.get("keras_init"))
    if _bias_took_over(item, row.get("variance_ratio"), index):
        recipe = bias_recipe(item.layer.bias or "")
    known = row.get("initializer") not in (None, "unknown")
    return Blamed(
        layer=share.layer,
        share=share.share,
        log2_gain=share.log2_gain,
        std=row.get("weight_std"),
        target_std=row.get("target_std"),
        fan_in=row.get("fan_in"),
        target_rule=row.get("target_rule"),
        looks_like=row.get("initializer_phrase") if known else None,
        pytorch=recipe[0],
        keras=recipe[1],
    )


def _bias_took_over(item: Examined, ratio: float | None, index: Index) -> bool:
    """Whether the weights are as they should be and the bias is out of all proportion to them."""
    bias = index.stored.get(item.layer.bias) if item.layer.bias is not None else None
    if bias is None or bias.dtype not in FLOATS or not 0 < bias.count <= 1 << 20 or item.found is None:
        return False
    if ratio is None or not 1 / RIGHT <= ratio <= RIGHT:
        return False
    reach = (item.found.variance * (item.layer.fan_in or 1.0)) ** 0.5 * abs(item.layer.scale)
    return bool(np.median(np.abs(bias.read().astype(np.float64))) > FAR * reach)

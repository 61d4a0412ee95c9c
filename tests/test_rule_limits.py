"""Every built-in rule at its limits: the row that just fails, and what one change makes of it.

The tables say in rows what `docs/rules.md` says in SQL: at the limit a rule holds its peace, just beyond it speaks, and each
reason not to speak is reason enough. What explains what, what is told once and what is exit code 2 are tables, too.
"""

from typing import Any

import pytest

from initlint.facts import build
from initlint.rulecheck import load
from initlint.rulefile import Example, built_in
from initlint.rules import Judgement, Settings, judge, run_example

RULES = {rule.code: rule for rule in load([built_in()])}

Row = dict[str, Any]
Limits = tuple[
    Row, str, list[tuple[Row, str]]
]  # a row, what comes of it, and what comes of it with some columns changed


def reasons(row: str, **more: Any) -> list[tuple[Row, str]]:
    """Flags each of which alone puts a row out of scope, and unset leaves it in."""
    return [({name: 1}, "n/a") for name in row.split()] + [({name: value}, "n/a") for name, value in more.items()]


FRESH = {
    "target_variance": 0.01, "fixed": 0, "zero": 0, "table_lookup": 0, "finite": 1, "phase": "init", "absorbed": 0, "residual": 0,
}  # fmt: skip
OUT = reasons("fixed zero table_lookup", finite=0, target_variance=None)
UNSET = {"fixed": None, "zero": None, "table_lookup": None, "finite": None}
SOFTER: list[tuple[Row, str]] = [
    ({"phase": "trained"}, "note"), ({"absorbed": 1}, "note"), ({"residual": 1}, "note"),
    ({"absorbed": None, "residual": None, "phase": "init"}, "warning"), ({"phase": None}, "note"),
]  # fmt: skip
SIGNAL = {"absorbed": 0, "mask": 0, "aside": 0, "carrier": 1, "elements": 4.0, "phase": "init"}
ASIDE = reasons("mask aside", elements=3.9)
BESIDE = [*ASIDE, *reasons("absorbed", carrier=0)]
UNSAID = {"absorbed": None, "mask": None, "aside": None, "carrier": None}
FORMAT = {"dtype": "float32", "mask": 0, "elements": 4.0, "signal_std": 1.0, "reference_std": 1.0, "bounded": 0}
OUTPUTS = {"outputs": 8.0, "zero": 0, "constant": 0, "table_lookup": 0, "fixed": 0, "finite": 1, "fan_in": 8.0}

LIMITS: dict[str, Limits] = {
    "IL001": ({"tensors": 10.0, "weight_slots": 2.0, "coverage": 0.89, "unread_slots": 0.0}, "error", [
        ({"coverage": 0.9}, "pass"), ({"coverage": 1.0, "unread_slots": 1.0}, "error"), ({"coverage": None}, "unknown"),
        ({"tensors": 0.0, "weight_slots": 0.0}, "n/a"), ({"tensors": 1.0, "weight_slots": 0.0}, "error"),
        ({"tensors": 0.0, "weight_slots": 1.0, "coverage": None, "unread_slots": 1.0}, "error"),
    ]),
    "IL002": ({"tensors": 10.0, "known_tensors": 9.0}, "note", [
        ({"known_tensors": 10.0}, "pass"), ({"tensors": 0.0}, "n/a"), ({"tensors": 1.0, "known_tensors": 0.0}, "note"),
        ({"known_tensors": None}, "unknown"),
    ]),
    "IL003": ({"measured_std": 8.01, "std": 1.0, "mask": 0}, "note", [
        ({"measured_std": 8.0}, "pass"), ({"std": 64.2}, "note"), ({"std": 64.0}, "pass"), ({"mask": 1}, "n/a"),
        ({"mask": None}, "note"), ({"measured_std": None}, "n/a"), ({"std": None}, "unknown"),
    ]),
    "IL101": ({**FRESH, "count": 64.0, "variance_ratio": 4.01}, "warning", [
        ({"variance_ratio": 4.0}, "pass"), ({"count": 63.0}, "n/a"), ({"variance_ratio": None}, "unknown"), *OUT,
        (UNSET, "warning"), *SOFTER,
    ]),
    "IL102": ({**FRESH, "count": 64.0, "variance_ratio": 0.249}, "warning", [
        ({"variance_ratio": 0.25}, "pass"), ({"count": 63.0}, "n/a"), ({"variance_ratio": None}, "unknown"), *OUT,
        (UNSET, "warning"), *SOFTER,
    ]),
    "IL103": (
        {**FRESH, "count": 256.0, "variance_ratio": 32.1, "median_ratio": 2.0, "absmax_weight": 23.9, "weight_std": 2.0},
        "warning",
        [
            ({"variance_ratio": 32.0}, "pass"), ({"absmax_weight": 24.0}, "pass"), ({"count": 255.0}, "n/a"),
            ({"median_ratio": None}, "n/a"), ({"absorbed": 1}, "n/a"), ({"absorbed": None}, "warning"), *OUT, (UNSET, "warning"),
            ({"phase": "trained"}, "note"), ({"absmax_weight": None}, "unknown"),
        ],
    ),
    "IL104": (
        {
            **FRESH, "count": 256.0, "initializer": "pytorch_linear", "origin": "initializer", "activation": "relu",
            "variance_ratio": 2**0.81,
        }, "note",
        [
            ({"variance_ratio": 2**0.79}, "pass"), ({"variance_ratio": 2**-0.81}, "note"), ({"variance_ratio": 2**-0.79}, "pass"),
            ({"activation": "linear"}, "pass"), ({"activation": "linear", "variance_ratio": 2**1.51}, "note"),
            ({"activation": "linear", "variance_ratio": 2**1.49}, "pass"), ({"activation": "softmax"}, "n/a"), ({"activation": "linear", "variance_ratio": 2**1.5}, "pass"),
            ({"activation": "unknown"}, "n/a"), ({"initializer": None}, "n/a"), ({"initializer": "unknown"}, "n/a"),
            ({"origin": "trained"}, "n/a"), ({"absorbed": 1}, "n/a"), ({"absorbed": None}, "note"), ({"count": 255.0}, "n/a"),
            *OUT, (UNSET, "note"), ({"variance_ratio": None}, "unknown"), ({"variance_ratio": 1.0}, "pass"),
        ],
    ),
    "IL105": ({**OUTPUTS, "outputs": 2.0, "fan_in": 2.0, "duplicated_outputs": 1.0}, "error", [
        ({"duplicated_outputs": 0.9}, "pass"), ({"outputs": 3.0}, "pass"), ({"outputs": 1.0, "duplicated_outputs": 0.0}, "n/a"),
        ({"fan_in": 1.0}, "n/a"), *reasons("fixed constant table_lookup", finite=0),
        ({"fixed": None, "constant": None, "table_lookup": None, "finite": None}, "error"), ({"fan_in": None}, "unknown"),
        ({"duplicated_outputs": None}, "unknown"),
    ]),
    "IL201": ({**SIGNAL, "signal_std": 1025.0, "reference_std": 4.0}, "error", [
        ({"signal_std": 1024.0}, "pass"), *ASIDE, *reasons("absorbed"), ({"carrier": 0}, "error"), (UNSAID, "error"), ({"reference_std": None}, "unknown"),
        ({"phase": "trained"}, "pass"), ({"phase": "trained", "signal_std": 65536.0 * 4}, "pass"),
        ({"phase": "trained", "signal_std": 65537.0 * 4}, "error"),
    ]),
    "IL202": (
        {**SIGNAL, "signal_std": 0.0039, "reference_std": 1.0, "std": 0.1, "epsilon": 1e-7, "mean": 0.0, "bounded": 0}, "error",
        [
            ({"signal_std": 1 / 256}, "pass"), *BESIDE, (UNSAID, "error"), ({"bounded": 1}, "n/a"), ({"bounded": 1, "output": 1}, "n/a"),
            ({"bounded": 1, "output": 1, "signal_std": 0.0}, "error"), ({"bounded": 1, "output": 0, "signal_std": 0.0}, "n/a"),
            ({"absorbed": 1, "mean": 1e6}, "error"), ({"absorbed": 1, "mean": -1e6}, "error"),
            ({"absorbed": 1, "signal_std": 0.5, "mean": 2.0**20, "epsilon": 2.0**-21}, "n/a"), ({"bounded": None}, "error"),
            ({"reference_std": 0.0}, "n/a"), ({"nan_fraction": 0.0}, "error"), ({"nan_fraction": 0.01}, "n/a"),
            ({"nan_fraction": 1.0}, "n/a"), ({"elements": 3.0, "mean": 1e6}, "error"), ({"elements": 3.0, "mean": -1e6}, "error"),
            ({"elements": 3.0, "signal_std": 0.5, "mean": 2.0**20, "epsilon": 2.0**-21}, "n/a"), ({"reference_std": 0.5}, "pass"), ({"reference_std": None}, "unknown"),
            ({"signal_std": 0.5, "std": 513.0}, "error"), ({"signal_std": 0.5, "std": 512.0}, "pass"),
            ({"signal_std": 0.5, "mean": -5.1e6}, "error"), ({"signal_std": 0.5, "mean": 4.9e6}, "pass"),
            ({"signal_std": 0.5, "mean": 5.1e6}, "error"), ({"signal_std": 0.5, "mean": 2.0**20, "epsilon": 2.0**-21}, "pass"),
            ({"phase": "trained"}, "pass"), ({"phase": "trained", "signal_std": 1e-12, "std": 1e-12}, "pass"),
            ({"phase": "trained", "signal_std": 0.99e-12, "std": 1e-12}, "error"),
            ({"phase": "trained", "signal_std": 1e-6, "std": 1.0}, "pass"),
            ({"phase": "trained", "signal_std": 0.99e-6, "std": 1.0}, "error"),
        ],
    ),
    "IL203": ({"phase": "init", "growth_layers": 8.0, "growth_factor": 1.21}, "warning", [
        ({"growth_layers": 7.0}, "pass"), ({"growth_factor": 1.2}, "pass"), ({"growth_factor": 1 / 1.21}, "warning"),
        ({"growth_factor": 1 / 1.2}, "pass"), ({"growth_factor": 1.0}, "pass"), ({"phase": "trained"}, "n/a"),
    ]),
    "IL204": ({"phase": "init", "table_lookup": 0, "backward_gain": 70.1}, "warning", [
        ({"backward_gain": 70.0}, "pass"), ({"phase": "trained"}, "n/a"), ({"table_lookup": 1}, "n/a"),
        ({"table_lookup": None}, "warning"), ({"backward_gain": None}, "unknown"),
    ]),
    "IL205": ({"phase": "init", "table_lookup": 0, "backward_gain": 0.00099}, "warning", [
        ({"backward_gain": 0.001}, "pass"), ({"phase": "trained"}, "n/a"), ({"table_lookup": 1}, "n/a"),
        ({"table_lookup": None}, "warning"),
    ]),
    "IL206": ({"saturated_fraction": 0.51, "mask": 0, "elements": 4.0, "output": 0, "phase": "init"}, "error", [
        ({"saturated_fraction": 0.5}, "pass"), ({"mask": 1}, "n/a"), ({"mask": None}, "error"), ({"elements": 3.0}, "n/a"),
        ({"saturated_fraction": None}, "n/a"), ({"output": 1}, "note"), ({"phase": "trained"}, "note"), ({"phase": None}, "warning"),
    ]),
    "IL207": ({"dead_fraction": 0.51, "phase": "init"}, "error", [
        ({"dead_fraction": 0.5}, "pass"), ({"dead_fraction": None}, "n/a"), ({"phase": "trained"}, "note"),
        ({"phase": "trained", "dead_fraction": 0.79}, "note"), ({"phase": "trained", "dead_fraction": 0.8}, "warning"),
        ({"phase": None}, "warning"),
    ]),
    "IL208": (
        {"inner_softmax": 1, "onehot_fraction": 0.96, "uniform_fraction": 0.0, "signal_std": 1.0, "phase": "init"}, "warning",
        [
            ({"onehot_fraction": 0.95}, "pass"), ({"inner_softmax": 0}, "n/a"), ({"phase": "trained"}, "note"),
            ({"onehot_fraction": 0.0, "uniform_fraction": 0.96, "signal_std": 0.9e-7}, "warning"),
            ({"onehot_fraction": 0.0, "uniform_fraction": 0.95, "signal_std": 0.9e-7}, "pass"),
            ({"onehot_fraction": 0.0, "uniform_fraction": 0.96, "signal_std": 1e-7}, "pass"),
            ({"onehot_fraction": 0.0, "uniform_fraction": 0.96, "signal_std": 1.0}, "pass"), ({"inner_softmax": None}, "unknown"),
        ],
    ),
    "IL301": ({"mask": 0, "nans": 0.0, "infs": 1.0}, "error", [
        ({"infs": 0.0}, "pass"), ({"infs": 0.0, "nans": 1.0}, "error"), ({"mask": 1}, "n/a"), ({"mask": 1, "nans": 1.0}, "error"),
        ({"mask": None}, "error"), ({"mask": 1, "nans": 1.0, "infs": 0.0}, "error"),
    ]),
    "IL302": ({"fixed": 0, "count": 2.0, "zero": 1, "residual": 0, "signal_ends": 1}, "error", [
        ({"zero": 0}, "pass"), ({"count": 1.0}, "n/a"), ({"fixed": 1}, "n/a"), ({"fixed": None}, "error"), ({"residual": 1}, "note"),
        ({"signal_ends": 0}, "note"), ({"signal_ends": None}, "note"), ({"residual": None}, "error"),
    ]),
    "IL303": (
        {"fixed": 0, "zero": 0, "count": 16.0, "fan_in": 2.0, "outputs": 2.0, "constant": 1, "groups": 1.0}, "error",
        [
            ({"constant": 0}, "pass"), ({"fixed": 1}, "n/a"), ({"zero": 1}, "n/a"), ({"fixed": None, "zero": None}, "error"),
            ({"count": 15.0}, "n/a"), ({"fan_in": 1.0}, "n/a"), ({"outputs": 1.0}, "n/a"),
            ({"fan_in": None, "outputs": 1.0, "groups": 2.0}, "error"), ({"groups": 2.0}, "note"), ({"groups": None}, "error"),
            ({"groups": 4.0}, "error"),
        ],
    ),
    "IL304": ({**OUTPUTS, "dead_outputs": 0.011, "phase": "init"}, "warning", [
        ({"dead_outputs": 0.01}, "pass"), ({"outputs": 7.0}, "n/a"), *reasons("zero table_lookup fixed"),
        ({"zero": None, "table_lookup": None, "fixed": None}, "warning"), ({"dead_outputs": 0.11}, "error"),
        ({"dead_outputs": 0.1}, "warning"), ({"dead_outputs": 0.11, "phase": "trained"}, "warning"),
        ({"dead_outputs": 0.1, "phase": "trained"}, "note"), ({"dead_outputs": None}, "unknown"),
    ]),
    "IL305": ({"dtype": "float32", "subnormals": 1.0}, "note", [
        ({"subnormals": 0.0}, "pass"), ({"dtype": "float8e4m3fn"}, "n/a"), ({"dtype": "float16"}, "note"), ({"dtype": "float64"}, "note"),
    ]),
    "IL306": ({"phase": "trained", "untrained": 1}, "warning", [
        ({"untrained": 0}, "pass"), ({"untrained": None}, "n/a"), ({"phase": "init"}, "n/a"),
    ]),
    "IL307": ({"op": "BatchNormalization", "norm_degenerate": "gamma is 0"}, "error", [
        ({"norm_degenerate": None}, "pass"), ({"op": "Conv"}, "n/a"), ({"op": "GroupNormalization"}, "error"),
        ({"op": "LayerNormalization"}, "error"), ({"op": "InstanceNormalization"}, "error"),
    ]),
    "IL308": ({**OUTPUTS, "outputs": 2.0, "duplicated_outputs": 1.0}, "note", [
        ({"duplicated_outputs": 0.0}, "pass"), ({"outputs": 1.0}, "n/a"), ({"fan_in": 7.0}, "n/a"),
        *reasons("zero constant table_lookup fixed"),
        ({"zero": None, "constant": None, "table_lookup": None, "fixed": None}, "note"), ({"duplicated_outputs": 0.5}, "note"),
    ]),
    "IL309": (
        {"op": "BatchNormalization", "statistics_fresh": 0, "statistics_scale": 6.1, "statistics_shift": 0.0}, "note",
        [
            ({"statistics_scale": 6.0}, "pass"), ({"statistics_scale": -6.1}, "note"), ({"statistics_scale": -6.0}, "pass"),
            ({"statistics_scale": 0.0, "statistics_shift": 1001.0}, "note"),
            ({"statistics_scale": 0.0, "statistics_shift": 1000.0}, "pass"), ({"statistics_fresh": 1}, "n/a"),
            ({"statistics_fresh": None}, "note"), ({"op": "LayerNormalization"}, "n/a"),
        ],
    ),
    "IL310": ({"op": "BatchNormalization", "statistics_fresh": 1, "phase": "trained"}, "warning", [
        ({"statistics_fresh": 0}, "pass"), ({"phase": "init"}, "note"), ({"op": "LayerNormalization"}, "n/a"),
        ({"statistics_fresh": None}, "unknown"),
    ]),
    "IL401": (
        {"dtype": "float16", "mask": 0, "absmax": 32753.0, "largest": 65504.0, "measured_absmax": None, "inf_fraction": 0.0},
        "error",
        [
            ({"absmax": 32752.0}, "pass"), ({"absmax": 1.0, "measured_absmax": 32753.0}, "error"),
            ({"absmax": 1.0, "measured_absmax": 32752.0}, "pass"), ({"absmax": 1.0, "inf_fraction": 0.01}, "error"),
            ({"mask": 1}, "n/a"), ({"mask": None}, "error"), ({"dtype": "int8"}, "n/a"),
            ({"dtype": "bfloat16"}, "error"), ({"dtype": "float64"}, "error"), ({"absmax": None}, "unknown"),
        ],
    ),
    "IL402": (
        {**FORMAT, "dtype": "float16", "signal_std": 6.0e-5, "smallest_normal": 2.0**-14, "measured_signal_std": None}, "error",
        [
            ({"signal_std": 2.0**-14}, "pass"), ({"signal_std": 0.0}, "pass"),
            ({"signal_std": 1.0, "measured_signal_std": 6.0e-5}, "error"),
            ({"signal_std": 1.0, "measured_signal_std": 2.0**-14}, "pass"),
            ({"signal_std": 1.0, "measured_signal_std": 0.0}, "pass"), ({"signal_std": 0.0, "measured_signal_std": 6.0e-5}, "error"),
            ({"mask": 1}, "n/a"), ({"bounded": 1}, "n/a"), ({"mask": None, "bounded": None}, "error"), ({"elements": 3.0}, "n/a"),
            ({"signal_std": None}, "n/a"), ({"reference_std": 0.0}, "n/a"), ({"reference_std": 0.5}, "error"),
            ({"dtype": "int8"}, "n/a"), ({"dtype": "float32"}, "error"), ({"smallest_normal": None}, "unknown"),
        ],
    ),
    "IL403": (
        {"dtype": "float32", "mask": 0, "target_largest": 65504.0, "largest": 3.4e38, "absmax": 32753.0, "target_asked": 1},
        "error",
        [
            ({"absmax": 32752.0}, "pass"), ({"target_asked": 0}, "note"), ({"largest": 65504.0}, "n/a"), ({"mask": 1}, "n/a"),
            ({"mask": None}, "error"), ({"dtype": "float16"}, "n/a"), ({"absmax": None}, "unknown"), ({"target_asked": None}, "note"),
        ],
    ),
    "IL404": ({**FORMAT, "signal_std": 0.9e-7, "target_smallest": 1e-7, "target_asked": 1}, "error", [
        ({"signal_std": 1e-7}, "pass"), ({"signal_std": 0.0}, "n/a"), ({"target_asked": 0}, "note"), ({"mask": 1}, "n/a"),
        ({"bounded": 1}, "n/a"), ({"mask": None, "bounded": None}, "error"), ({"elements": 3.0}, "n/a"),
        ({"reference_std": 0.0}, "n/a"), ({"reference_std": 0.5}, "error"), ({"dtype": "float16"}, "n/a"),
        ({"signal_std": 1.0}, "pass"),
    ]),
    "IL405": ({"dtype": "float16", "mask": 0, "absmax": 513.0}, "note", [
        ({"absmax": 512.0}, "pass"), ({"mask": 1}, "n/a"), ({"mask": None}, "note"), ({"dtype": "float32"}, "n/a"),
    ]),
    "IL406": ({"dtype": "float32", "mask": 0, "target_overflow": 0.0, "target_flush": 0.011, "target_asked": 1}, "warning", [
        ({"target_flush": 0.01}, "pass"), ({"target_flush": 0.0, "target_overflow": 0.001}, "warning"), ({"mask": 1}, "n/a"),
        ({"mask": None}, "warning"), ({"dtype": "float16"}, "n/a"), ({"target_asked": 0}, "note"), ({"dtype": "float64"}, "warning"),
        ({"target_flush": 0.0, "target_overflow": 2.0}, "warning"),
    ]),
    "IL501": ({"mask": 0, "measured_nans": 1.0, "measured_infs": 0.0}, "error", [
        ({"measured_nans": 0.0}, "pass"), ({"measured_nans": 0.0, "measured_infs": 1.0}, "error"), ({"mask": 1}, "n/a"),
        ({"mask": None}, "error"), ({"measured_nans": None}, "n/a"),
    ]),
    "IL502": ({**SIGNAL, "measured_std": 1.0, "measured_signal_std": 1025.0, "measured_reference_std": 4.0}, "error", [
        ({"measured_signal_std": 1024.0}, "pass"), *BESIDE, (UNSAID, "error"), ({"measured_std": None}, "n/a"),
        ({"phase": "trained"}, "pass"), ({"phase": "trained", "measured_signal_std": 65536.0 * 4}, "pass"),
        ({"phase": "trained", "measured_signal_std": 65537.0 * 4}, "error"), ({"measured_reference_std": None}, "unknown"),
    ]),
    "IL503": (
        {**SIGNAL, "measured_std": 0.1, "measured_signal_std": 0.0039, "measured_reference_std": 1.0, "bounded": 0}, "error",
        [
            ({"measured_signal_std": 1 / 256}, "pass"), *BESIDE, (UNSAID, "error"), ({"bounded": 1}, "n/a"),
            ({"bounded": None}, "error"), ({"measured_std": None}, "n/a"), ({"measured_reference_std": 0.0}, "n/a"),
            ({"measured_reference_std": 0.5}, "pass"), ({"measured_signal_std": 0.5, "measured_std": 513.0}, "error"),
            ({"measured_signal_std": 0.5, "measured_std": 512.0}, "pass"), ({"phase": "trained"}, "pass"),
            ({"phase": "trained", "measured_signal_std": 1e-12, "measured_std": 1e-12}, "pass"),
            ({"phase": "trained", "measured_signal_std": 0.99e-12, "measured_std": 1e-12}, "error"),
            ({"phase": "trained", "measured_signal_std": 2e-7, "measured_std": 1.0}, "pass"),
            ({"phase": "trained", "measured_signal_std": 1.99e-7, "measured_std": 1.0}, "error"),
            ({"measured_reference_std": None}, "unknown"),
        ],
    ),
    "IL504": ({"measured_dead_fraction": 0.51, "phase": "init"}, "warning", [
        ({"measured_dead_fraction": 0.5}, "pass"), ({"measured_dead_fraction": None}, "n/a"), ({"phase": "trained"}, "note"),
        ({"phase": "trained", "measured_dead_fraction": 0.79}, "note"),
        ({"phase": "trained", "measured_dead_fraction": 0.8}, "warning"),
    ]),
    "IL505": ({"measured_saturated_fraction": 0.51, "output": 0, "phase": "init"}, "warning", [
        ({"measured_saturated_fraction": 0.5}, "pass"), ({"measured_saturated_fraction": None}, "n/a"), ({"output": 1}, "note"),
        ({"phase": "trained"}, "note"),
    ]),
    "IL506": ({"probed": 1, "device_missed": 1}, "error", [({"device_missed": 0}, "pass"), ({"probed": 0}, "n/a")]),
    "IL507": ({"probed": 1, "repeatable": 0}, "warning", [({"repeatable": 1}, "pass"), ({"probed": 0}, "n/a")]),
    "IL508": ({"phase": "init", "measured_backward_gain": 70.1, "table_lookup": 0}, "warning", [
        ({"measured_backward_gain": 70.0}, "pass"), ({"measured_backward_gain": 0.00099}, "warning"),
        ({"measured_backward_gain": 0.001}, "pass"), ({"measured_backward_gain": None}, "n/a"), ({"table_lookup": 1}, "n/a"),
        ({"table_lookup": None}, "warning"), ({"phase": "trained"}, "n/a"),
    ]),
    "IL901": ({"expired": 0, "used": 0}, "note", [({"used": 1}, "pass"), ({"expired": 1}, "n/a")]),
    "IL902": ({"expired": 1}, "warning", [({"expired": 0}, "pass"), ({"expired": None}, "unknown")]),
}  # fmt: skip
CASES = [(code, {}, outcome) for code, (_, outcome, _) in LIMITS.items()] + [
    (code, change, outcome) for code, (_, _, changes) in LIMITS.items() for change, outcome in changes
]
# Rules of which only the first place on the way from the input is told.
FIRST = {
    "IL003", "IL201", "IL202", "IL204", "IL205", "IL206", "IL207", "IL208", "IL401", "IL402", "IL403", "IL404", "IL405", "IL501",
    "IL502", "IL503", "IL504", "IL505", "IL508",
}  # fmt: skip
# What a finding explains of those at or behind its place: they are folded under it.
EXPLAINS = {
    "IL001": "IL002", "IL103": "IL101", "IL105": "IL304 IL308 IL103 IL101 IL102 IL104 IL202 IL203 IL207",
    "IL201": "IL101 IL103 IL104 IL203 IL204 IL205 IL206 IL208 IL202 IL207 IL403 IL405 IL502 IL505 IL508",
    "IL202": "IL102 IL101 IL103 IL104 IL203 IL204 IL205 IL207 IL208 IL206 IL404 IL503 IL504 IL505 IL508",
    "IL203": "IL101 IL102", "IL204": "IL101 IL102 IL508", "IL205": "IL101 IL102 IL508",
    "IL206": "IL101 IL103 IL104 IL204 IL205 IL505", "IL207": "IL504", "IL208": "IL101 IL103 IL104",
    "IL301": "IL101 IL102 IL103 IL104 IL201 IL202 IL203 IL206 IL207 IL401 IL403 IL406 IL501 IL204 IL205 IL309 IL310",
    "IL302": "IL303 IL304 IL102 IL105 IL308 IL202 IL203 IL207 IL204 IL205 IL503 IL504",
    "IL303": "IL304 IL105 IL101 IL102 IL308 IL202 IL203 IL207 IL104 IL103", "IL304": "IL308 IL102 IL207",
    "IL307": "IL201 IL202 IL301 IL401 IL501 IL309 IL207 IL203", "IL401": "IL405 IL403 IL101 IL103 IL201 IL402 IL502 IL501 IL202",
    "IL402": "IL404 IL101 IL102 IL103 IL202 IL503", "IL501": "IL502 IL503 IL504 IL505 IL508", "IL502": "IL503 IL504 IL505 IL508",
    "IL503": "IL504 IL505 IL508",
}  # fmt: skip


def test_every_rule_has_its_limits() -> None:
    """A rule that is added has its table; what it is about is where the table says."""
    assert set(LIMITS) == set(RULES)
    assert {code for code, rule in RULES.items() if rule.report == "first"} == FIRST


@pytest.mark.parametrize(("code", "change", "outcome"), CASES, ids=[f"{code} {change}" for code, change, _ in CASES])
def test_limits(code: str, change: Row, outcome: str) -> None:
    """The verdict and, of what fails, the severity."""
    row = {name: value for name, value in {**LIMITS[code][0], **change}.items() if value is not None}
    verdict, severity = run_example(RULES[code], Example("fail", row))
    assert (severity if verdict == "fail" else verdict) == outcome


PLACES = {"model": (), "waiver": (), "weight": ("name", "node")}  # columns of a place, where a table has not all


def judged(*codes: str, times: int = 1, **settings: Any) -> Judgement:
    """These rules on one model in which each of them fails, `times` times, at one node."""
    tables: dict[str, list[Row]] = {}
    model: Row = {"phase": "init", "name": "m"}
    for code in codes:
        over, row = RULES[code].over, LIMITS[code][0]
        model["phase"] = row.get("phase", model["phase"])
        if over == "model":
            model |= row
            continue
        place = {"name": code, "node": "n", "position": 1, "depth": 1.0}
        kept = {name: place[name] for name in PLACES.get(over, tuple(place))}
        tables.setdefault(over, []).extend([{**kept, **row}] * times)
    return judge([RULES[code] for code in codes], build({**tables, "model": [model]}), Settings(**settings), "m")


@pytest.mark.parametrize("code", [code for code, rule in RULES.items() if rule.over != "model"])
def test_the_first_or_all(code: str) -> None:
    """A signal that is broken is broken behind the place, too: told once; layers and weights are told each."""
    found = judged(code, times=3)
    assert len(found.findings) == (1 if code in FIRST else 3)
    assert found.rules[0].failed == 3


@pytest.mark.parametrize("code", RULES)
def test_the_answer_that_is_none(code: str) -> None:
    """Two rules mean that the answer cannot be trusted: exit code 2."""
    assert {finding.exit for finding in judged(code).findings} == {2 if code in {"IL001", "IL506"} else None}


@pytest.mark.parametrize("cause", RULES)
def test_what_explains_what(cause: str) -> None:
    """A finding at the place of its cause is folded under it; one that the cause does not explain is not."""
    explained = set(EXPLAINS.get(cause, "").split())
    assert explained <= set(RULES)
    for other in RULES:
        phases = {LIMITS[code][0].get("phase") for code in (cause, other)} - {None}
        if other == cause or cause in EXPLAINS.get(other, "").split():
            continue
        if len(phases) == 2:  # no one model has both rows as they stand in the table
            assert (other in RULES[cause].supersedes) is (other in explained)
            continue
        severe = {code: {"severity": "error"} for code in (cause, other)}
        found = judged(cause, other, overrides=severe).findings
        folded = {item.folded_under is not None for item in found if item.code == other}
        assert folded == {other in explained}, other

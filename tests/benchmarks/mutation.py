"""Mutation testing: a test must fail when one decision in the code is turned over.

    python tests/benchmarks/mutation.py                      every target below
    python tests/benchmarks/mutation.py exit-codes reader    those named
    python tests/benchmarks/mutation.py reader --most 60     a seeded sample of each

A mutant changes one comparison, one arithmetic or boolean operator, one constant, one condition, one return. Each runs its
target's tests in a child forked from a process that has imported numpy, onnx and pytest already; survivors are printed
with their line, for a person to explain or to kill with a test.
"""

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import io
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 60  # a mutant that takes longer has been noticed: a loop without an end


@dataclass(frozen=True)
class Target:
    """A module, the functions in question (none named: all), and the tests that answer for it."""

    module: str
    tests: tuple[str, ...]
    functions: frozenset[str] = frozenset()


TARGETS = {
    "exit-codes": Target("initlint.report", ("tests/test_exit_code.py",), frozenset({"exit_code", "counts"})),
    "reader": Target("initlint.wire", ("tests/test_wire.py", "tests/fuzz/test_fuzz.py")),
    "model": Target("initlint.model", ("tests/test_model.py", "tests/hostile/test_reader.py")),
    "tensors": Target("initlint.tensors", ("tests/hostile/test_reader.py", "tests/test_model.py")),
    "contradictions": Target("initlint.contradictions", ("tests/hostile/test_reader.py",)),
    "functions": Target("initlint.functions", ("tests/hostile/test_reader.py", "tests/test_model.py")),
    "weights": Target("initlint.weights", ("tests/test_weights.py",)),
    "waivers": Target("initlint.waivers", ("tests/test_waivers.py",)),
}

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may become of one node, with words for it."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        other = copy.deepcopy(node)
        other.ops[0] = COMPARISONS[type(node.ops[0])]()
        yield "comparison", other
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not isinstance(node.left, ast.Constant):
        other_binary = copy.deepcopy(node)
        other_binary.op = ARITHMETIC[type(node.op)]()
        yield "operator", other_binary
    elif isinstance(node, ast.BoolOp):
        other_bool = copy.deepcopy(node)
        other_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and/or", other_bool
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", copy.deepcopy(node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value < 1 << 20:
        yield "constant", ast.Constant(node.value + 1)
    elif isinstance(node, ast.If) and not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
        other_if = copy.deepcopy(node)
        other_if.test = ast.UnaryOp(ast.Not(), other_if.test)
        yield "condition", other_if
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield "return", ast.Return(ast.Constant(None))


def mutants(source: str, functions: frozenset[str]) -> Iterator[tuple[int, str, str]]:
    """(line, kind, source) of every mutant; annotations and words are left alone."""
    tree = ast.parse(source)
    places = [
        (parent, name, index, child)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and (not functions or function.name in functions)
        for parent in ast.walk(function)
        if not isinstance(parent, ast.JoinedStr | ast.FormattedValue | ast.arg)
        for name, value in ast.iter_fields(parent)
        if name not in {"annotation", "returns", "exc", "cause", "decorator_list"}
        for index, child in enumerate(value if isinstance(value, list) else [value])
        if isinstance(child, ast.AST)
    ]
    seen: set[int] = set()
    for parent, name, index, child in places:
        if id(child) in seen:
            continue
        seen.add(id(child))
        for kind, other in changes(child):
            value = getattr(parent, name)
            ast.copy_location(other, child)
            if isinstance(value, list):
                value[index] = other
            else:
                setattr(parent, name, other)
            yield getattr(child, "lineno", 0), kind, ast.unparse(ast.fix_missing_locations(tree))
            if isinstance(value, list):
                value[index] = child
            else:
                setattr(parent, name, child)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        return importlib.util.spec_from_loader(fullname, self, origin=self.path) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, self.path, "exec"), module.__dict__)  # noqa: S102 - our own code, one change in it


def survives(target: Target, path: Path, source: str) -> bool:
    """Whether the target's tests pass on this source, in a child of ours."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            os.setpgid(0, 0)
            sys.meta_path.insert(0, Finder(target.module, str(path), source))
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            import pytest  # noqa: PLC0415 - loaded by the parent

            with contextlib.redirect_stdout(io.StringIO()):
                code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *target.tests]) != 0)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return status == 0


def judge(name: str, most: int | None) -> tuple[int, int]:
    """Mutants of one target and how many were killed; prints the survivors."""
    target = TARGETS[name]
    path = ROOT / (target.module.replace(".", "/") + ".py")
    source = path.read_text()
    if not survives(target, path, source):
        print(f"{name}: its tests fail without any mutation")
        return 0, 0
    found = list(mutants(source, target.functions))
    if most is not None and len(found) > most:
        found = sorted(random.Random(0).sample(found, most))
    start = time.monotonic()
    alive = [(line, kind) for line, kind, mutant in found if survives(target, path, mutant)]
    lines = source.splitlines()
    for line, kind in alive:
        print(f"  {path.name}:{line}: {kind}: {lines[line - 1].strip()[:110]}")
    killed = len(found) - len(alive)
    share = killed / len(found) if found else 1.0
    print(f"{name}: {killed} of {len(found)} killed ({share:.1%}), {time.monotonic() - start:.0f} s", flush=True)
    return len(found), killed


def main() -> int:
    """Judge the targets named and give the share in all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS])
    parser.add_argument("--most", type=int)
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import numpy  # noqa: F401, PLC0415 - loaded once, before the children
    import onnx  # noqa: F401, PLC0415
    import pytest  # noqa: F401, PLC0415

    totals = [judge(name, options.most) for name in options.targets or TARGETS]
    mutants_in_all, killed = (sum(column) for column in zip(*totals, strict=True))
    print(f"in all: {killed} of {mutants_in_all} killed ({killed / max(mutants_in_all, 1):.1%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Mutants of a module: one decision of its code, or one entry of its tables, turned over.

In functions: a comparison, an arithmetic or boolean operator, a constant, a condition, a return, a check that is dropped. In
tables at the top of a module: a number, an entry that is dropped. Left alone, since no behaviour is theirs: annotations,
decorators, docstrings, messages (what is raised, f-strings), assertions, the `strict` of a zip, the -1 of a reshape. A mutant whose bytecode or
whose tables are those of the original, or of another mutant, is none.
"""

import ast
import copy
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["Mutant", "of_functions", "of_tables"]

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
LEFT_ALONE = frozenset(
    {"annotation", "returns", "exc", "cause", "decorator_list", "args_of_a_function", "type_comment"}
)
OPTIMIZED = 1  # flag of a function's code, which a class body has not


@dataclass(frozen=True)
class Mutant:
    """One change, where it is, and how it is made in this process."""

    line: int
    kind: str
    function: str  # "" for a table
    apply: Callable[[], None]


# -- what may become of one node --------------------------------------------------------------------------------------


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may become of one node of a function, with words for it."""
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            if type(operator) in COMPARISONS:
                other = copy.deepcopy(node)
                other.ops[index] = COMPARISONS[type(operator)]()
                yield "comparison", other
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not isinstance(node.left, ast.JoinedStr):
        binary = copy.deepcopy(node)
        binary.op = ARITHMETIC[type(node.op)]()
        yield "operator", binary
    elif isinstance(node, ast.BoolOp):
        boolean = copy.deepcopy(node)
        boolean.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and/or", boolean
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", copy.deepcopy(node.operand)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "sign", copy.deepcopy(node.operand)
    elif isinstance(node, ast.Constant):
        yield from _numbers(node)
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and _plain(node.test):
        other_if = copy.deepcopy(node)
        other_if.test = ast.UnaryOp(ast.Not(), other_if.test)
        yield "condition", other_if
    elif isinstance(node, ast.comprehension):
        for index, test in enumerate(node.ifs):
            if _plain(test):
                filtered = copy.deepcopy(node)
                filtered.ifs[index] = ast.UnaryOp(ast.Not(), filtered.ifs[index])
                yield "condition", filtered
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield "return", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Raise):
        yield "raise dropped", ast.Pass()
    elif isinstance(node, ast.AugAssign | ast.Break | ast.Continue):
        yield "statement dropped", ast.Pass()
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call dropped", ast.Pass()


def _plain(test: ast.expr) -> bool:
    """Whether a condition has no operator of its own that is turned over anyway."""
    return not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant)


def _numbers(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield "constant", ast.Constant(node.value + 1)
    elif isinstance(node.value, float):
        yield "constant", ast.Constant(node.value * 2 or 1.0)


def _entries(node: ast.AST, *, outermost: bool) -> Iterator[tuple[str, ast.AST]]:
    """A table without one of its entries."""
    if isinstance(node, ast.Dict):
        for index in range(len(node.keys)):
            other = copy.deepcopy(node)
            del other.keys[index], other.values[index]
            yield "entry dropped", other
    elif isinstance(node, ast.Set | ast.List) or (isinstance(node, ast.Tuple) and outermost):
        for index in range(len(node.elts)):
            shorter = copy.deepcopy(node)
            del shorter.elts[index]
            if shorter.elts:
                yield "entry dropped", shorter


# -- trees ------------------------------------------------------------------------------------------------------------

Place = tuple[ast.AST, str, int, ast.AST]


def _places(root: ast.AST) -> Iterator[Place]:
    """(parent, field, index, node) of everything below a node that may change."""
    pending: list[ast.AST] = [root]
    unknown: set[int] = set()
    while pending:
        parent = pending.pop()
        if isinstance(parent, ast.JoinedStr | ast.Assert | ast.arguments):
            continue
        if isinstance(parent, ast.keyword) and parent.arg == "strict":
            continue
        if id(parent) in unknown and isinstance(parent, ast.UnaryOp):
            continue
        if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and parent.func.attr == "reshape":
            unknown.update(map(id, parent.args))  # of -1 any negative number makes the same
        for name, value in ast.iter_fields(parent):
            if name in LEFT_ALONE:
                continue
            for index, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST):
                    yield parent, name, index, child
                    pending.append(child)


def _put(place: Place, node: ast.AST) -> None:
    parent, name, index, _ = place
    value = getattr(parent, name)
    if isinstance(value, list):
        value[index] = node
    else:
        setattr(parent, name, node)


def _functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """(qualified name, tree) of the functions and methods of a module."""
    for item in body:
        if isinstance(item, ast.FunctionDef):
            yield prefix + item.name, item
        elif isinstance(item, ast.ClassDef):
            yield from _functions(item.body, f"{prefix}{item.name}.")


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Code of the functions and methods of a module, without what is inside them."""
    for item in code.co_consts:
        if isinstance(item, CodeType):
            if item.co_flags & OPTIMIZED:
                yield item
            else:
                yield from _codes(item)


def _shape(code: CodeType) -> tuple[Any, ...]:
    """What a function does: equal for two codes that differ in nothing but columns."""
    constants = tuple(
        _shape(item) if isinstance(item, CodeType) else (type(item), repr(item)) for item in code.co_consts
    )
    return code.co_code, code.co_names, code.co_varnames, code.co_exceptiontable, constants


# -- functions --------------------------------------------------------------------------------------------------------


def of_functions(path: Path, only: frozenset[str] = frozenset()) -> Iterator[Mutant]:
    """Mutants of a module's functions (of those named, by qualified name, or of all)."""
    tree = ast.parse(path.read_text())
    original = compile(tree, str(path), "exec")
    codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(original)}
    for name, function in _functions(tree.body):
        if only and name not in only:
            continue
        first = min([function.lineno, *(item.lineno for item in function.decorator_list)])
        known = {_shape(codes[name, first])}
        for place in list(_places(function)):
            for kind, other in _changes(place[3]):
                ast.copy_location(other, place[3])
                _put(place, other)
                changed = compile(ast.fix_missing_locations(tree), str(path), "exec")
                _put(place, place[3])
                code = next(
                    item for item in _codes(changed) if (item.co_qualname, item.co_firstlineno) == (name, first)
                )
                if _shape(code) not in known:
                    known.add(_shape(code))
                    line = getattr(getattr(place[3], "target", place[3]), "lineno", first)  # a comprehension has none
                    yield Mutant(line, kind, name, _swapping(codes[name, first], code))


def _swapping(old: CodeType, new: CodeType) -> Callable[[], None]:
    """Give every function that has the old code the new one, wherever it is held."""

    def swap() -> None:
        found = [
            item
            for item in gc.get_objects()
            if isinstance(item, FunctionType)
            and item.__code__.co_qualname == old.co_qualname
            and item.__code__.co_filename == old.co_filename
            and item.__code__.co_firstlineno == old.co_firstlineno
        ]
        if not found:
            raise LookupError(f"no function {old.co_qualname} to change")
        for item in found:
            item.__code__ = new

    return swap


# -- tables -----------------------------------------------------------------------------------------------------------


def of_tables(path: Path, module: ModuleType) -> Iterator[Mutant]:
    """Mutants of the plain data at the top of a module: numbers, and entries of tables."""
    tree = ast.parse(path.read_text())
    known: list[dict[str, Any]] = [{}]
    for statement in tree.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        if not isinstance(target, ast.Name) or target.id.startswith("__"):
            continue
        for place in list(_places(statement)):
            if place[0] is statement and place[1] != "value":
                continue
            outermost = place[0] is statement
            for kind, other in (*_table_changes(place[3]), *_entries(place[3], outermost=outermost)):
                ast.copy_location(other, place[3])
                _put(place, other)
                changed = _evaluated(ast.fix_missing_locations(tree), path, module)
                _put(place, place[3])
                if changed not in known:
                    known.append(changed)
                    yield Mutant(place[3].lineno, kind, "", _setting(module, changed))  # type: ignore[attr-defined]


def _table_changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    return _numbers(node) if isinstance(node, ast.Constant) else iter(())


def _evaluated(tree: ast.Module, path: Path, module: ModuleType) -> dict[str, Any]:
    """The plain data of the changed module that differs from the module's; `raised` where it cannot be loaded."""
    scratch = {"__name__": module.__name__, "__file__": str(path), "__package__": module.__package__}
    try:
        exec(compile(tree, str(path), "exec"), scratch)  # noqa: S102 - our own code, one change in it
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"}
    return {
        name: value
        for name, value in scratch.items()
        if not name.startswith("__")
        and _is_plain(value)
        and getattr(value, "__module__", "") != module.__name__  # a class of the module's own is another each time
        and name in vars(module)
        and vars(module)[name] != value
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, (*value.keys(), *value.values())))
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | bytes | int | float | type)


def _setting(module: ModuleType, changed: dict[str, Any]) -> Callable[[], None]:
    """Put changed data in the place of the module's, in every module that took it from there."""

    def put() -> None:
        if "raised" in changed:
            raise LookupError(changed["raised"])
        for name, new in changed.items():
            old = vars(module)[name]
            if isinstance(old, dict):
                old.clear()
                old.update(new)
                continue
            for holder in list(sys.modules.values()):
                if holder.__name__.startswith(("initlint", "tests", "test_")) and vars(holder).get(name) is old:
                    setattr(holder, name, new)

    return put

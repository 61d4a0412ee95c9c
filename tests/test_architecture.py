"""The direction in which data flows, read from the imports; what stays unimported; what no file may contain."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "initlint"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 450  # lines of one module; past 400 it is usually two


def imports(path: Path, *, at_load: bool = False) -> set[str]:
    """Modules a file imports: all of them, or those at the top level outside `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if at_load else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def home(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def importers(module: str) -> set[str]:
    return {
        home(path) for path in FILES if any(name == module or name.startswith(module + ".") for name in imports(path))
    }


def test_only_the_probe_imports_onnxruntime() -> None:
    """Everything else predicts."""
    assert importers("onnxruntime")
    assert all(name.startswith("probe/") for name in importers("onnxruntime"))


def test_onnx_is_imported_where_files_are_parsed_and_graphs_are_written() -> None:
    """The parser's classes and the probe's graph surgery; `check()` names a type for type checkers."""
    assert all(name in {"schema", "checking"} or name.startswith("probe/") for name in importers("onnx"))
    assert "onnx" not in imports(PACKAGE / "checking.py", at_load=True)


def test_only_the_reader_opens_models() -> None:
    """What parses, walks and resolves a model file is used by `model.py` and by nothing else."""
    assert importers("initlint.wire") <= {"model", "tensors"}
    assert importers("initlint.convert") == {"model"}
    assert importers("initlint.schema") <= {"model", "serving", "probe/session", "probe/export", "probe/instrument"}
    assert {name for name in importers("initlint.model") if not name.startswith("probe/")} <= {
        "analysis",
        "fleet/content",
    }


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("facts", ("initlint.rules", "initlint.rulefile", "initlint.formats", "initlint.model")),
        ("tables", ("initlint",)),
        ("rules", ("initlint.model", "initlint.graph", "initlint.layers", "initlint.signal", "initlint.formats", "onnx", "numpy")),
        ("rulefile", ("initlint.facts", "initlint.tables", "sqlite3")),
        ("rulecheck", ("initlint.model", "initlint.graph", "initlint.layers", "initlint.signal", "initlint.formats", "onnx", "numpy")),
        ("report", ("initlint.model", "initlint.rules", "initlint.analysis", "numpy")),
        ("graph", ("initlint.model", "initlint.layers", "initlint.signal", "initlint.rules")),
        ("weights", ("initlint.model", "initlint.layers", "initlint.rules", "initlint.signal")),
        ("layers", ("initlint.rules", "initlint.facts", "initlint.signal", "initlint.report")),
    ],
)  # fmt: skip
def test_no_way_back(low: str, high: tuple[str, ...]) -> None:
    """Facts know no rules, rules know no ONNX, and nothing looks up the way that data came down."""
    for name in imports(PACKAGE / f"{low}.py"):
        assert not any(name == item or name.startswith(item + ".") for item in high), name


def test_a_report_knows_one_format_and_only_when_a_notebook_asks() -> None:
    """`_repr_html_` must be a method of the report; nothing else leads from it to a format."""
    report = PACKAGE / "report.py"
    assert {name for name in imports(report) if name.startswith("initlint.formats")} <= {
        "initlint.formats",
        "initlint.formats.notebook",
    }
    assert not any(name.startswith("initlint.formats") for name in imports(report, at_load=True))


@pytest.mark.parametrize("path", [path for path in FILES if home(path).startswith("formats/")], ids=home)
def test_formats_are_functions_of_the_report(path: Path) -> None:
    """No format opens a model, reads facts or judges."""
    allowed = (
        "initlint.formats",
        "initlint.report",
        "initlint.text",
        "initlint.errors",
        "initlint.rulefile",
        "initlint.sanitised",
        "initlint.bins",
    )
    for name in imports(path):
        assert not name.startswith("initlint") or name == "initlint" or name.startswith(allowed), name


def test_only_the_command_line_prints_and_exits() -> None:
    """Everything else returns or raises."""
    speaking = {"cli", "__main__", "_worker"}
    for path in FILES:
        if home(path) in speaking or home(path).startswith(("commands/", "probe/child")):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"print", "sys.exit", "exit", "quit", "os._exit"}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["rules"], ["explain", "IL202"], ["--version"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    """Help, the list of rules and their words need neither numbers nor graphs."""
    program = (
        "import sys; from initlint.cli import run; code = run(sys.argv[1:]);"
        "sys.stderr.write(' '.join(sorted(set(sys.modules) & {'numpy', 'onnx', 'onnxruntime', 'ml_dtypes', 'google.protobuf'})));"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_parent_of_a_worker_imports_nothing_heavy() -> None:
    """A model is linted without its bytes, or numpy, ever entering the process that waits."""
    program = (
        "import sys; from initlint.cli import run; code = run(['samples/bad/IL202.onnx', '-f', 'json']);"
        "sys.stderr.write(' '.join(sorted(set(sys.modules) & {'numpy', 'onnx', 'onnxruntime', 'google.protobuf'}))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("path", FILES, ids=home)
def test_a_module_is_one_thing(path: Path) -> None:
    """A file that grows past its bound is two."""
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


def test_no_cycles_at_import() -> None:
    """Modules import each other in one direction when they are loaded."""
    graph = {}
    for path in FILES:
        name = "initlint." + home(path).replace("/", ".").removesuffix(".__init__")
        graph[name] = {item for item in imports(path, at_load=True) if item.startswith("initlint.")}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, " -> ".join((*trail, name))
        if state.get(name) == 2 or name not in graph:
            return
        state[name] = 1
        for item in graph[name]:
            visit(item, (*trail, name))
        state[name] = 2

    for name in graph:
        visit(name, ())


def test_no_leftovers() -> None:
    """Nothing is promised for later, and nothing is excused from coverage, in what users get."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|pragma: no cover|NotImplementedError")
    for path in FILES:
        assert not marks.search(path.read_text("utf-8")), path

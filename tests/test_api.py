"""What others build on: public names, commands, and the directions of imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import typer

import ecgveil
from ecgveil.cli import app

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ecgveil"

# Each layer may import from those above it, and from itself where it is a folder.
LAYERS = [
    ["errors"],
    ["leads", "streams", "people", "rhythm", "threads"],
    ["ecg", "base"],
    ["files"],
    ["formats", "paper"],
    ["windows", "split", "measure", "simulation", "classes", "singles", "tables", "images"],
    ["simulate", "store", "complexes"],
    ["standardize", "arrange"],
    ["encoder", "models", "table_encoder", "image_encoder", "kinds"],
    ["recipe", "other_data", "training"],  # training.objectives names what a recipe may ask for
    ["sampling", "intake", "measuring"],
    ["evaluation"],
    ["report"],
    ["pipeline", "evaluating", "augmenting"],
    ["studies"],
    ["console"],
    ["cli"],
]
ALONE = {
    # It knows no leads and no files; of complexes, how long they are.
    "models": {"errors", "streams", "people", "rhythm", "complexes"},
    "complexes": {"errors", "ecg", "measure", "people", "rhythm", "threads"},
    "rhythm": {"errors", "people"},
    # It sees arrays, not generators, runs or paths.
    "evaluation": {"errors", "ecg", "leads", "measure", "people", "streams", "tables"},
    "measure": {"errors", "ecg", "leads"},
    "formats": {"errors", "leads", "ecg", "files"},
    "standardize": {"errors"},
    "arrange": {"errors"},
}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms of ecgveil that a module imports, wherever in it (imports for type checkers aside)."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("ecgveil.")}


def modules() -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


def test_public_names():
    assert ecgveil.__all__ == [
        "ConfigError",
        "ECGSet",
        "EcgveilError",
        "EvaluationError",
        "RecordError",
        "RunError",
        "evaluate",
        "fit",
        "inspect",
        "load",
        "measure",
        "read",
        "release",
        "simulate",
        "split",
        "write",
    ]
    for name in ecgveil.__all__:
        assert callable(getattr(ecgveil, name)), f"{name} is no function or class"


def test_reading_does_not_wait_for_torch():
    code = "import sys, ecgveil, ecgveil.cli; ecgveil.read; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_readme_lists_every_command_and_no_other():
    commands = set(typer.main.get_command(app).commands)
    listed = set(re.findall(r"^\| `ecgveil (\w+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert listed == commands


def test_the_readme_opens_with_the_two_commands():
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("make ")]
    assert [line.split("#")[0].strip() for line in lines[:2]] == ["make demo", "make test"]


def test_every_module_is_in_a_layer():
    rooms = {room(path) for path in modules()}
    assert rooms == {name for layer in LAYERS for name in layer}


def test_imports_follow_the_design():
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    wrong = []
    for path in modules():
        here = room(path)
        for other in imports(path):
            if other != here and (level[other] > level[here] or other not in ALONE.get(here, level)):
                wrong.append(f"{path.relative_to(SOURCE)} imports {other}")
    assert not wrong


def test_the_import_test_would_notice(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("def f():\n    from ecgveil.report import About\n\nimport ecgveil.cli\n")
    assert imports(file) == {"report", "cli"}


def test_nothing_is_pickled_or_executed():
    pattern = re.compile(r"\bpickle\b|torch\.load\(|allow_pickle=True|\beval\(|\bexec\(|yaml\.load\(|shell=True")
    found = [path.name for path in modules() if pattern.search(re.sub(r"\.eval\(\)", "", path.read_text()))]
    assert not found

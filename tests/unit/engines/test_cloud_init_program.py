"""The program that travels with user-data: old Python, complete, and nothing but itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from aiprov.engines.cloud_init.program import bare
from tests.pythons import offered
from tests.unit.engines.cloud_configs import (
    EVERY,
    files,
    image,
    rendered,
)

PROGRAM = Path("aiprov/engines/first_boot")


@pytest.mark.parametrize("path", sorted(PROGRAM.glob("*.py")), ids=lambda path: path.name)
def test_the_program_is_python_3_6_and_loses_only_its_documentation(path):
    source = path.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert _meaning(bare(source)) == _meaning(source)


def _meaning(source):
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [item for item in node.body if not _docstring(item)]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.dump(tree)


def _docstring(item):
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)


@pytest.mark.parametrize("version", ["3.6", f"3.{sys.version_info.minor}"])
@pytest.mark.parametrize("family", EVERY)
def test_what_travels_starts_on_its_own(tmp_path, family, version):
    """All of it is imported as on the host: the files as rendered, nothing else of aiprov."""
    python = sys.executable if version != "3.6" else offered(version)
    (tmp_path / "first_boot").mkdir()
    for path, entry in files(rendered(EVERY[family], image(family))).items():
        if "/first_boot/" in path:
            (tmp_path / "first_boot" / Path(path).name).write_text(entry["content"])
    names = [path.stem for path in (tmp_path / "first_boot").iterdir() if path.stem != "__init__"]
    code = "".join(f"import first_boot.{name}\n" for name in names)
    argv = [python, "-B", "-c", f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{code}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_program_imports_nothing_of_the_rest_and_nothing_from_outside():
    for path in PROGRAM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                assert name.partition(".")[0] in _STANDARD, (path, name)


_STANDARD = {
    "contextlib", "fcntl", "grp", "importlib", "json", "logging", "os", "pwd", "re",
    "shutil", "signal", "stat", "subprocess", "sys", "tempfile", "time", "tomllib", "typing",
}  # fmt: skip

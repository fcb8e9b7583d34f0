"""An ``Iterable`` may be a generator, which gives its items once: who reads it twice reads nothing.

Such a parameter is read once, outside of loops, or is made a list of before anything else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("aiprov", "plugins") for path in (ROOT / folder).rglob("*.py"))
REPEATED = ast.For | ast.While | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def read_again(function: ast.FunctionDef) -> Iterator[str]:
    """The parameters that are ``Iterable`` and may be read more than once."""
    for argument in (*function.args.args, *function.args.kwonlyargs):
        of = ast.unparse(argument.annotation) if argument.annotation else ""
        if of.startswith(("Iterable", "Iterator")):
            names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
            own = [node for node in names if node.id == argument.arg]
            reads = [node for node in own if isinstance(node.ctx, ast.Load)]
            if not len(reads) < len(own) and (len(reads) > 1 or is_in_a_loop(function, reads)):
                yield argument.arg


def is_in_a_loop(function: ast.FunctionDef, reads: list[ast.Name]) -> bool:
    """Whether one of the reads is in what a loop repeats: not in what it goes through."""
    for node in ast.walk(function):
        if isinstance(node, REPEATED):
            repeated = set(ast.walk(node)) - set(ast.walk(gone_through(node)))
            if any(read in repeated for read in reads):
                return True
    return False


def gone_through(loop: ast.AST) -> ast.AST:
    """What the loop reads once, before its first turn."""
    if isinstance(loop, ast.While):
        return ast.Pass()
    return loop.iter if isinstance(loop, ast.For) else loop.generators[0].iter


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_can_be_read_once_is_read_once(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert list(read_again(node)) == [], f"{node.name}, line {node.lineno}"


@pytest.mark.parametrize(
    ("body", "twice"),
    [
        ("return [f(x) for x in items]", []),
        ("items = list(items)\n return len(items), items", []),
        ("return len(list(items)), list(items)", ["items"]),
        ("return [x for x in a if x in set(items)]", ["items"]),
        ("for x in a:\n  g(items)", ["items"]),
        ("while a:\n  g(items)", ["items"]),
    ],
)
def test_it_is_seen(body: str, twice: list[str]):
    (function,) = ast.parse(f"def f(a, items: Iterable[int]):\n {body}\n").body
    assert isinstance(function, ast.FunctionDef)
    assert list(read_again(function)) == twice

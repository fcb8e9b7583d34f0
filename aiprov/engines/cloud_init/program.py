"""The program that takes the steps, as the files that user-data carries.

They are plain text, so that whoever reviews user-data reads what will run as root; only docstrings
and comments stay behind, because EC2 takes no more than 16 KiB.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiprov.engines.cloud_init.steps import Step
from aiprov.engines.first_boot.run import HANDLERS
from aiprov.resources import File

HOME = "/var/lib/aiprov"
LAUNCHER = f"{HOME}/first-boot.py"
STEPS = f"{HOME}/first-boot.steps.json"
UNIT = "aiprov-first-boot.service"

_SOURCE = Path(__file__).parent.parent / "first_boot"
_MAIN = "import sys\nfrom first_boot.run import main\nsys.exit(main(sys.argv))\n"


def program(steps: Sequence[Step], python: str) -> Iterator[File]:
    """The launcher, its modules (only those that these steps use) and its unit."""
    yield File(path=LAUNCHER, content=_MAIN, mode=0o600)
    for name in sorted({"__init__", "run"} | _modules(steps)):
        text = bare((_SOURCE / f"{name}.py").read_text(encoding="utf-8"))
        yield File(path=f"{HOME}/first_boot/{name}.py", content=text, mode=0o600)
    yield File(path=f"/etc/systemd/system/{UNIT}", content=_unit(python))


def _modules(steps: Sequence[Step]) -> set[str]:
    """The program's modules that the steps name, and those that these import."""
    named = {HANDLERS[step["kind"]][0] for step in steps if step["kind"] in HANDLERS}
    named |= {step["manager"] for step in steps if "manager" in step}
    named |= {"toml_keys"} if any(step.get("format") == "toml" for step in steps) else set()
    found: set[str] = set()
    waiting = named | {"run"}
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= _imports(name) - found
    return found


def _imports(name: str) -> set[str]:
    """What a module imports from its own package as it is loaded."""
    tree = ast.parse((_SOURCE / f"{name}.py").read_text(encoding="utf-8"))
    own = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {node.module or alias.name for node in own for alias in node.names}


def argv(python: str, verb: str) -> list[str]:
    """The command that starts it. ``-B``: what is removed at the end leaves no cache behind."""
    return [python, "-B", LAUNCHER, verb]


def bare(source: str) -> str:
    """Python source without docstrings, annotations of functions, comment and empty lines."""
    source = _without_annotations(source)
    dropped: set[int] = set()
    kept: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            alone = len(node.body) == 1 and not isinstance(node, ast.Module)
            if first is not None and not alone and _is_text(first):
                dropped.update(_lines(first))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            kept.update(_lines(node))  # a line of a long string may look like a comment
    lines = enumerate(source.splitlines(keepends=True), start=1)
    return "".join(
        line
        for number, line in lines
        if number not in dropped and (number in kept or not _is_idle(line))
    )


def _without_annotations(source: str) -> str:
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    spans: list[tuple[int, int, int]] = []  # line, from byte, to byte
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and (wanted := node.annotation) is not None:
            start = node.col_offset + len(node.arg.encode())
            spans.append((wanted.lineno, start, wanted.end_col_offset or start))
        elif isinstance(node, ast.FunctionDef) and (wanted := node.returns) is not None:
            start = lines[wanted.lineno - 1].rindex(b" ->", 0, wanted.col_offset)
            spans.append((wanted.lineno, start, wanted.end_col_offset or start))
    for number, start, end in sorted(spans, reverse=True):
        line = lines[number - 1]
        lines[number - 1] = line[:start] + line[end:]
    return b"".join(lines).decode()


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _lines(node: ast.stmt | ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _is_idle(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _unit(python: str) -> str:
    return f"""[Unit]
Description=aiprov: go on with the first boot after a reboot or a power loss
Wants=network-online.target
After=network-online.target
ConditionPathExists={LAUNCHER}

[Service]
# Not oneshot: the boot must not wait for it, or a unit started by it could wait for the boot.
Type=simple
ExecStart={" ".join(argv(python, "resume"))}

[Install]
WantedBy=multi-user.target
"""

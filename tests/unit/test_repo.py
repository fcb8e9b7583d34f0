"""Rules of the tree that no linter knows: one slug everywhere, small files, no forbidden words."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from aiprov import roles
from aiprov.cli import root

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "aiprov").rglob("*.py"))
MOST_LINES = 400
AGENT_LINES = 600  # the agent is one file, because it travels as one
MOST_FUNCTION_LINES = 60


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("slug", roles.slugs())
def test_a_role_has_all_its_faces(slug: str):
    for place in (
        f"roles/{slug}/tasks/main.yml",
        f"roles/{slug}/meta/argument_specs.yml",
        f"molecule/{slug}/molecule.yml",
        f"tests/roles/{slug}",
        f"docs/roles/{slug}.md",
    ):
        assert (ROOT / place).exists(), f"role {slug} lacks {place}"


@pytest.mark.parametrize("slug", roles.slugs())
def test_a_role_is_what_the_protocol_says(slug: str):
    role = roles.load(slug)
    assert isinstance(role.REQUIRES, tuple)
    assert callable(role.unsuitable)
    assert callable(role.resources)
    for name, setting in role.Vars.model_fields.items():
        assert name.startswith(f"{slug}_"), f"{name} lacks its role's prefix"
        assert setting.description, f"{name} has no description"


def test_no_role_folder_without_a_role():
    for folder in ("roles", "tests/roles"):
        found = {path.name for path in (ROOT / folder).iterdir() if path.is_dir()}
        assert found == set(roles.slugs())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path):
    text = path.read_text()
    most = AGENT_LINES if path.name == "agent.py" else MOST_LINES
    assert len(text.splitlines()) <= most
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MOST_FUNCTION_LINES, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_say_what_they_are(path: Path):
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "has no docstring"


def test_no_catch_all_rooms():
    names = {path.stem for path in SOURCES}
    assert not names & {"util", "utils", "helpers", "common", "misc", "base_classes", "manager"}


FORBIDDEN_IN_PLAYS = {
    "ignore_errors": re.compile(r"^\s*(- )?ignore_errors:", re.M),
    "shell": re.compile(r"^\s*(- )?(ansible\.builtin\.)?shell:", re.M),
}

FORBIDDEN = {
    "or-true": re.compile(r"\|\|\s*true\b"),
    "bare except": re.compile(r"^\s*except:\s*$", re.M),
    "shell=True": re.compile(r"shell\s*=\s*True"),
    "os.system": re.compile(r"\bos\.system\("),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_forbidden_constructs_are_nowhere(what: str):
    suffixes = {".py", ".yml", ".yaml", ".j2", ".sh", ""}
    found = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix in suffixes
        and path != Path(__file__)
        and FORBIDDEN[what].search(path.read_text(errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize("what", FORBIDDEN_IN_PLAYS)
def test_forbidden_words_are_in_no_play(what: str):
    found = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix in {".yml", ".yaml"} and FORBIDDEN_IN_PLAYS[what].search(path.read_text())
    ]
    assert found == []


def test_every_verb_is_documented():
    text = (ROOT / "README.md").read_text() + (ROOT / "docs/tutorial.md").read_text()
    for name in root.commands:
        assert f"aiprov {name}" in text, f"aiprov {name} is in neither README nor tutorial"


def test_links_in_the_documentation_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = re.sub(r"`[^`\n]*`", "", page.read_text())  # what stands as code is no link
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"

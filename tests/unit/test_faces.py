"""The generated files of each role are as they would be generated now, and Ansible reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from aiprov import roles, settings
from aiprov.faces import render, stale

ROOT = Path(__file__).parents[2]
NEEDED = {"kubernetes_version": "1.36.4"}
"""Settings without a default."""


def test_generated_files_are_fresh() -> None:
    assert [str(path.relative_to(ROOT)) for path in stale(ROOT)] == [], "run `make generated`"


def test_no_face_without_a_role() -> None:
    faces = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    pages = {path.stem for path in (ROOT / "docs/roles").glob("*.md")}
    assert faces == set(roles.slugs())
    assert pages == set(roles.slugs())


@pytest.mark.parametrize("slug", roles.slugs())
def test_ansible_takes_the_defaults(slug: str) -> None:
    text = render(slug)[f"roles/{slug}/meta/argument_specs.yml"]
    options = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    assert all(option["description"] for option in options.values())
    defaults = {n: option["default"] for n, option in options.items() if "default" in option}
    needed = {n: NEEDED[n] for n, option in options.items() if option.get("required")}
    defaults |= needed
    assert not ArgumentSpecValidator(options).validate(defaults).error_messages
    # What Ansible takes for the default is what the role does.
    assert settings.from_mapping(slug, defaults) == settings.from_mapping(slug, needed)

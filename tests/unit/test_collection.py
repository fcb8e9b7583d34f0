"""The checkout as the collection ``aiprov.core``: its link, its texts, its playbooks."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

import aiprov
from aiprov import collection, roles
from aiprov.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def test_the_link_leads_to_the_checkout(tmp_path: Path):
    (tmp_path / "galaxy.yml").touch()
    for _again in range(2):
        assert collection.link(tmp_path).resolve() == tmp_path.resolve()
    place = tmp_path / collection.PLACE
    place.unlink()
    place.mkdir()
    with pytest.raises(UsageError, match="is something else"):
        collection.link(tmp_path)


def test_a_folder_that_is_no_checkout(tmp_path: Path):
    with pytest.raises(UsageError, match="has no galaxy"):
        collection.link(tmp_path)


def test_one_version():
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"] == aiprov.__version__


def test_the_site_has_every_role_in_an_order_that_holds():
    (play,) = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    names = [task["ansible.builtin.import_role"]["name"] for task in play["tasks"]]
    slugs = [name.removeprefix("aiprov.core.") for name in names]
    # Kubernetes twice: to control planes, then to workers, which wait for them.
    assert sorted(slugs) == sorted([*roles.slugs(), "kubernetes"])
    for entry, slug in zip(play["tasks"], slugs, strict=True):
        assert entry["tags"] == [slug]
        assert set(roles.load(slug).REQUIRES) <= set(slugs[: slugs.index(slug)])
        if slug != "base":
            assert conditions_of(entry["when"])[0].startswith(f"'{slug}' in ")


def test_the_site_brings_kubernetes_to_every_host_once_and_to_control_planes_first():
    (play,) = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    conditions = [conditions_of(entry.get("when")) for entry in play["tasks"]]
    planes, workers = (found for found in conditions if found and "'kubernetes'" in found[0])
    assert planes[1] == "'kube_control_plane' in group_names"
    assert workers[1] == "'kube_control_plane' not in group_names"


def conditions_of(when: str | list[str] | None) -> list[str]:
    """A task's conditions, all of which have to hold."""
    return [when] if isinstance(when, str) else when or []


def ansible(*arguments: str, cwd: Path = ROOT) -> str:
    collection.link(ROOT)
    argv = [sys.executable, "-m", "ansible", *arguments]
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["site", "verify", "validate", "bootstrap"])
def test_playbooks_are_playbooks(name: str):
    ansible("playbook", "--syntax-check", "-i", "localhost,", f"playbooks/{name}.yml")


def test_ansible_doc_shows_the_plugins():
    for kind, name in (("module", "converge"), ("module", "validate"), ("filter", "with_required")):
        assert f"aiprov.core.{name}" in ansible("doc", "-t", kind, f"aiprov.core.{name}", "--json")


def test_the_tarball_holds_the_collection_alone(tmp_path: Path):
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    copy = tmp_path / "copy"
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    (copy / ".venv").mkdir()
    (copy / ".venv" / "left.txt").touch()
    ansible("galaxy", "collection", "build", "--output-path", str(tmp_path), cwd=copy)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as tar:
        names = {entry.name for entry in tar if entry.isfile()}
    tops = {name.partition("/")[0] for name in names}
    texts = {"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "FILES.json", "MANIFEST.json"}
    assert tops - texts - {"LICENSE"} == {"meta", "playbooks", "plugins", "roles"}
    assert "plugins/action/converge.py" in names

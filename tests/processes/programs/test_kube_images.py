"""Images from archives, with a containerd client of the test's own that keeps what it is given."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aiprov.programs import kube_images
from tests.processes.called import called
from tests.pythons import needed

CTR = """\
#!/usr/bin/env python3
import json, pathlib, sys, tarfile
kept = pathlib.Path(__file__).with_name("kept")
there = kept.read_text().split() if kept.exists() else []
assert sys.argv[1:3] == ["--namespace", "k8s.io"], sys.argv
if sys.argv[3:] == ["images", "ls", "--quiet"]:
    print("\\n".join(there))
elif sys.argv[3:5] == ["images", "import"]:
    with tarfile.open(sys.argv[5]) as archive:
        for name in json.load(archive.extractfile("names")):
            there.append(name)
    kept.write_text(" ".join(there))
else:
    sys.exit("unknown")
"""
PAUSE = "registry.k8s.io/pause:3.10"


@pytest.fixture(params=["3.6", "3.12"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    found = needed(request.param)
    program = tmp_path / "ctr"
    program.write_text(CTR)
    program.chmod(0o755)
    return Host(tmp_path, found)


class Host:
    """A host that has ``ctr`` and nothing imported yet."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.python = folder, python

    def run(self, verb: str, place: Path) -> tuple[int, str]:
        env = {"PATH": f"{self.folder}:/usr/bin:/bin", "AIPROV_TEST_ROOT": str(self.folder)}
        return called([self.python, kube_images.__file__, verb, place], env)

    def loses(self, name: str) -> None:
        kept = self.folder / "kept"
        kept.write_text(kept.read_text().replace(name, ""))


def archive(path: Path, tags: list[str], *, imported: list[str] | None = None) -> Path:
    """What docker save writes, as far as it is looked at. ``imported``: what ctr makes of it."""
    write(
        path,
        {"manifest.json": [{"Config": "c", "RepoTags": tags}], "names": imported or tags},
    )
    return path


def write(path: Path, files: dict[str, Any]) -> None:
    with tarfile.open(path, "w") as made:
        for name, value in files.items():
            text = json.dumps(value).encode()
            member = tarfile.TarInfo(name)
            member.size = len(text)
            made.addfile(member, io.BytesIO(text))


def test_an_archive_is_imported_once(host: Host, tmp_path: Path):
    place = archive(tmp_path / "pause.tar", [PAUSE])
    code, said = host.run("imported", place)
    assert (code, said) == (1, f"{place} was not imported yet\n")
    assert host.run("import", place) == (0, f"imported {place}: {PAUSE}\n")
    assert host.run("imported", place) == (0, "")
    assert host.run("import", place) == (0, "")


def test_an_image_that_was_cleaned_away_comes_back(host: Host, tmp_path: Path):
    place = archive(tmp_path / "pause.tar", [PAUSE])
    host.run("import", place)
    host.loses(PAUSE)
    assert host.run("imported", place) == (1, f"image {PAUSE} is gone\n")
    assert host.run("import", place)[0] == 0
    assert host.run("imported", place) == (0, "")


def test_another_archive_in_its_place_is_imported(host: Host, tmp_path: Path):
    place = archive(tmp_path / "pause.tar", [PAUSE])
    host.run("import", place)
    archive(place, [PAUSE, "registry.k8s.io/etcd:3.6.4-0"])
    assert host.run("imported", place) == (1, f"{place} is another one than was imported\n")
    assert host.run("import", place)[0] == 0
    assert host.run("imported", place) == (0, "")


def test_a_folder_is_all_that_is_in_it(host: Host, tmp_path: Path):
    folder = tmp_path / "images"
    folder.mkdir()
    assert host.run("imported", folder)[0] == 2
    one = archive(folder / "a.tar", [PAUSE])
    two = archive(folder / "b.tar", ["busybox:1"], imported=["docker.io/library/busybox:1"])
    assert host.run("import", folder)[0] == 0
    assert host.run("imported", folder) == (0, "")
    host.loses("docker.io/library/busybox:1")
    assert host.run("imported", folder) == (1, "image docker.io/library/busybox:1 is gone\n")
    assert host.run("import", folder) == (0, f"imported {two}: docker.io/library/busybox:1\n")
    assert one.exists()


def test_containerds_own_archives_are_read(host: Host, tmp_path: Path):
    place = tmp_path / "pause.tar"
    noted = {"annotations": {"io.containerd.image.name": PAUSE}}
    write(place, {"index.json": {"manifests": [noted, {"digest": "d"}]}, "names": [PAUSE]})
    assert host.run("import", place) == (0, f"imported {place}: {PAUSE}\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"not a tar", "no archive of images"),
        ({"other": 1}, "neither manifest.json nor index.json"),
        ({"manifest.json": {"no": "list"}}, "no archive of images"),
    ],
)
def test_what_is_no_archive_is_refused_with_a_way_out(
    host: Host, tmp_path: Path, content: Any, said: str
):
    place = tmp_path / "images.tar"
    if isinstance(content, bytes):
        place.write_bytes(content)
    elif content is not None:
        write(place, content)
    code, told = host.run("import", place)
    assert code == 2
    assert said in told
    assert "hint: " in told


def test_an_image_that_is_not_there_afterwards_is_told(host: Host, tmp_path: Path):
    place = archive(tmp_path / "pause.tar", [PAUSE], imported=["other"])
    code, told = host.run("import", place)
    assert code == 2
    assert f"{PAUSE} is not there" in told
    assert host.run("imported", place)[0] == 1


def test_a_host_without_containerd_says_so(host: Host, tmp_path: Path):
    place = archive(tmp_path / "pause.tar", [PAUSE])
    (tmp_path / "ctr").unlink()
    code, told = host.run("imported", place)
    assert code == 2
    assert "ctr: " in told


def test_words_that_are_none_show_how_to_ask(host: Host, tmp_path: Path):
    code, told = host.run("delete", tmp_path)
    assert code == 2
    assert "kube-images imported PLACE" in told

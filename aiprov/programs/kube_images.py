"""Container images from archives into containerd, for sites without a registry.

    kube-images imported PLACE    0: all images of its archives are there; 1: they are not
    kube-images import PLACE      imports what is not

An archive is what ``docker save`` or ``ctr images export`` writes; a folder stands for all files in
it. What an archive held when it was imported is noted, so that one that was replaced is imported
anew, and so is one whose images kubelet has cleaned away.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from typing import Any, Dict, List

NOTES = os.environ.get("AIPROV_TEST_ROOT", "") + "/var/lib/aiprov/images"
SPACE = "k8s.io"
ASK_S, LIST_S, IMPORT_S = 20, 60, 1800


class ImagesError(Exception):
    """It cannot be done: why, and the way out."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def archives(place: str) -> List[str]:
    """The archive itself, or all in the folder. Raises ``ImagesError`` for an empty one."""
    if not os.path.isdir(place):
        return [place]
    names = sorted(name for name in os.listdir(place) if not name.startswith("."))
    found = [os.path.join(place, name) for name in names]
    if not found:
        raise ImagesError(f"{place} is empty", "put archives of images there")
    return found


def note_of(archive: str) -> str:
    """Where it is noted what an archive held."""
    return os.path.join(NOTES, hashlib.sha256(archive.encode()).hexdigest()[:32] + ".json")


def stamp(archive: str) -> Dict[str, int]:
    """What tells one content of the archive from another. Raises ``ImagesError`` for no file."""
    try:
        found = os.stat(archive)
    except OSError as error:
        raise ImagesError(
            f"{archive}: {error.strerror}",
            "put the archive there, or take it out of kubernetes_image_archives",
        ) from error
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def names_in(archive: str) -> List[str]:
    """The names of an archive's images. Raises ``ImagesError`` where it is no archive of images."""
    try:
        with tarfile.open(archive) as opened:
            members = set(opened.getnames())
            if "manifest.json" in members:
                tags = [
                    tag for one in read(opened, "manifest.json") for tag in one["RepoTags"] or ()
                ]
                return sorted(map(canonical, tags))
            if "index.json" in members:
                noted = [
                    one.get("annotations", {}) for one in read(opened, "index.json")["manifests"]
                ]
                found = [one.get("io.containerd.image.name") for one in noted]
                return sorted(name for name in found if name)
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
        raise ImagesError(
            f"{archive} is no archive of images: {error}",
            "make it with docker save or ctr images export",
        ) from error
    raise ImagesError(
        f"{archive} holds neither manifest.json nor index.json",
        "make it with docker save or ctr images export",
    )


def read(opened: tarfile.TarFile, name: str) -> Any:
    """A JSON file in an archive."""
    member = opened.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is no file")
    return json.loads(member.read().decode("utf-8"))


def canonical(name: str) -> str:
    """An image's name as containerd has it: docker's short names are Docker Hub's."""
    first, slash, _ = name.partition("/")
    if not slash:
        return "docker.io/library/" + name
    return name if "." in first or ":" in first or first == "localhost" else "docker.io/" + name


def present(limit_s: int) -> List[str]:
    """The names of all images that containerd has for Kubernetes."""
    argv = ["ctr", "--namespace", SPACE, "images", "ls", "--quiet"]
    return run(argv, limit_s).split()


def run(argv: List[str], timeout: int) -> str:
    """What a command prints. Raises ``ImagesError`` with what it said where it fails."""
    try:
        done = subprocess.run(  # noqa: UP022  Python 3.6 has no capture_output
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImagesError(
            f"{argv[0]}: {error}", "systemctl status containerd tells more"
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ImagesError(
            f"ctr: {said[-1] if said else done.returncode}",
            "systemctl status containerd tells more",
        )
    return done.stdout.decode(errors="replace")


def missing(archive: str, there: List[str]) -> List[str]:
    """What is to be said of an archive that is not imported as it is now."""
    now = stamp(archive)
    try:
        with open(note_of(archive), encoding="utf-8") as opened:
            noted = json.load(opened)
    except (OSError, ValueError):
        return [f"{archive} was not imported yet"]
    if noted.get("stamp") != now:
        return [f"{archive} is another one than was imported"]
    return [f"image {name} is gone" for name in sorted(set(noted.get("names", ())) - set(there))]


def imported(place: str) -> int:
    """Whether all archives were imported as they are now, and their images are still there."""
    there = present(ASK_S)
    found = [line for archive in archives(place) for line in missing(archive, there)]
    for line in found:
        print(line)
    return 1 if found else 0


def bring(place: str) -> int:
    """Import the archives that are not, and note what they held."""
    there = present(LIST_S)
    for archive in archives(place):
        if missing(archive, there):
            bring_one(archive)
    return 0


def bring_one(archive: str) -> None:
    """Import an archive, and note what it held."""
    now, names = stamp(archive), names_in(archive)
    run(["ctr", "--namespace", SPACE, "images", "import", archive], IMPORT_S)
    lacking = ", ".join(sorted(set(names) - set(present(LIST_S))))
    if lacking:
        raise ImagesError(
            f"{archive} was imported, but {lacking} is not there",
            "name the images in full when the archive is made",
        )
    os.makedirs(NOTES, exist_ok=True)
    path = note_of(archive)
    with open(path + ".new", "w", encoding="utf-8") as out:
        json.dump({"archive": archive, "names": names, "stamp": now}, out)
    os.replace(path + ".new", path)
    tell = ", ".join(names)
    print(f"imported {archive}: {tell}")


def main(arguments: List[str]) -> int:
    """Run one verb. 0: yes or done; 1: no; 2: it cannot be done or told."""
    verbs = {"imported": imported, "import": bring}
    if len(arguments) != 2 or arguments[0] not in verbs:
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        return verbs[arguments[0]](arguments[1])
    except ImagesError as error:
        sys.stderr.write(f"{error}\nhint: {error.hint}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

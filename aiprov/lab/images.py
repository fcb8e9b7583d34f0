"""A container image for hosts that reach no registry: one static busybox, packed by hand.

The archive is in the format of ``docker save``, which Docker and containerd both import, and its
bytes depend on nothing but the binary and the name.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from aiprov.errors import LabError
from aiprov.lab.access import must, run_in

IMAGE = "aiprov.lab/busybox:1"
_FETCH = ["apt-get", "download", "-qq", "busybox-static"]
_IMPORT: Mapping[str, Sequence[str]] = {
    "docker": ("docker", "load"),
    "containerd": ("ctr", "-n", "k8s.io", "images", "import", "-"),
}


def busybox(directory: Path, name: str) -> bytes:
    """Debian's static busybox, as a host of the lab would get it."""
    place = "/run/aiprov-lab/busybox"
    must(name, ["mkdir"], run_in(directory, name, ["mkdir", "-p", place]))
    fetch = ["env", f"--chdir={place}", *_FETCH]
    must(name, fetch, run_in(directory, name, fetch, timeout=300))
    listing = run_in(directory, name, ["find", place, "-name", "*.deb"]).stdout.decode().split()
    if not listing:
        raise LabError(f"{name}: apt-get download brought no busybox-static")
    unpack = ["dpkg-deb", "--fsys-tarfile", listing[0]]
    content = must(name, unpack, run_in(directory, name, unpack)).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            handle = archive.extractfile(member) if member.isfile() else None
            if handle is not None and member.name.endswith("bin/busybox"):
                return handle.read()
    raise LabError("busybox-static holds no busybox")


def image_archive(binary: bytes, tag: str = IMAGE, command: Sequence[str] = ("/bin/sh",)) -> bytes:
    """An image that holds /bin/busybox, /bin/sh and nothing else."""
    return packed({"bin/busybox": binary}, {"bin/sh": "busybox"}, tag, command=command)


def packed(
    files: Mapping[str, bytes],
    links: Mapping[str, str],
    tag: str,
    *,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    path: str = "/bin",
) -> bytes:
    """An image of these files, all of which may be run, and links.

    Paths are from the root, without the first slash. ``path``: where its programs are looked for.
    """
    layer = _tar(files, links)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": list(entrypoint),
            "Cmd": list(command),
            "Env": [f"PATH={path}"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "aiprov lab"}],
    }
    told = _json(config)
    name = f"{hashlib.sha256(told).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
    return _tar({name: told, "layer.tar": layer, "manifest.json": _json(manifest)}, links={})


def import_image(
    directory: Path,
    name: str,
    engine: Literal["docker", "containerd"] = "docker",
    *,
    tag: str = IMAGE,
    command: Sequence[str] = ("/bin/sh",),
) -> str:
    """Give a host's container engine an image to run, and return the image's name.

    ``docker run --rm aiprov.lab/busybox:1 busybox echo hello`` then works as anywhere; for
    containerd the image is in the namespace of Kubernetes, ``k8s.io``.
    """
    archive = image_archive(busybox(directory, name), tag, command)
    argv = list(_IMPORT[engine])
    must(name, argv, run_in(directory, name, argv, stdin=archive, timeout=120))
    return tag


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _tar(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(entry)
    return out.getvalue()

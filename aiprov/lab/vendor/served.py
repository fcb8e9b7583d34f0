"""A lab's stand-in repositories: what its gateway serves, and what its hosts are told of it.

The lab remembers in its folder which archives it serves; the proxy looks there at every request, so
what is published later is there at the next ``apt-get update``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiprov.errors import LabError
from aiprov.lab.machine import replace
from aiprov.lab.state import Folder, Network
from aiprov.lab.vendor import archive, places
from aiprov.lab.vendor.archive import Kind

GROUP = "stand_ins"
"""The inventory's group of the hosts that use the stand-ins."""
_KEYRING = "usr/share/keyrings/aiprov-lab-stand-ins.asc"


def serve(
    folder: Folder,
    kinds: Iterable[Kind],
    *,
    broken: Iterable[str] = (),
    kubernetes: Iterable[str] = (),
    say: Callable[[str], object] = lambda text: None,
) -> None:
    """Serve archives of these kinds, beside those that the lab serves already, and always apt's.

    ``broken``: versions of the driver whose modules never build, published from now on.
    ``kubernetes``: its versions that there are, from now on.
    """
    told = _told(folder)
    faults = tuple(sorted({*told["broken"], *broken}))
    asked = [*(kind for kind in told["archives"] if kind != "kubernetes"), *kinds]
    wanted: list[Kind] = list(dict.fromkeys(["apt", *asked])) if asked else []
    made = {str(kind): archive.ensure(kind, broken=faults, say=say) for kind in wanted}
    versions = sorted({*told["kubernetes"], *kubernetes})
    if versions:
        made["kubernetes"] = archive.ensure_kubernetes(versions, say)
    if made:
        document = {
            "archives": {kind: str(one.folder) for kind, one in made.items()},
            "broken": list(faults),
            "kubernetes": versions,
            "key": next(iter(made.values())).key,
        }
        replace(folder.vendor, json.dumps(document, sort_keys=True))


def publish(folder: Folder, version: str) -> None:
    """Add a version of the driver whose modules never build.

    Raises ``LabError`` where the lab serves none.
    """
    told = _told(folder)
    if "apt" not in told["archives"]:
        raise LabError(
            "this lab serves no stand-in repositories", hint="bring it up with vendor, or with GPUs"
        )
    serve(folder, (), broken=(version,))


def variables(folder: Folder) -> dict[str, Any]:
    """What roles are told, so that they use the stand-ins: variables of the inventory's group."""
    told = _told(folder)
    if "apt" not in told["archives"]:
        return {}
    base, key = address(folder.network()), told["key"]
    found_at = {
        "nvidia_driver": places.CUDA,
        "cuda": places.CUDA,
        "nvidia_container_toolkit": places.TOOLKIT_BASE,
        "gpu_rdma_gdrcopy": places.GDRCOPY,
    }
    if "docker" in told["archives"]:
        found_at["containerd"] = places.DOCKER
    found: dict[str, Any] = {}
    for role, place in found_at.items():
        found[f"{role}_repository_url"] = f"{base}/{place}"
        found[f"{role}_repository_key"] = key
    return found


def kubernetes_variables(folder: Folder) -> dict[str, Any]:
    """What roles are told, so that they install the lab's Kubernetes: variables of its group."""
    place = f"{address(folder.network())}/{places.KUBERNETES}"
    return {"kubernetes_repository_url": place, "kubernetes_repository_key": _told(folder)["key"]}


def address(network: Network) -> str:
    """Where hosts find the archives."""
    from aiprov.lab.proxy import PORT

    return f"http://{network.gateway}:{PORT}"


def lay(folder: Folder, tree: Path) -> None:
    """Tell a host's apt where headers of its kernel are: no other archive has them."""
    source = (
        f"Types: deb\nURIs: {address(folder.network())}/{places.KERNELS}/\nSuites: /\n"
        f"Signed-By: /{_KEYRING}\n"
    )
    files = {_KEYRING: _told(folder)["key"], "etc/apt/sources.list.d/aiprov-lab.sources": source}
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text, encoding="utf-8")


def find(listing: Path, path: str) -> Path | None:
    """The file that a path on the gateway names, in the archives that a lab lists; or None."""
    name = unquote(path).lstrip("/")
    if not listing.exists() or ".." in name:
        return None
    told = json.loads(listing.read_text(encoding="utf-8"))
    for folder in told["archives"].values():
        place = Path(folder) / name
        if place.is_file():
            return place
    return None


def _told(folder: Folder) -> dict[str, Any]:
    if not folder.vendor.exists():
        return {"archives": {}, "broken": [], "kubernetes": [], "key": ""}
    told = json.loads(folder.vendor.read_text(encoding="utf-8"))
    return {"kubernetes": [], **told}

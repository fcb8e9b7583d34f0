"""Helm charts: what has to be installed, as the document that ``kube-chart`` reads on the host.

The program (``aiprov/programs/kube_chart.py``) runs on the first control plane: it fetches Helm and
the charts, verifies both, and compares what is installed with what is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from aiprov import programs
from aiprov.catalog import kubernetes_gpu
from aiprov.errors import UnsupportedError
from aiprov.kubernetes import FOLDER
from aiprov.resources import Command, Directory, File, Resource, Secret, Succeeds
from aiprov.survey.facts import Facts
from aiprov.values import environment_file

RECIPE = f"{FOLDER}/charts.json"
PROXY = f"{FOLDER}/charts-proxy.env"
PROGRAM = "kube-chart"
INSTALLED = "Command[charts]"
"""The address of the command that installs them."""

NO_PROXY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A release of a chart: of a repository (``https://…``, ``oci://…``) or a folder.

    ``sha256``: of the chart's archive, where it is known; without it TLS and the pinned version
    are all that vouches for it. ``timeout_s``: until all of it is ready. ``wait``: False for
    what cannot be ready before the chart is installed, such as a network plugin's own nodes.
    """

    name: str
    namespace: str
    repository: str
    chart: str
    version: str
    sha256: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: int = 900
    wait: bool = True


@dataclass(frozen=True, kw_only=True)
class Helm:
    """The archive that holds Helm's program (a URL, or a path on the host), and its SHA-256."""

    version: str
    url: str
    sha256: str


def helm(
    host: Facts, *, version: str | None = None, url: str | None = None, sha256: str | None = None
) -> Helm:
    """Helm for the host's architecture: the catalog's, or another version with its checksum.

    Raises ``UnsupportedError`` for one whose checksum is neither known nor given.
    """
    rows = [
        row for row in kubernetes_gpu.helm_archives() if row.architecture == host.deb_architecture
    ]
    wanted = version or next((row.version for row in rows), None)
    if sha256 is None:
        sha256 = next((row.sha256 for row in rows if row.version == wanted), None)
    if wanted is None or sha256 is None:
        known = ", ".join(
            f"{row.version} ({row.architecture})" for row in kubernetes_gpu.helm_archives()
        )
        raise UnsupportedError(
            f"no checksum of Helm {wanted or ''} for {host.deb_architecture} is known",
            hint=f"give kubernetes_helm_version and, from get.helm.sh, its kubernetes_helm_sha256; "
            f"known are {known}",
        )
    place = f"https://get.helm.sh/helm-v{wanted}-linux-{host.deb_architecture}.tar.gz"
    return Helm(version=wanted, url=url or place, sha256=sha256)


def resources(
    charts: Sequence[Chart],
    helm: Helm | None,
    host: Facts,
    proxy: Mapping[str, str] = NO_PROXY,
    *,
    secrets: tuple[Secret, ...] = (),
    waits_for: tuple[str, ...] = (),
    patience_s: float = 0,
) -> list[Resource]:
    """The document, the program, and the command that installs what is wanted.

    Without charts (``helm`` may be None then) the releases that aiprov once installed go.
    ``proxy``: variables of the environment for downloads. ``secrets``: what of the charts' values
    is shown to nobody; the document is not shown then. ``waits_for``: addresses of what comes
    before, such as the command by which the host is in the cluster. ``patience_s``: how long an API
    that does not answer is asked again whether all is as wanted.
    """
    program, text = programs.path(PROGRAM), recipe(charts, helm)
    content = Secret(text, parts=secrets) if secrets else text
    return [
        *programs.program(PROGRAM, host),
        Directory(path="/etc/kubernetes"),
        Directory(path=FOLDER, mode=0o700),
        environment_file(PROXY, proxy),
        File(path=RECIPE, content=content, mode=0o600),
        Command(
            name="charts",
            argv=(program, "install", RECIPE, "--environment", PROXY),
            unless=Succeeds(argv=(program, "installed", RECIPE), patience_s=patience_s),
            waits_for=(f"File[{program}]", f"File[{RECIPE}]", *waits_for),
        ),
    ]


def recipe(charts: Sequence[Chart], helm: Helm | None) -> str:
    """The document that ``kube-chart`` reads. Raises ``ValueError`` for charts without a Helm."""
    if charts and helm is None:
        raise ValueError("charts are installed by Helm, which is not given")
    document = {
        "format_version": 1,
        "helm": None if helm is None else asdict(helm),
        "charts": [asdict(chart) for chart in charts],
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"

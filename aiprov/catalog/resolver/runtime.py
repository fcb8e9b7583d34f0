"""containerd and Kubernetes: which lines go together, and the config schema that follows."""

from __future__ import annotations

from dataclasses import dataclass

from aiprov import catalog
from aiprov.catalog import ContainerdLine, kubernetes, toolkit
from aiprov.catalog.kubernetes import KubernetesLine
from aiprov.catalog.resolution import Conflict, Containerd
from aiprov.catalog.resolver.question import Question, listed, past


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The containerd to have, or the conflicts."""

    containerd: Containerd | None
    conflicts: tuple[Conflict, ...] = ()
    warnings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def choose(asks: Question) -> Joined:
    """The containerd that is asked for where Kubernetes accepts it, else the best that it accepts.

    Raises ``CatalogError`` for a version of either that has no row.
    """
    asked = asks.asked
    wanted = kubernetes.line(asked.kubernetes) if asked.kubernetes else None
    warnings = list(toolkit.faults(asked.toolkit)) if asked.toolkit else []
    if wanted is not None and past(wanted.eol, asks.today):
        warnings.append(
            f"Kubernetes {wanted.version} has been at its end of life since {wanted.eol}"
        )
    if asked.containerd is not None:
        line, version = catalog.containerd_line(asked.containerd), asked.containerd
        reason = f"containerd {version}: as asked for"
    else:
        line = _default(asks, wanted)
        version = line.version
        reason = f"containerd {version}: {_why(asks, line, wanted)}"
    if past(line.eol, asks.today):
        warnings.append(_eol_warning(asks, line, wanted))
    if wanted is not None and not wanted.accepts(version):
        return Joined(
            containerd=None, conflicts=(_refused(wanted, version),), warnings=tuple(warnings)
        )
    return Joined(
        containerd=Containerd(version=version, config_schema=line.schema),
        warnings=tuple(warnings),
        reasons=(reason,),
    )


def _default(asks: Question, wanted: KubernetesLine | None) -> ContainerdLine:
    lines = [
        row for row in catalog.containerd_lines() if wanted is None or wanted.accepts(row.version)
    ]
    alive = [row for row in lines if not past(row.eol, asks.today)]
    return max(alive or lines, key=lambda row: (row.lts and wanted is None, _order(row.version)))


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _why(asks: Question, line: ContainerdLine, wanted: KubernetesLine | None) -> str:
    if wanted is None:
        return "the newest line with long-term support"
    served = "" if past(line.eol, asks.today) else "still served "
    least = next(item for item in wanted.containerd if item.startswith(f"{line.version}."))
    return f"the newest line {served}that Kubernetes {wanted.version} accepts, from {least} on"


def _eol_warning(asks: Question, line: ContainerdLine, wanted: KubernetesLine | None) -> str:
    text = f"containerd {line.version} has been at its end of life since {line.eol}"
    if asks.asked.containerd is None and wanted is not None:
        return f"{text}, as has every line that Kubernetes {wanted.version} accepts"
    return text


def _refused(wanted: KubernetesLine, version: str) -> Conflict:
    accepted = listed(tuple(f"{oldest} or later" for oldest in wanted.containerd))
    return Conflict(
        what=f"Kubernetes {wanted.version} does not accept containerd {version}",
        hint=f"of each line it accepts {accepted}",
    )

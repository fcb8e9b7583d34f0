"""``aiprov resolve``: one set of versions that fit together, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aiprov import FORMAT_VERSION
from aiprov.cli.output import print_json
from aiprov.errors import UsageError

if TYPE_CHECKING:
    from aiprov.catalog import OperatingSystem
    from aiprov.catalog.resolution import Driver, Refusal, Resolution


@click.command()
@click.option("--os", "system", required=True, metavar="ID-VERSION",
              help="The host's OS: ubuntu-24.04, debian-13, rocky-9 …")  # fmt: skip
@click.option("--architecture", "--arch", default="x86_64", show_default=True,
              type=click.Choice(["x86_64", "aarch64"]), help="Of the host's CPU.")  # fmt: skip
@click.option("--gpu", "gpus", multiple=True, metavar="ID|MODEL",
              help="PCI id (10de:2335) or model (L40S). May be repeated.")  # fmt: skip
@click.option("--kernel", "kernels", multiple=True, metavar="RELEASE",
              help="Kernel that needs modules, as uname -r says it. May be repeated.")  # fmt: skip
@click.option("--secure-boot", is_flag=True, help="Secure Boot is on.")
@click.option("--mok-enrolled", is_flag=True, help="The key that DKMS signs with is enrolled.")
@click.option("--driver", metavar="BRANCH", help="Driver branch or version: 580, 580.178.04.")
@click.option("--kernel-modules", "modules", type=click.Choice(["open", "proprietary"]),
              help="Which of NVIDIA's kernel modules.")  # fmt: skip
@click.option("--source", type=click.Choice(["nvidia", "distribution"]),
              help="Whose driver packages.")  # fmt: skip
@click.option("--graphics", is_flag=True, help="The driver for displays too, not only to compute.")
@click.option("--cuda", multiple=True, metavar="VERSION", help="CUDA toolkit. May be repeated.")
@click.option("--containerd", metavar="VERSION", help="containerd: 2.3.")
@click.option("--kubernetes", metavar="VERSION", help="Kubernetes: 1.36.")
@click.option("--toolkit", metavar="VERSION", help="NVIDIA's container toolkit: 1.20.0.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def resolve(system: str, gpus: tuple[str, ...], as_json: bool, **wishes: Any) -> int:
    """Find driver, CUDA, containerd and Kubernetes that fit together. Connects to nothing.

    What contradicts itself is refused with exit code 1, the reason and what works nearby.
    """
    from datetime import date

    from aiprov.catalog import models, resolver
    from aiprov.catalog.resolution import Asked

    asked = Asked(
        os=_operating_system(system),
        gpus=tuple(models.pci_id(word) for word in gpus),
        today=date.today(),
        **wishes,
    )
    found = resolver.resolve(asked)
    if as_json:
        document = _set_document(found) if found.ok else _refusal_document(found)
        print_json(document)
    else:
        click.echo(_set_text(found) if found.ok else _refusal_text(found))
    return 0 if found.ok else 1


def _operating_system(word: str) -> OperatingSystem:
    """The OS of ``ubuntu-24.04``. Raises ``UsageError`` naming the nearest for any other word."""
    from difflib import get_close_matches

    from aiprov import catalog

    known = {f"{row.id}-{row.version}": row for row in catalog.operating_systems()}
    name, _, version = word.lower().partition("-")
    for given in (word.lower(), f"{name}-{version.partition('.')[0]}"):
        row = known.get(given)
        if row is not None and (given == word.lower() or row.family == "redhat"):
            return row
    near = get_close_matches(word.lower(), known, n=1, cutoff=0.4)
    mean = f"did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"{word!r} is no OS that is supported", hint=f"{mean}supported are {', '.join(known)}"
    )


def _set_document(found: Resolution) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "ok": True,
        "driver": None if found.driver is None else _driver_document(found.driver),
        "cuda": [
            {
                "version": item.version,
                "packages": list(item.packages),
                "minimum_driver": item.minimum_driver,
            }
            for item in found.cuda
        ],
        "fabric_manager": found.fabric_manager,
        "nvlink5": found.nvlink5,
        "imex": found.imex,
        "coherent": found.coherent,
        "containerd": None
        if found.containerd is None
        else {
            "version": found.containerd.version,
            "config_schema": found.containerd.config_schema,
        },
        "kubernetes": found.kubernetes,
        "warnings": list(found.warnings),
        "reasons": list(found.reasons),
    }


def _driver_document(driver: Driver) -> dict[str, Any]:
    return {
        "branch": driver.branch,
        "version": driver.version,
        "minimum": driver.minimum,
        "kernel_modules": driver.kernel_modules,
        "source": driver.source,
        "build": driver.build,
        "stream": driver.stream,
        "packages": list(driver.packages),
        "locked": list(driver.locked),
        "replaced": list(driver.replaced),
    }


def _refusal_document(found: Refusal) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "ok": False,
        "conflicts": [{"what": item.what, "hint": item.hint} for item in found.conflicts],
        "nearest": list(found.nearest),
        "warnings": list(found.warnings),
    }


def _set_text(found: Resolution) -> str:
    lines = [f"- {reason}" for reason in found.reasons]
    lines += [f"warning: {warning}" for warning in found.warnings]
    driver = found.driver
    if driver is not None:
        of = f"module stream nvidia-driver:{driver.stream}, " if driver.stream else ""
        least = f", at least {driver.minimum}" if driver.minimum else ""
        lines.append(f"driver      {driver.version or driver.branch}{least}")
        lines.append(f"packages    {of}{' '.join(driver.packages)}")
    for item in found.cuda:
        lines.append(f"CUDA        {item.version}: {' '.join(item.packages)}")
    if found.containerd is not None:
        schema = found.containerd.config_schema
        lines.append(f"containerd  {found.containerd.version}, config schema {schema}")
    if found.kubernetes is not None:
        lines.append(f"Kubernetes  {found.kubernetes}")
    return "\n".join(lines)


def _refusal_text(found: Refusal) -> str:
    lines = []
    for item in found.conflicts:
        lines += [f"conflict: {item.what}", f"  hint: {item.hint}"]
    lines += [f"warning: {warning}" for warning in found.warnings]
    if found.nearest:
        lines += ["what works nearby:", *(f"- {text}" for text in found.nearest)]
    return "\n".join(lines)

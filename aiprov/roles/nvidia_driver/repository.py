"""Where the driver's packages come from: NVIDIA's repository, or the distribution's own.

NVIDIA's key is either given, or fetched from the repository and checked against the catalog: on
Debian and Ubuntu out of NVIDIA's keyring package, on the RHEL family as the key itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov import catalog
from aiprov.catalog import OperatingSystem, nvidia_repositories
from aiprov.catalog.nvidia_repositories import CudaRepository
from aiprov.catalog.resolution import Driver
from aiprov.errors import UnsupportedError
from aiprov.programs import path, program
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    Directory,
    DnfRepository,
    Package,
    PathExists,
    Resource,
    Succeeds,
)
from aiprov.roles.nvidia_driver.settings import Vars
from aiprov.survey.facts import Facts

NAME = "nvidia-cuda"
KEYS = "/usr/local/share/aiprov/nvidia-keyring"
KEYRING = f"{KEYS}/usr/share/keyrings/cuda-archive-keyring.gpg"
RPM_KEY = f"/etc/pki/rpm-gpg/RPM-GPG-KEY-{NAME}"


def repositories(
    vars: Vars, host: Facts, driver: Driver, settings: Mapping[str, Any]
) -> list[Resource]:
    """The repositories that the driver's packages need; NVIDIA's goes where nothing needs it.

    ``settings``: those of all the host's roles. Raises ``UnsupportedError``.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    if driver.source == "nvidia":
        return [
            *cuda_repository(
                host, vars.nvidia_driver_repository_url, vars.nvidia_driver_repository_key
            ),
            *_epel(vars, os),
        ]
    # Newer parts of NVIDIA's driver would be drawn in beside the distribution's.
    unneeded = not {"cuda", "dcgm"} & settings.keys()
    left = [Absent(path=f"/etc/apt/sources.list.d/{NAME}.sources")] if unneeded else []
    return [*left, *([_non_free(vars, os)] if os.id == "debian" else [])]


def cuda_repository(host: Facts, url: str, key: str | None) -> list[Resource]:
    """NVIDIA's repository of the driver and CUDA; what else names it on the host goes.

    ``url``: its base, below which each OS has its own. ``key``: its armoured key; ``None``: as the
    catalog knows it. Raises ``UnsupportedError`` where NVIDIA has none for this OS.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    row = nvidia_repositories.cuda_repository(os)
    text = key or nvidia_repositories.signing_key(row.key).text
    base = f"{url}/{row.path(host.architecture)}"
    if os.family == "debian":
        return _apt(row, host, url, base, text)
    return _dnf(row, os, host, base, text)


def _apt(row: CudaRepository, host: Facts, url: str, base: str, key: str | None) -> list[Resource]:
    name = row.path(host.architecture).replace("/", "-")
    return [
        Package(name="ca-certificates"),  # a small Debian has none, and the URL is https
        # NVIDIA's own package names the same repository with another key file: apt refuses both.
        Package(name="cuda-keyring", absent=True),
        Absent(path=f"/etc/apt/sources.list.d/cuda-{name}.list"),
        Absent(path="/etc/apt/sources.list.d/cuda.list"),
        *([] if key else _keyring(row, host, url)),
        AptRepository(
            name=NAME,
            uris=(f"{base}/",),
            suites=("/",),
            architectures=(host.deb_architecture,),
            key=key,
            signed_by=None if key else KEYRING,
        ),
    ]


def _keyring(row: CudaRepository, host: Facts, url: str) -> list[Resource]:
    """NVIDIA's keyring package, fetched by apt's own tool, which checks it, and taken apart.

    The key is the same for all machines: where the package of this one's architecture has no
    known checksum, that of x86_64 is taken. Raises ``UnsupportedError`` where neither has.
    """
    for architecture in (host.architecture, "x86_64"):
        checksum = row.keyring_checksum(architecture)
        if checksum is not None:
            break
    else:
        raise UnsupportedError(
            f"no checksum of NVIDIA's keyring for {host.os_name} is known",
            hint="set nvidia_driver_repository_key to the repository's armoured key",
        )
    package = f"{KEYS}/{row.keyring}"
    fetch = "fetch NVIDIA's keyring"
    return [
        Directory(path="/usr/local/share/aiprov"),
        Directory(path=KEYS),
        Command(
            name=fetch,
            argv=(
                "/usr/lib/apt/apt-helper",
                "download-file",
                f"{url}/{row.path(architecture)}/{row.keyring}",
                package,
                f"SHA256:{checksum}",
            ),
            unless=PathExists(path=package),
        ),
        Command(
            name="unpack NVIDIA's keyring",
            argv=("dpkg-deb", "--extract", package, KEYS),
            unless=PathExists(path=KEYRING),
            after=(f"Command[{fetch}]",),
        ),
    ]


def _dnf(
    row: CudaRepository, os: OperatingSystem, host: Facts, base: str, key: str | None
) -> list[Resource]:
    return [
        Absent(path=f"/etc/yum.repos.d/cuda-{row.name}.repo"),
        *([] if key else _rpm_key(row, host, base)),
        DnfRepository(
            name=NAME,
            description=f"NVIDIA driver and CUDA for {os.name}",
            baseurl=base,
            key=key,
        ),
    ]


def _rpm_key(row: CudaRepository, host: Facts, base: str) -> list[Resource]:
    """NVIDIA's key, fetched, checked and known to rpm: dnf then asks for no other."""
    signing = nvidia_repositories.signing_key(row.key)
    if signing.sha256 is None:
        raise UnsupportedError(
            f"no checksum of NVIDIA's key for {host.os_name} is known",
            hint="set nvidia_driver_repository_key to the repository's armoured key",
        )
    fetch = (path("signing-key"), f"{base}/{signing.path}", RPM_KEY, signing.sha256)
    known = f"gpg-pubkey-{signing.path.partition('.')[0].lower()}"
    return [
        *program("signing-key", host),
        Command(
            name="fetch NVIDIA's key",
            argv=fetch,
            unless=Succeeds(argv=(*fetch, "--there")),
        ),
        Command(
            name="trust NVIDIA's key",
            argv=("rpm", "--import", RPM_KEY),
            unless=Succeeds(argv=("rpm", "--query", known)),
        ),
    ]


def _epel(vars: Vars, os: OperatingSystem) -> list[Resource]:
    """EPEL has dkms. Its repository comes with a package of Rocky's and Alma's own."""
    clone = os.family == "redhat" and os.id != "rhel"
    return [Package(name="epel-release")] if clone and vars.nvidia_driver_epel else []


def _non_free(vars: Vars, os: OperatingSystem) -> AptRepository:
    return AptRepository(
        name="debian-non-free",
        uris=(vars.nvidia_driver_distribution_url,),
        suites=(os.codename, f"{os.codename}-updates"),
        components=("contrib", "non-free", "non-free-firmware"),
        signed_by=vars.nvidia_driver_distribution_keyring,
    )

"""Repositories of DOCA-OFED and of GDRCopy."""

from __future__ import annotations

from aiprov.catalog import OperatingSystem, rdma
from aiprov.errors import UnsupportedError
from aiprov.resources import AptRepository, DnfRepository, Package, Resource
from aiprov.roles.gpu_rdma.settings import Vars
from aiprov.survey.facts import Facts


def doca(vars: Vars, os: OperatingSystem, host: Facts) -> list[Resource]:
    """DOCA's repository. Raises ``UnsupportedError`` where its URL has to be given."""
    row = rdma.doca(os)
    url = vars.gpu_rdma_doca_repository_url
    if url is None and row is not None:
        path = row.path.format(
            version=vars.gpu_rdma_doca_version or row.version,
            os_version=os.version,
            architecture=rdma.doca_architecture(host.architecture),
        )
        url = f"{rdma.DOCA_URL}/{path}"
    if url is None:
        raise UnsupportedError(
            f"where DOCA's repository for {os.name} is, is not known",
            hint=f"set gpu_rdma_doca_repository_url to the folder below {rdma.DOCA_URL} that is "
            "for this OS and architecture",
        )
    return _flat(os, host, "doca", "NVIDIA DOCA", url, vars.gpu_rdma_doca_repository_key)


def gdrcopy(vars: Vars, os: OperatingSystem, host: Facts) -> list[Resource]:
    """The repository that has GDRCopy, where one was given."""
    url = vars.gpu_rdma_gdrcopy_repository_url
    if url is None:
        return []
    return _flat(os, host, "gdrcopy", "NVIDIA GDRCopy", url, vars.gpu_rdma_gdrcopy_repository_key)


def _flat(
    os: OperatingSystem, host: Facts, name: str, description: str, url: str, key: str | None
) -> list[Resource]:
    """A repository whose index lies beside its packages."""
    if os.family == "redhat":
        return [DnfRepository(name=name, description=description, baseurl=url, key=key)]
    return [
        Package(name="ca-certificates"),
        AptRepository(
            name=name,
            uris=(f"{url}/",),
            suites=("/",),
            architectures=(host.deb_architecture,),
            key=key,
        ),
    ]

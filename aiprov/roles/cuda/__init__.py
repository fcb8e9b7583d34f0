"""CUDA toolkits, side by side, and which of them /usr/local/cuda is.

The packages are the toolkits alone, each by its own name (``cuda-toolkit-13-0``): ``cuda`` and
``cuda-13-0`` would bring a driver, and ``cuda-toolkit`` moves to another toolkit with each upgrade.
A host without a GPU may have them too, to build on. Toolkits that are no longer asked for stay:
other people's programs may need them.

The loader knows the libraries of the default toolkit by ``/etc/ld.so.conf.d``; ``LD_LIBRARY_PATH``
is left alone, because it would reach into containers and virtual environments with their own CUDA.
"""

from __future__ import annotations

from aiprov import catalog, stack
from aiprov.catalog import OperatingSystem, cuda_libraries, drivers, gpus
from aiprov.catalog import cuda as toolkits
from aiprov.catalog.nvidia_repositories import nvidia_architecture
from aiprov.catalog.resolution import Resolution
from aiprov.errors import UnsupportedError
from aiprov.programs import path, program
from aiprov.resources import (
    Absent,
    Command,
    File,
    Package,
    Resource,
    Succeeds,
    UpToDate,
    address,
)
from aiprov.roles import Cluster, Note
from aiprov.roles.cuda.repository import repository
from aiprov.roles.cuda.settings import Vars, minor
from aiprov.survey.facts import Facts

__all__ = ["AFTER", "REQUIRES", "Vars", "notes", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ("nvidia_driver",)

HOME = "/usr/local/cuda"
PROFILE = "/etc/profile.d/cuda.sh"
LIBRARIES = "/etc/ld.so.conf.d/aiprov-cuda.conf"
CACHE = "/etc/ld.so.cache"
EXPECT = "expect-output"


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Hosts of architectures that NVIDIA builds no CUDA for have no use for it."""
    try:
        nvidia_architecture(host.architecture)
    except UnsupportedError as error:
        return error.message
    return None


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """The repository, toolkits and libraries, the default toolkit, and that each compiler is there.

    Raises ``UnsupportedError`` where a toolkit does not fit the GPUs or the driver.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    settings = {**cluster.settings, "cuda": vars}
    wanted = versions(vars, host, stack.resolved(host, settings))
    settings["cuda"] = vars.model_copy(update={"cuda_versions": wanted})
    resolution = stack.resolved(host, settings)
    default = minor(vars.cuda_default or _newest(wanted))
    held = vars.cuda_hold and os.hold_package is not None
    found: list[Resource] = [
        *repository(host, settings, resolution),
        *([Package(name=os.hold_package)] if held and os.hold_package else []),
        *_toolkits(vars, wanted, resolution),
        *_cudnn(vars, os, wanted),
        *_nccl(vars, os, default),
        *_default(vars, host, default),
        *program(EXPECT, host),
        *(_compiler(minor(version)) for version in wanted),
    ]
    return list({address(item): item for item in found}.values())


def notes(vars: Vars, host: Facts, cluster: Cluster) -> list[Note]:
    """Why it is this toolkit, where none was asked for."""
    if vars.cuda_versions:
        return []
    resolution = stack.resolved(host, {**cluster.settings, "cuda": vars})
    version = versions(vars, host, resolution)[0]
    return [Note(level="reason", text=f"CUDA {version}: {_why(resolution)}")]


def versions(vars: Vars, host: Facts, resolution: Resolution) -> tuple[str, ...]:
    """The toolkits to have: those asked for, or the newest that was made for the host's driver."""
    if vars.cuda_versions:
        return vars.cuda_versions
    branch = _branch(resolution)
    architectures = {model.architecture for model in stack.gpu_models(host)}
    fitting = [
        row
        for row in toolkits.toolkits()
        if int(row.bundled_driver.partition(".")[0]) <= branch
        and all(_compiles(row, architecture) for architecture in architectures)
    ]
    if not fitting:
        raise UnsupportedError(
            f"no CUDA that the catalog knows was made for driver {branch} and this host's GPUs",
            hint="set cuda_versions",
        )
    return (fitting[-1].version,)


def _compiles(row: toolkits.Toolkit, architecture: gpus.Architecture) -> bool:
    limits = drivers.support(architecture)
    return toolkits.compiles_for(row, limits.first_cuda, limits.last_cuda)


def _branch(resolution: Resolution) -> int:
    """The driver's branch; without a driver the newest that NVIDIA serves for long."""
    if resolution.driver is not None:
        return int(resolution.driver.branch)
    today = max(row.date for row in drivers.branches())
    lasting = (row for row in drivers.branches() if row.kind in ("long-term", "production"))
    return max(row.number for row in lasting if row.eol is not None and row.eol >= today)


def _why(resolution: Resolution) -> str:
    if resolution.driver is not None:
        return f"the newest that was made for driver {resolution.driver.branch} or an older one"
    return f"there is no driver; the newest that was made for driver {_branch(resolution)}"


def _newest(wanted: tuple[str, ...]) -> str:
    return max(wanted, key=lambda version: tuple(int(part) for part in version.split(".")))


def _toolkits(vars: Vars, wanted: tuple[str, ...], resolution: Resolution) -> list[Resource]:
    """The toolkits' packages, at the update that is asked for where one is."""
    updates = {minor(version): version for version in wanted if version != minor(version)}
    return [
        Package(name=name, version=updates.get(item.version), hold=vars.cuda_hold)
        for item in resolution.cuda
        for name in item.packages
    ]


def _majors(wanted: tuple[str, ...]) -> list[int]:
    return sorted({int(version.partition(".")[0]) for version in wanted})


def _cudnn(vars: Vars, os: OperatingSystem, wanted: tuple[str, ...]) -> list[Resource]:
    """cuDNN for each CUDA major, all at one version."""
    if vars.cuda_cudnn is False:
        return []
    row = cuda_libraries.cudnn()
    version = vars.cuda_cudnn if isinstance(vars.cuda_cudnn, str) else None
    names = [
        name
        for major in _majors(wanted)
        if major >= row.oldest_cuda
        for name in row.packages(os, major)
    ]
    return [
        *(Package(name=name) for name in row.beside(os)),
        *(
            Package(name=name, version=version, hold=vars.cuda_hold, together="cuDNN")
            for name in names
        ),
    ]


def _nccl(vars: Vars, os: OperatingSystem, default: str) -> list[Resource]:
    """NCCL for the default toolkit's major: a host has one."""
    if vars.cuda_nccl is False:
        return []
    row = cuda_libraries.nccl(int(default.partition(".")[0]))
    build = vars.cuda_nccl if isinstance(vars.cuda_nccl, str) else row.build
    return [Package(name=name, version=build, hold=vars.cuda_hold) for name in row.packages(os)]


def _default(vars: Vars, host: Facts, default: str) -> list[Resource]:
    """What /usr/local/cuda leads to, for the shell and for the loader."""
    architecture = nvidia_architecture(host.architecture)
    name = f"CUDA {default} at {HOME}"
    libraries = f"{HOME}/lib64\n{HOME}/targets/{architecture}-linux/lib\n"
    return [
        Command(
            name=name,
            argv=("update-alternatives", "--set", "cuda", f"{HOME}-{default}"),
            # The same folder, by whichever links.
            unless=Succeeds(argv=("test", f"{HOME}/", "-ef", f"{HOME}-{default}")),
        ),
        _profile(vars),
        File(path=LIBRARIES, content=libraries),
        Command(
            name="ldconfig for CUDA",
            argv=("ldconfig",),
            unless=UpToDate(output=CACHE, inputs=(LIBRARIES,)),
            after=(f"Command[{name}]",),
        ),
    ]


def _profile(vars: Vars) -> Resource:
    if not vars.cuda_profile:
        return Absent(path=PROFILE)
    # Two lines: in one, the second word would be expanded before the first is assigned.
    return File(
        path=PROFILE, content=f"export CUDA_HOME={HOME}\nexport PATH=$CUDA_HOME/bin:$PATH\n"
    )


def _compiler(version: str) -> Resource:
    """That the toolkit's compiler is there and says its version, which nvidia-smi does not."""
    argv = (path(EXPECT), f"release {version},", f"{HOME}-{version}/bin/nvcc", "--version")
    return Command(name=f"nvcc of CUDA {version}", argv=argv, unless=Succeeds(argv=argv))

"""Validation's part of a host: what measures its GPUs, and the contract of what it should have.

A payload of Python files, laid anew whenever aiprov brings others, and PyTorch: in a virtual
environment of its own, which nothing else on the host uses, or in a container image. The contract,
``/etc/aiprov/expectations.json``, says which GPUs, driver, links and ports ``aiprov validate`` has
to find. Nothing runs here until a validation is started.

PyTorch is refused where its CUDA needs a newer driver than the host is to have, or has no kernels
for its GPUs, as far as the catalog knows.
"""

from __future__ import annotations

from aiprov import payload_files, stack
from aiprov.programs import path, program
from aiprov.resources import Command, Directory, File, Resource, Succeeds
from aiprov.roles import Cluster, Note
from aiprov.roles.gpu_validation import container, contract, environment, layout
from aiprov.roles.gpu_validation.settings import Vars
from aiprov.survey.facts import Facts

__all__ = ["AFTER", "REQUIRES", "Vars", "notes", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ()
AFTER: tuple[str, ...] = (
    "nvidia_driver",
    "gpu_rdma",
    "gpu_sharing",
    "docker",
    "nvidia_container_toolkit",
)


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Hosts without an NVIDIA GPU have nothing to measure, unless their processors are asked for.

    Where GPUs are expected and gone it is laid all the same: validation finds that.
    """
    expected = vars.gpu_validation_gpu_count or vars.gpu_validation_device == "cpu"
    return None if expected else stack.no_gpu(host)


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """The payload, how it is started, the contract and PyTorch; its version comes last.

    Raises ``UnsupportedError`` where PyTorch does not fit the host.
    """
    runtime = container if vars.gpu_validation_mode == "container" else environment
    return [
        *program(layout.PROGRAM, host),
        *(Directory(path=folder) for folder in layout.FOLDERS),
        Directory(path=layout.STATE, mode=0o700),
        *_payload(),
        File(path=layout.LAUNCHER, content=runtime.launcher(vars, host), mode=0o755),
        *contract.resources(vars, host, cluster.settings),
        *runtime.resources(vars, host, cluster.settings),
        File(path=layout.VERSION, content=f"{payload_files.version()}\n"),
    ]


def notes(vars: Vars, host: Facts, cluster: Cluster) -> list[Note]:
    """Which PyTorch it is, and what the contract leaves open."""
    told = []
    if vars.gpu_validation_mode == "venv":
        told.append(Note(level="reason", text=environment.reason(vars)))
    return [*told, *contract.notes(vars, host, cluster.settings)]


def _payload() -> list[Resource]:
    """The payload's files, and no others: those of another version would be imported too."""
    names = tuple(payload_files.files())
    folders = sorted({name.rpartition("/")[0] for name in names} - {""})
    only = (path(layout.PROGRAM), "only", layout.PACKAGE, *names)
    return [
        *(Directory(path=f"{layout.PACKAGE}/{folder}") for folder in folders),
        *(
            File(path=f"{layout.PACKAGE}/{name}", content=text)
            for name, text in payload_files.files().items()
        ),
        Command(
            name="remove files of other versions of the payload",
            argv=(path(layout.PROGRAM), "prune", layout.PACKAGE, *names),
            unless=Succeeds(argv=only),
        ),
    ]

"""How GPUs are shared: MIG layouts, CUDA's multi-process service (MPS), compute modes.

Layouts are checked against the catalog when planning: what does not fit on a GPU of the host is
refused before anything is touched. They are made only on GPUs that nothing runs on. Time slicing
is Kubernetes' business, not the host's.

What is no longer asked for goes: MPS stops, the compute mode is the default again, and MIG is
turned off on the GPUs that this role once gave a layout. MIG that others made is left alone.
"""

from __future__ import annotations

from aiprov import programs
from aiprov.errors import UnsupportedError
from aiprov.resources import Absent, Command, File, Resource, Service, Succeeds
from aiprov.roles import Cluster
from aiprov.roles.gpu_sharing import mig, mps
from aiprov.roles.gpu_sharing.settings import Vars
from aiprov.stack import no_gpu
from aiprov.survey.facts import Facts

__all__ = ["REQUIRES", "Vars", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ("nvidia_driver",)

MODE = "compute-mode"
MODE_UNIT = "aiprov-compute-mode.service"


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """A host without GPUs has none to share."""
    return no_gpu(host)


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """MIG first, then who may use the GPUs, then MPS, which uses them itself.

    Raises ``UnsupportedError`` for what does not go on the host's GPUs, or not together.
    """
    _refuse_together(vars, host)
    sharing = mps.resources(vars, host)
    others = [*mig.resources(vars, host), *_compute_mode(vars, host)]
    # MPS that is no longer wanted has to let go of the GPUs first.
    wanted = [*others, *sharing] if vars.gpu_sharing_mps else [*sharing, *others]
    return list(dict.fromkeys(wanted))  # programs lie in one folder


def _refuse_together(vars: Vars, host: Facts) -> None:
    cut = [address for address, made in mig.layouts(vars, host).items() if made is not None]
    if not cut:
        return
    if vars.gpu_sharing_mps:
        raise UnsupportedError(
            f"MPS and MIG on one host: {', '.join(cut)} would have a layout, and MPS would need a "
            "daemon for each of its instances",
            hint="set gpu_sharing_mps: false, or gpu_sharing_mig to layout: off",
        )
    if vars.gpu_sharing_compute_mode != "default":
        raise UnsupportedError(
            f"compute mode {vars.gpu_sharing_compute_mode} and MIG on one host: {', '.join(cut)} "
            "would have a layout, and a GPU in MIG mode knows the default alone",
            hint="set gpu_sharing_compute_mode: default, or gpu_sharing_mig to layout: off",
        )


def _compute_mode(vars: Vars, host: Facts) -> list[Resource]:
    """The mode of all GPUs. The driver forgets it at a reboot and with a reset."""
    program = programs.path(MODE)
    wanted = vars.gpu_sharing_compute_mode
    unit_file = f"/etc/systemd/system/{MODE_UNIT}"
    unit: list[Resource] = [
        File(path=unit_file, content=_unit(wanted)),
        Service(name=MODE_UNIT, enabled=True),
    ]
    if wanted == "default":
        unit = [Service(name=MODE_UNIT, enabled=False), Absent(path=unit_file)]
    return [
        *programs.program(MODE, host),
        *unit,
        Command(
            name="set compute mode",
            argv=(program, "apply", wanted),
            unless=Succeeds(argv=(program, "check", wanted)),
            waits_for=(f"File[{program}]", "Command[make MIG layouts]"),
        ),
    ]


def _unit(mode: str) -> str:
    return f"""\
[Unit]
Description=Compute mode of GPUs: {mode}
After=nvidia-persistenced.service nvidia-fabricmanager.service {mig.UNIT}
Before=nvidia-dcgm.service docker.service containerd.service crio.service kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={programs.path(MODE)} apply {mode}

[Install]
WantedBy=multi-user.target
"""

"""PyTorch in a container image that Docker runs with the GPUs."""

from __future__ import annotations

import shlex

from aiprov.errors import UnsupportedError
from aiprov.resources import Command, PathExists, Resource, Succeeds
from aiprov.roles.gpu_validation import layout
from aiprov.roles.gpu_validation.settings import Vars
from aiprov.stack import Settings
from aiprov.survey.facts import Facts

RDMA = "/dev/infiniband"


def resources(vars: Vars, host: Facts, settings: Settings) -> list[Resource]:
    """The image. A virtual environment of an earlier run goes.

    Raises ``UnsupportedError`` where the host does not have the roles that run it.
    """
    needed = ("docker", "nvidia_container_toolkit")[: 1 if _on_cpu(vars) else 2]
    missing = [slug for slug in needed if slug not in settings]
    if missing:
        raise UnsupportedError(
            f"gpu_validation_mode container needs {' and '.join(missing)}",
            hint=f"add to the host's aiprov_roles: {', '.join(missing)}; or take "
            "gpu_validation_mode: venv",
        )
    image = _image(vars)
    return [
        Command(
            name="remove the virtual environment",
            argv=("rm", "-rf", layout.VENV),
            unless=PathExists(path=layout.VENV, absent=True),
        ),
        Command(
            name="fetch the image with PyTorch",
            argv=("docker", "pull", "--quiet", image),
            unless=Succeeds(argv=("docker", "image", "inspect", "--format", "{{.Id}}", image)),
        ),
    ]


def launcher(vars: Vars, host: Facts) -> str:
    """The program that runs the payload in a container that goes with it.

    It shares the host's processes, so that nvidia-smi tells who uses the GPUs, its memory between
    processes and its network, which NCCL needs. It fetches nothing: the image is there.
    """
    words = ["docker", "run", "--rm", "--interactive", "--pull", "never"]
    words += ["--label", "aiprov=validation"]
    words += ["--network", "host", "--ipc", "host", "--pid", "host"]
    words += ["--ulimit", "memlock=-1", "--ulimit", "stack=67108864"]
    if not _on_cpu(vars):
        words += ["--gpus", "all", "--env", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"]
        # cuda:N is then what nvidia-smi calls N.
        words += ["--env", "CUDA_DEVICE_ORDER=PCI_BUS_ID"]
    if any(item.class_code[:4] == "0207" for item in host.pci_devices):
        words += ["--device", RDMA]
    words += ["--env", f"PYTHONPATH={layout.LIBRARY}", "--env", "PYTHONDONTWRITEBYTECODE=1"]
    words += ["--volume", f"{layout.LIBRARY}:{layout.LIBRARY}:ro"]
    words += ["--volume", f"{layout.STATE}:{layout.STATE}"]
    words += ["--workdir", layout.STATE, "--entrypoint", "python3", _image(vars)]
    words += ["-m", layout.PACKAGE.rpartition("/")[2]]
    text = " ".join(shlex.quote(word) for word in words)
    return f'#!/bin/sh\n# The payload of aiprov validate, in a container.\nexec {text} "$@"\n'


def _on_cpu(vars: Vars) -> bool:
    return vars.gpu_validation_device == "cpu"


def _image(vars: Vars) -> str:
    return str(vars.gpu_validation_image)

"""PyTorch in a virtual environment of its own, from pip."""

from __future__ import annotations

import re

from aiprov import catalog, stack
from aiprov.catalog import OperatingSystem, cuda, pytorch
from aiprov.errors import UnsupportedError
from aiprov.programs import interpreter, path
from aiprov.resources import Argv, Command, Package, Resource, Secret, Succeeds
from aiprov.roles.gpu_validation import layout
from aiprov.roles.gpu_validation.settings import Vars
from aiprov.stack import Settings
from aiprov.survey.facts import Facts

OTHER_PYTHON = "3.12"
"""Beside the system's own on RHEL 8 and 9: supported there as long as those are.

https://access.redhat.com/support/policy/updates/rhel-app-streams-life-cycle, 2026-11-21.
"""


def resources(vars: Vars, host: Facts, settings: Settings) -> list[Resource]:
    """The Python that makes the environment, and the environment with PyTorch.

    Raises ``UnsupportedError`` for a PyTorch that does not fit the host.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    refuse(vars, host, settings)
    python, package = _python(vars, os, host)
    environment = vars.pip_environment()
    wanted = _wanted(vars)
    argv: Argv = (path(layout.PROGRAM), "install", *wanted, "--python", python)
    if vars.index_url is not None:
        argv += ("--index-url", vars.index_url)
    if vars.gpu_validation_find_links is not None:
        argv += ("--find-links", vars.gpu_validation_find_links)
        argv += () if vars.gpu_validation_index_url else ("--no-index",)
    given = "".join(f"{name}={value}\n" for name, value in environment.items())
    parts = tuple(Secret(value) for name, value in environment.items() if name != "NO_PROXY")
    return [
        Package(name=package),
        Command(
            name="install PyTorch",
            argv=(*argv, *(["--environment"] if environment else [])),
            unless=Succeeds(argv=(path(layout.PROGRAM), "torch", *wanted)),
            stdin=Secret(given, parts=parts) if environment else None,
        ),
    ]


def launcher(vars: Vars, host: Facts) -> str:
    """The program that runs the payload with the environment's Python."""
    return (
        "#!/bin/sh\n"
        "# The payload of aiprov validate. No compiled files are left beside it.\n"
        f"PYTHONPATH={layout.LIBRARY} PYTHONDONTWRITEBYTECODE=1 \\\n"
        f'    exec {layout.VENV}/bin/python -m {layout.PACKAGE.rpartition("/")[2]} "$@"\n'
    )


def reason(vars: Vars) -> str:
    """Which PyTorch, from where."""
    line = build(vars)
    of = {None: "with the CUDA of whatever pip finds", "cpu": "for processors alone"}
    text = f"PyTorch {vars.gpu_validation_torch}, {of.get(line, f'with CUDA {line}')}"
    if _named(vars) is None and line is not None:
        text += ", which its wheel on PyPI has"
    return text


def build(vars: Vars) -> str | None:
    """The CUDA that PyTorch is built with (``cpu``: none); ``None``: that is not known.

    What version or index name is what they have. Where nothing is named it is taken to be PyPI, or
    a mirror of it.
    """
    if (named := _named(vars)) is not None:
        return named
    if vars.gpu_validation_find_links or vars.gpu_validation_index_url:
        return None
    row = pytorch.release(vars.gpu_validation_torch)
    return row.pypi_cuda if row is not None else None


def refuse(vars: Vars, host: Facts, settings: Settings) -> None:
    """Raise ``UnsupportedError`` where the build's CUDA does not fit the driver or the GPUs."""
    line = build(vars)
    if line is None or "cpu" in (line, vars.gpu_validation_device):
        return
    what = f"PyTorch {vars.gpu_validation_torch} with CUDA {line}"
    architectures = {model.architecture for model in stack.gpu_models(host)}
    without = sorted(architectures & set(pytorch.without(line)))
    if without:
        raise UnsupportedError(
            f"{what} has no kernels for {' and '.join(without)} GPUs",
            hint=_other_builds(vars, host),
        )
    driver = stack.resolved(host, settings).driver if "nvidia_driver" in settings else None
    if driver is None:
        return
    least = cuda.toolkit(line).minimum_driver
    at = driver.version or driver.branch
    if _older(at, least):
        raise UnsupportedError(
            f"{what} needs driver {least} or newer, the host's is {at}",
            hint=f"{_other_builds(vars, host, older_than=line)}; or take a newer driver",
        )


def _older(version: str, least: str) -> bool:
    """Whether a driver is older; of a branch alone (580) its newest version is meant."""
    at, wanted = (tuple(int(part) for part in text.split(".")) for text in (version, least))
    return at < wanted[: len(at)]


def _other_builds(vars: Vars, host: Facts, older_than: str | None = None) -> str:
    """The way out: the index with a build that serves the GPUs."""
    version = vars.gpu_validation_torch.partition("+")[0]
    architectures = {str(model.architecture) for model in stack.gpu_models(host)}
    found = [
        line
        for line in pytorch.alternatives(version, architectures)
        if older_than is None or line.partition(".")[0] != older_than.partition(".")[0]
    ]
    if not found:
        return "choose another gpu_validation_torch"
    names = " or ".join(f"{pytorch.INDEX}/cu{line.replace('.', '')}" for line in found)
    return f"set gpu_validation_index_url to {names}, or a mirror of it"


def _named(vars: Vars) -> str | None:
    """The build that the version or the index names: ``2.13.0+cu126``, ``…/whl/cu126``."""
    index = vars.gpu_validation_index_url
    texts = (
        vars.gpu_validation_torch.partition("+")[2],
        index.get_secret_value().rpartition("/")[2] if index else "",
    )
    for text in texts:
        if found := re.fullmatch(r"cu(\d+)(\d)", text):
            return f"{found[1]}.{found[2]}"
        if text == "cpu":
            return text
    return None


def _wanted(vars: Vars) -> Argv:
    """What the environment has to be. Of a build that is only taken for granted nothing is said."""
    named = _named(vars)
    line = () if named is None else ("--cuda", "none" if named == "cpu" else named)
    return (layout.VENV, "--version", vars.gpu_validation_torch, *line)


def _python(vars: Vars, os: OperatingSystem, host: Facts) -> tuple[str, str]:
    """The Python to make the environment with, and the package that brings it.

    Raises ``UnsupportedError`` where the OS has none that is new enough.
    """
    least = pytorch.too_old(os.python, vars.gpu_validation_torch)
    if os.family == "debian":
        if least is not None:
            raise UnsupportedError(
                f"PyTorch {vars.gpu_validation_torch} needs Python {least}, "
                f"{os.name} has {os.python}",
                hint=f"set gpu_validation_torch to {pytorch.tested()}, or take "
                "gpu_validation_mode: container",
            )
        return interpreter(host), "python3-venv"
    if least is None:
        return interpreter(host), "python3"
    return f"/usr/bin/python{OTHER_PYTHON}", f"python{OTHER_PYTHON}"

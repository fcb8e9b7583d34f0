"""The plain files behind some kinds of resources: every engine writes these same bytes.

The survey reads them back, so what they say is compared and not only that they are there.
"""

from __future__ import annotations

from aiprov.resources import (
    AptRepository,
    DnfRepository,
    File,
    KernelArgument,
    KernelModule,
    Sysctl,
)


def repository_files(repository: AptRepository | DnfRepository) -> tuple[File, ...]:
    """The plain files that make a repository: the source and, where one is given, its key."""
    if isinstance(repository, AptRepository):
        return _apt_files(repository)
    return _dnf_files(repository)


def _apt_files(repository: AptRepository) -> tuple[File, ...]:
    keyring = f"/etc/apt/keyrings/{repository.name}.asc"
    signed_by = keyring if repository.key is not None else repository.signed_by
    fields = {
        "Types": "deb",
        "URIs": " ".join(repository.uris),
        "Suites": " ".join(repository.suites),
        "Components": " ".join(repository.components),
        "Architectures": " ".join(repository.architectures),
        "Signed-By": signed_by or "",
    }
    text = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
    source = File(path=f"/etc/apt/sources.list.d/{repository.name}.sources", content=text)
    if repository.key is None:
        return (source,)
    return (File(path=keyring, content=repository.key), source)


def _dnf_files(repository: DnfRepository) -> tuple[File, ...]:
    keyfile = f"/etc/pki/rpm-gpg/RPM-GPG-KEY-{repository.name}"
    lines = [
        f"[{repository.name}]",
        f"name={repository.description}",
        f"baseurl={repository.baseurl}",
        "enabled=1",
        f"gpgcheck={int(repository.gpgcheck)}",
    ]
    if repository.key is not None:
        lines.append(f"gpgkey=file://{keyfile}")
    if repository.module_hotfixes:
        lines.append("module_hotfixes=1")
    if repository.exclude:
        lines.append(f"exclude={' '.join(repository.exclude)}")
    text = "\n".join(lines) + "\n"
    source = File(path=f"/etc/yum.repos.d/{repository.name}.repo", content=text)
    if repository.key is None:
        return (source,)
    return (File(path=keyfile, content=repository.key), source)


def module_file(module: KernelModule) -> File:
    """The file that loads the module at every boot."""
    return File(path=f"/etc/modules-load.d/aiprov-{module.name}.conf", content=f"{module.name}\n")


def sysctl_file(sysctl: Sysctl) -> File:
    """The file that sets the parameter at every boot."""
    name = sysctl.key.replace("/", ".")
    return File(
        path=f"/etc/sysctl.d/90-aiprov-{name}.conf", content=f"{sysctl.key} = {sysctl.value}\n"
    )


def grub_file(argument: KernelArgument) -> File:
    """Debian's and Ubuntu's drop-in for one kernel argument (RHEL's grubby keeps its own)."""
    name = "".join(c if c.isalnum() or c in "._" else "-" for c in argument.argument)
    line = f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {argument.argument}"\n'
    return File(path=f"/etc/default/grub.d/90-aiprov-{name}.cfg", content=line)

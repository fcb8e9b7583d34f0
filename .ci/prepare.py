"""Make this machine ready to run aiprov from a checkout: Debian packages, virtual environment.

``prepare.py VENV [--extra NAME] [--lab] [--python PATH]``. Needs nothing but Python's own library,
says what it installs, and does nothing the second time.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAB_TOOLS = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "gpg": "gnupg",
    "rpmbuild": "rpm",
    "createrepo_c": "createrepo-c",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--extra", help="also what the project's extra of that name needs")
    parser.add_argument("--lab", action="store_true", help="also what the lab's hosts need")
    parser.add_argument("--python", default=sys.executable, help="the controller's Python")
    given = parser.parse_args()
    if sys.version_info < (3, 11):
        sys.exit(f"aiprov needs Python 3.11 to 3.13 on the controller, this is {sys.version}")
    packages = missing_packages(lab=given.lab, own_python=given.python == sys.executable)
    if packages:
        install_packages(packages)
    venv = given.venv.absolute()
    make_venv(venv, given.python, given.extra)
    # The link comes before the copy that an editable install makes, which grows stale.
    subprocess.run([venv / "bin" / "python", "-m", "aiprov.collection"], check=True, cwd=ROOT)
    return 0


def missing_packages(*, lab: bool, own_python: bool) -> list[str]:
    """Debian packages that are needed and not there."""
    missing = []
    if own_python and importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    if lab:
        missing += [package for tool, package in LAB_TOOLS.items() if not shutil.which(tool)]
    return missing


def install_packages(packages: list[str]) -> None:
    """Install them when that is possible; say what to do when it is not."""
    names = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"missing Debian packages: {names} (install them as root)", flush=True)
        return
    print(f"installing Debian packages: {names}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", *packages]):
        subprocess.run(
            ["apt-get", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
        )


def make_venv(venv: Path, python: str, extra: str | None) -> None:
    """An environment with aiprov from this checkout, made anew when pyproject.toml changed."""
    project = (ROOT / "pyproject.toml").read_bytes()
    digest = hashlib.sha256(project + str(ROOT).encode()).hexdigest()
    stamp = venv / f".ready-{extra or 'base'}"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    print(f"preparing {venv.name}: a virtual environment with aiprov", flush=True)
    if not (venv / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
    wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
    command = [venv / "bin" / "python", "-m", "pip", "install", "-qq", "--editable", wanted]
    subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    stamp.write_text(digest)


if __name__ == "__main__":
    sys.exit(main())

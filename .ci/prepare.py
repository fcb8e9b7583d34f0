"""Make this machine ready to run aiprov from a checkout: Debian packages, virtual environment.

``prepare.py VENV [--extra NAME] [--lab] [--tools] [--torch VENV] [--python PATH]``. Needs nothing
but Python's own library, says what it installs, and does nothing the second time.
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
TEST_TOOLS = {
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "pg_ctlcluster": "postgresql",
}
"""What the tests need besides: a browser, for pages, and a database, for the history."""
CREATE_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")
TORCH = "torch==2.13.0"
"""What the payload's tests run on. On a CPU alone PyTorch's own index has smaller builds of it:
PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--extra", help="also what the project's extra of that name needs")
    parser.add_argument("--lab", action="store_true", help="also what the lab's hosts need")
    parser.add_argument("--tools", action="store_true", help="also what the tests use besides")
    parser.add_argument("--torch", type=Path, help="also an environment with PyTorch")
    parser.add_argument("--python", default=sys.executable, help="the controller's Python")
    given = parser.parse_args()
    if sys.version_info < (3, 11):
        sys.exit(f"aiprov needs Python 3.11 to 3.13 on the controller, this is {sys.version}")
    tools = {**(LAB_TOOLS if given.lab else {}), **(TEST_TOOLS if given.tools else {})}
    packages = missing_packages(tools, own_python=given.python == sys.executable)
    if packages:
        install_packages(packages)
    venv = given.venv.absolute()
    make_venv(venv, given.python, given.extra)
    if given.torch:
        make_torch(given.torch.absolute(), given.python)
    # The link comes before the copy that an editable install makes, which grows stale.
    subprocess.run([venv / "bin" / "python", "-m", "aiprov.collection"], check=True, cwd=ROOT)
    return 0


def missing_packages(tools: dict[str, str], *, own_python: bool) -> list[str]:
    """Debian packages that are needed and not there: those of programs, by their names."""
    missing = []
    if own_python and importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    return missing + [package for tool, package in tools.items() if not shutil.which(tool)]


def install_packages(packages: list[str]) -> None:
    """Install them when that is possible; say what to do when it is not."""
    names = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"missing Debian packages: {names} (install them as root)", flush=True)
        return
    print(f"installing Debian packages: {names}", flush=True)
    if "postgresql" in packages and not CREATE_CLUSTER.exists():
        # Debian's package would start a server of its own; the tests make theirs.
        CREATE_CLUSTER.parent.mkdir(exist_ok=True)
        CREATE_CLUSTER.write_text("create_main_cluster = false\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    keep = ["-o", "Dpkg::Options::=--force-confold"]
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", *keep, *packages]):
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
    install_into(venv, python, "--editable", f"{ROOT}[{extra}]" if extra else str(ROOT))
    stamp.write_text(digest)


def make_torch(venv: Path, python: str) -> None:
    """An environment with PyTorch and nothing of aiprov, as hosts have it."""
    stamp = venv / f".ready-{TORCH}"
    if not stamp.is_file():
        print(f"preparing {venv.name}: a virtual environment with PyTorch", flush=True)
        install_into(venv, python, TORCH)
        stamp.touch()


def install_into(venv: Path, python: str, *arguments: str) -> None:
    """Have pip install something into an environment, which is made where it is not there."""
    if not (venv / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
    command = [venv / "bin" / "python", "-m", "pip", "install", "-qq", *arguments]
    subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})


if __name__ == "__main__":
    sys.exit(main())

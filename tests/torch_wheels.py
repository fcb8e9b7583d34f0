"""Wheels of PyTorch for processors alone, as pip on this machine finds them: for lab hosts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from aiprov.catalog import pytorch


def download(folder: Path, python: str = "3.11") -> Path:
    """The wheels for that Python, with all that they need, in the folder; downloaded only once."""
    if not any(folder.glob("torch-*.whl")):
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
        argv += ["--python-version", python, "--dest", str(folder)]
        subprocess.run([*argv, f"torch=={pytorch.tested()}+cpu"], check=True, timeout=900)
    return folder


if __name__ == "__main__":
    download(Path(sys.argv[1]))

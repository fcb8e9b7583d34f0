"""PyTorch in a virtual environment of its own, and the payload's files beside it.

gpu-validation torch FOLDER --version V [--cuda C]
    0: the environment is whole, has that PyTorch (built with CUDA C), which can be imported
gpu-validation install FOLDER --version V [--cuda C] --python P [--index-url U] [--find-links F]
                              [--no-index] [--environment]
    make it anew with the Python P; with --environment, lines NAME=VALUE on standard input are pip's
gpu-validation only FOLDER NAME…     0: the folder has no files but these
gpu-validation prune FOLDER NAME…    remove all others

What is wrong is told on standard error. To be run as root, Python 3.6.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
from typing import Dict, Iterator, List, Optional

UNIT = "aiprov-validate.service"
IMPORTED = "aiprov-imported"
"""In the environment: which PyTorch was imported there. An install that was cut off has none."""
ASK_S = 60
IMPORT = (
    "import torch; assert torch.ones(2).sum().item() == 2; "
    "print(torch.__version__, 'with CUDA', torch.version.cuda)"
)
LAST_LINES = 15


class ValidationError(Exception):
    """It cannot be done, and why."""


def run(argv: List[str], environment: Optional[Dict[str, str]] = None) -> "tuple[int, str]":
    """A command's exit status and all that it said; 127 where it is not there."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, **(environment or {})),
            check=False,
        )
    except OSError as error:
        return 127, f"{argv[0]}: {error.strerror}"
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def must(argv: List[str], environment: Optional[Dict[str, str]] = None) -> str:
    """What a command said. Raises ``ValidationError`` with its last words where it fails."""
    status, said = run(argv, environment)
    if status:
        last = "\n".join("  " + line for line in said.splitlines()[-LAST_LINES:])
        words = " ".join(os.path.basename(argv[0]) if n == 0 else w for n, w in enumerate(argv))
        raise ValidationError(f"{words} failed ({status}):\n{last}")
    return said


def text_of(path: str) -> str:
    """A file's text; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read()
    except OSError:
        return ""


# ---------------------------------------------------------------- what is


def packages_folder(venv: str) -> Optional[str]:
    """Where the environment's packages lie; ``None`` where its Python does not run."""
    python = os.path.join(venv, "bin", "python")
    asked = "import sys; print('python{}.{}'.format(*sys.version_info))"
    status, said = run([python, "-I", "-S", "-c", asked])
    return os.path.join(venv, "lib", said, "site-packages") if status == 0 else None


def wrong(venv: str, version: str, cuda: Optional[str]) -> Iterator[str]:
    """What the environment is not."""
    folder = packages_folder(venv)
    if folder is None:
        yield f"{venv} has no Python that runs"
        return
    for name in distributions(folder):
        missing = incomplete(folder, name)
        if missing:
            yield f"{name.rpartition('.')[0]} is not whole: {missing}"
            return
    found = torch_version(folder)
    if found is None:
        yield "PyTorch is not installed"
    elif found != version and ("+" in version or found.partition("+")[0] != version):
        yield f"PyTorch is {found}, not {version}"
    elif cuda not in (None, built_with(folder)):
        yield f"PyTorch {found} is built with CUDA {built_with(folder)}, not {cuda}"
    elif text_of(os.path.join(venv, IMPORTED)).strip() != found:
        yield f"PyTorch {found} has not been imported yet"


def distributions(folder: str) -> List[str]:
    """The metadata folders of what is installed."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".dist-info"))
    except OSError:
        return []


def incomplete(folder: str, distribution: str) -> Optional[str]:
    """A file of a distribution that is not there, or not of the size that it should have.

    pip writes the list of files last, so one that was cut off has none.
    """
    record = os.path.join(folder, distribution, "RECORD")
    if not os.path.exists(record):
        return "pip was cut off"
    with open(record, encoding="utf-8", newline="") as source:
        for row in csv.reader(source):
            if len(row) != 3 or not row[2]:
                continue  # what has no size is made on the host: compiled files, the list itself
            path = os.path.join(folder, row[0])
            try:
                size = os.stat(path).st_size
            except OSError:
                return f"{row[0]} is not there"
            if str(size) != row[2]:
                return f"{row[0]} has {size} bytes, not {row[2]}"
    return None


def torch_version(folder: str) -> Optional[str]:
    """The PyTorch that is installed: ``2.13.0+cpu``."""
    for name in distributions(folder):
        if name.startswith("torch-"):
            found = re.search(
                r"^Version: *(\S+)", text_of(os.path.join(folder, name, "METADATA")), re.M
            )
            return found.group(1) if found else None
    return None


def built_with(folder: str) -> str:
    """The CUDA that it is built with, or ``none``."""
    text = text_of(os.path.join(folder, "torch", "version.py"))
    found = re.search(r"^cuda\b[^=\n]*= *['\"]([\d.]+)['\"]", text, re.M)
    return ".".join(found.group(1).split(".")[:2]) if found else "none"


# ---------------------------------------------------------------- doing


def install(asked: argparse.Namespace) -> None:
    """Make the environment. Raises ``ValidationError``."""
    venv, version = asked.folder, asked.version
    if run(["systemctl", "is-active", "--quiet", UNIT])[0] == 0:
        raise ValidationError(f"a validation runs with it: wait, or end it (systemctl stop {UNIT})")
    left = list(wrong(venv, version, asked.cuda))
    if left and "imported" not in left[0]:
        make(asked)
        left = list(wrong(venv, version, asked.cuda))
        if left and "imported" not in left[0]:
            raise ValidationError(left[0])
    said = must([os.path.join(venv, "bin", "python"), "-I", "-c", IMPORT])
    with open(os.path.join(venv, IMPORTED), "w", encoding="utf-8") as target:
        target.write((torch_version(packages_folder(venv) or "") or "") + "\n")
    sys.stdout.write(f"PyTorch {said.splitlines()[-1]}\n")


def make(asked: argparse.Namespace) -> None:
    """From nothing: what is left of another version, or of an install that was cut off, goes."""
    venv = asked.folder
    scratch = venv + ".tmp"
    for folder in (venv, scratch):
        if os.path.isdir(folder):
            shutil.rmtree(folder)
    must([asked.python, "-m", "venv", venv])
    os.mkdir(scratch, 0o700)
    pip = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "--no-input"]
    pip += ["--disable-pip-version-check", "--no-cache-dir", "--quiet"]
    pip += ["--no-index"] if asked.no_index else []
    pip += ["--index-url", asked.index_url] if asked.index_url else []
    pip += ["--find-links", asked.find_links] if asked.find_links else []
    # Wheels of CUDA are several GB: /tmp is often a small file system in memory.
    given = given_environment() if asked.environment else {}
    try:
        must([*pip, f"torch=={asked.version}"], dict(given, TMPDIR=scratch))
    finally:
        shutil.rmtree(scratch)


def given_environment() -> Dict[str, str]:
    """Variables for pip, from standard input: they may hold passwords."""
    pairs = (line.rstrip("\n").partition("=") for line in sys.stdin)
    return {name: value for name, equals, value in pairs if equals}


def others(folder: str, names: List[str]) -> List[str]:
    """The files below a folder that are none of these; compiled ones are where their source is."""
    found = []
    for at, _, files in os.walk(folder):
        for name in files:
            path = os.path.relpath(os.path.join(at, name), folder)
            source = path
            above, _, cached = path.rpartition("__pycache__/")
            if cached != path:
                source = above + cached.partition(".")[0] + ".py"
            if source not in names:
                found.append(path)
    return sorted(found)


# ---------------------------------------------------------------- verbs


def read(words: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu-validation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb")
    verbs.required = True
    for verb in ("torch", "install"):
        own = verbs.add_parser(verb)
        own.add_argument("folder")
        own.add_argument("--version", required=True)
        own.add_argument("--cuda")
    own.add_argument("--python", required=True)
    own.add_argument("--index-url")
    own.add_argument("--find-links")
    own.add_argument("--no-index", action="store_true")
    own.add_argument("--environment", action="store_true")
    for verb in ("only", "prune"):
        own = verbs.add_parser(verb)
        own.add_argument("folder")
        own.add_argument("names", nargs="+")
    return parser.parse_args(words)


def main(words: List[str]) -> int:
    """Run a verb."""
    asked = read(words)
    try:
        if asked.verb == "install":
            install(asked)
            return 0
        if asked.verb == "torch":
            said = list(wrong(asked.folder, asked.version, asked.cuda))
        else:
            said = others(asked.folder, asked.names)
        if asked.verb == "prune":
            for path in said:
                os.unlink(os.path.join(asked.folder, path))
                sys.stdout.write(f"removed {path}\n")
            return 0
    except (ValidationError, OSError) as error:
        sys.stderr.write(f"gpu-validation: {error}\n")
        return 2
    for line in said:
        sys.stdout.write(line + "\n")
    return 1 if said else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""This host as a node: its description, its files, commands, and how things are waited for."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

ROOT = os.environ.get("AIPROV_TEST_ROOT", "/")

KUBERNETES = "/etc/kubernetes"
FOLDER = "/etc/kubernetes/aiprov"
MANIFESTS = "/etc/kubernetes/manifests"
PKI = "/etc/kubernetes/pki"
ADMIN = "/etc/kubernetes/admin.conf"
KUBELET = "/etc/kubernetes/kubelet.conf"
INIT = "/etc/kubernetes/aiprov/init.yaml"
JOIN = "/etc/kubernetes/aiprov/join.yaml"
STARTED = "/etc/kubernetes/aiprov/started.json"
KEPT = "/etc/kubernetes/aiprov/kept"
STOPPED = "/etc/kubernetes/aiprov/stopped"
"""Where manifests of static pods are meanwhile. What is found there a run left that was cut off."""
RUN = "/run/aiprov/kubernetes"
SAID = "/run/aiprov/kubernetes/kubeadm.log"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
"""The static pods of a control plane, by the names of their manifests."""

COMMAND_S = 60
KUBEADM_S = 1200
PAUSE_S = float(os.environ.get("AIPROV_TEST_PAUSE_S", "2"))
"""Between two looks at what is waited for."""
TELL_S = 15
LISTEN_S = 0.1

_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")


class RefusedError(Exception):
    """What cannot be done, and the way out."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PassingError(RefusedError):
    """What may be over in a moment."""


class Peer(NamedTuple):
    """Another control plane, by the address and port of its API server."""

    name: str
    address: str
    port: int


class Node(NamedTuple):
    """What ``node.json`` says of this host; ``more`` is the whole document."""

    name: str
    control_plane: bool
    worker: bool
    first: bool
    endpoint: str
    api_port: int
    address: str
    peers: List[Peer]
    version: str
    cri_socket: str
    wait_s: float
    more: Dict[str, Any]

    @property
    def minor(self) -> int:
        """The minor version that it is to have."""
        return minor(self.version)

    @property
    def etcd_data(self) -> str:
        """The folder of its etcd."""
        return str(self.more.get("etcd_data_dir") or "/var/lib/etcd")

    @property
    def labels(self) -> Dict[str, str]:
        """The labels that it is to have."""
        return dict(self.more.get("labels") or {})


def minor(version: str) -> int:
    """The minor version: 20 of ``1.20.2`` and ``v1.20.2``."""
    return int(version.lstrip("v").split(".")[1])


def place(path: str) -> str:
    """Where a file of the host lies."""
    return os.path.join(ROOT, path.lstrip("/"))


def beside(program: str) -> str:
    """Where another program of aiprov's lies: this package's own folder is among them."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), program)


def exists(path: str) -> bool:
    """Whether there is something, be it a broken link."""
    return os.path.lexists(place(path))


def read(path: str) -> str:
    """A file's text; empty where there is none."""
    try:
        with open(place(path), encoding="utf-8", errors="replace") as source:
            return source.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def write(path: str, content: Union[str, bytes], mode: int = 0o600) -> None:
    """A file, whole or not at all: on a full disk nothing of it is left."""
    os.makedirs(os.path.dirname(place(path)), mode=0o700, exist_ok=True)
    scratch = f"{place(path)}.new"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as out:
            out.write(content.encode() if isinstance(content, str) else content)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.replace(scratch, place(path))
    except OSError:
        os.unlink(scratch)
        raise


def remove(path: str) -> None:
    """A file, link or folder with all in it, if it is there. Mounts in it are an error."""
    here = place(path)
    if os.path.isdir(here) and not os.path.islink(here):
        shutil.rmtree(here)
    elif os.path.lexists(here):
        os.unlink(here)


def inside(path: str) -> List[str]:
    """The names in a folder; none where there is no folder."""
    try:
        return sorted(os.listdir(place(path)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def document(path: str) -> Dict[str, Any]:
    """A file of JSON; empty where there is none. Raises ``RefusedError`` for what is no JSON."""
    text = read(path)
    try:
        return dict(json.loads(text)) if text else {}
    except (ValueError, TypeError) as error:
        raise RefusedError(f"{path} is damaged: {error}", "run aiprov again: it lays it") from error


def described() -> Node:
    """This host, by ``node.json``. Raises ``RefusedError`` where that is missing or lacks much."""
    path = f"{FOLDER}/node.json"
    found = document(path)
    if not found:
        raise RefusedError(f"{path} is not there", "run aiprov apply for this host: it lays it")
    try:
        return Node(
            name=found["name"],
            control_plane=found["control_plane"],
            worker=found["worker"],
            first=found["first"],
            endpoint=found["endpoint"],
            api_port=int(found["api_port"]),
            address=found["address"],
            peers=[Peer(one["name"], one["address"], int(one["port"])) for one in found["peers"]],
            version=found["version"].lstrip("v"),
            cri_socket=found["cri_socket"],
            wait_s=float(found["wait_s"]),
            more=found,
        )
    except KeyError as error:
        raise RefusedError(f"{path} lacks {error}", "run aiprov apply for this host") from error


def tell(text: str) -> None:
    """A line about what is being done."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- commands


class Done(NamedTuple):
    """A command that ended."""

    rc: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What it said at last."""
        return last_line(self.err or self.out) or "it said nothing"


def run(
    argv: List[str],
    timeout: float = COMMAND_S,
    stdin: str = "",
    hint: str = "",
    absent: str = "",
    env: Optional[Dict[str, str]] = None,
    pass_fds: Tuple[int, ...] = (),
) -> Done:
    """A command's end. Raises ``RefusedError`` where it is not there (``absent``: what to do then).

    Raises ``PassingError`` where it does not end in time (``hint``).
    """
    try:
        done = subprocess.run(  # noqa: UP022  Python 3.6 has no capture_output
            argv,
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            timeout=timeout,
            check=False,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise RefusedError(
            f"{argv[0]}: {error.strerror}", absent or f"install {argv[0]}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PassingError(f"{' '.join(argv)} did not end in {timeout:g} s", hint) from error
    texts = [stream.decode(errors="replace") for stream in (done.stdout, done.stderr)]
    return Done(done.returncode, *texts)


def must(argv: List[str], timeout: float = COMMAND_S, hint: str = "") -> str:
    """What a command prints. Raises ``RefusedError`` with what it said where it fails."""
    status, said, wrong = run(argv, timeout)
    if status != 0:
        raise RefusedError(f"{' '.join(argv)}: {last_line(wrong or said) or status}", hint)
    return said


def last_line(text: str) -> str:
    """The last line with something in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def kubeadm(*words: str, timeout: float = KUBEADM_S, hint: str = "") -> None:
    """Run kubeadm, and pass on what it says as it does, without tokens.

    It writes into a file, is no part of this terminal, and inherits the lock (see ``alone``): where
    this run is killed it goes on to its end, and the next run waits for it. Through a pipe it would
    die at its next word, be that between announcing an etcd member and starting it. Raises
    ``RefusedError`` with what it said at last where it fails.
    """
    argv = ["kubeadm", *words]
    tell(f"run {' '.join(argv)}")
    write(SAID, "")
    lines: List[str] = []
    with open(place(SAID), "ab") as out, open(place(SAID), "rb") as told:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                close_fds=False,
                start_new_session=True,
            )
        except OSError as error:
            raise RefusedError(f"kubeadm: {error.strerror}", "install kubeadm") from error
        end = time.monotonic() + timeout
        while True:
            ended = process.poll() is not None
            _pass_on(told, lines, ended)
            if ended:
                break
            if time.monotonic() > end:
                process.kill()
                process.wait()
                raise RefusedError(f"kubeadm {words[0]} did not end in {timeout:g} s", hint)
            time.sleep(LISTEN_S)
    remove(SAID)
    if process.returncode != 0:
        why = complaint(lines) or process.returncode
        raise RefusedError(f"kubeadm {' '.join(words[:2])}: {why}", hint)


def _pass_on(source: IO[bytes], lines: List[str], ended: bool) -> None:
    """Tell what was said since the last time, in whole lines, and keep the last of it."""
    for raw in iter(source.readline, b""):
        if not raw.endswith(b"\n") and not ended:
            source.seek(-len(raw), os.SEEK_CUR)
            return
        line = _TOKEN.sub("<token>", raw.decode(errors="replace").rstrip())
        lines[:] = [*lines[-40:], line]
        tell(f"  {line}")


def complaint(lines: List[str]) -> str:
    """What kubeadm says is wrong: its errors, or else its last line."""
    wrong = [line.strip() for line in lines if "[ERROR" in line or "error" in line[:12].lower()]
    return "; ".join(wrong[:6]) or last_line("\n".join(lines))


@contextmanager
def alone(wait_s: float) -> Iterator[None]:
    """No two runs on one host: wait for one that is under way, or for what it left running.

    Raises ``RefusedError`` where it does not end in time.
    """
    os.makedirs(place(RUN), mode=0o700, exist_ok=True)
    descriptor = os.open(place(f"{RUN}/lock"), os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)

    def mine() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not wait(mine, "another run on this host", wait_s):
            raise RefusedError(
                f"another run on this host is under way, and did not end in {wait_s:g} s",
                f"see who has {RUN}/lock open (fuser {RUN}/lock)",
            )
        yield
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------- waiting


def wait(holds: Callable[[], Any], what: str, timeout: float) -> bool:
    """Whether a condition comes to hold in time. Tells now and then what is waited for.

    It is looked at once more when the time is over.
    """
    end = time.monotonic() + timeout
    told: Optional[float] = None
    while True:
        now = time.monotonic()
        if holds():
            return True
        if now >= end:
            return False
        if told is None or now - told >= TELL_S:
            tell(f"waiting for {what}")
            told = now
        time.sleep(max(0.01, min(PAUSE_S, end - time.monotonic())))


def refused(program: str, error: RefusedError) -> int:
    """Tell why it cannot be done, and the way out; the exit status of that."""
    sys.stderr.write(f"{program}: {error}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
    return 2


def main(
    program: str,
    verbs: Dict[str, Callable[[Node], int]],
    words: List[str],
    who: Callable[[], Node] = described,
) -> int:
    """Run one of a program's verbs on this host; errors are told on standard error."""
    if len(words) != 1 or words[0] not in verbs:
        sys.stderr.write(f"{program}: usage: {program} {'|'.join(verbs)}\n")
        return 2
    os.environ["PATH"] = ":".join(
        (os.environ.get("PATH", "/usr/bin:/bin"), "/usr/local/sbin", "/usr/sbin", "/sbin")
    )
    os.environ["LC_ALL"] = "C"
    os.environ.pop("KUBECONFIG", None)  # kubeadm would ask that cluster
    os.umask(0o022)
    try:
        return verbs[words[0]](who())
    except RefusedError as error:
        return refused(program, error)
    except OSError as error:
        sys.stderr.write(f"{program}: {error.filename or ''}: {error.strerror or error}\n")
        return 2

"""One command on a host: its input, its lines as they come, its end."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from aiprov.connection import Connection
from aiprov.errors import BecomeError, UnreachableError
from aiprov.resources import Secret
from aiprov.survey.commands import run_argv
from aiprov.survey.transport.local import LocalTransport

HERE = Connection(name="here", address="localhost", kind="local")
SUDO = f"""#!{sys.executable} -S
import os, sys
words = sys.argv[1:]
if "-S" in words:
    sys.stderr.write(words[words.index("-p") + 1]); sys.stderr.flush()
    given = b""
    while not given.endswith(b"\\n"):
        given += os.read(0, 1)
    if given != b"right\\n":
        sys.exit("sudo: Sorry, try again.")
elif "-n" not in words:
    sys.exit("sudo: a terminal is required")
command = words[words.index("--") + 1:]
os.execv(command[0], command)
"""


def test_what_it_says_and_how_it_ends():
    code = "import sys; print('out'); sys.stderr.write('wrong\\n'); sys.exit(3)"
    done = run_argv(LocalTransport(HERE), HERE, (sys.executable, "-c", code), timeout_s=30)
    assert (done.rc, done.stdout, done.stderr) == (3, b"out\n", b"wrong\n")


@pytest.mark.parametrize("word", ["a b", "$(id)", "'", '"', ";", "", "ä", "*", "\\"])
def test_words_stay_as_they_are(word: str):
    code = "import sys; sys.stdout.buffer.write(sys.argv[1].encode())"
    argv = (sys.executable, "-c", code, word)
    assert run_argv(LocalTransport(HERE), HERE, argv, timeout_s=30).stdout.decode() == word


WAITS = """
import pathlib, sys, time
print("one", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
print("two", end="")
"""


def test_lines_are_told_as_they_come(tmp_path: Path):
    """It says no more, and does not end, before its first line has been told."""
    heard, told = tmp_path / "heard", list[str]()

    def on_line(stream: str, line: str) -> None:
        told.append(f"{stream}: {line}")
        heard.touch()

    argv = (sys.executable, "-c", WAITS, str(heard))
    done = run_argv(LocalTransport(HERE), HERE, argv, timeout_s=30, on_line=on_line)
    assert told == ["stdout: one", "stdout: two"]
    assert done.stdout == b"one\ntwo"


def test_much_goes_in_and_out_without_being_kept():
    pieces, out = [os.urandom(1 << 20) for _ in range(8)], io.BytesIO()
    done = run_argv(
        LocalTransport(HERE), HERE, ("cat",), stdin=iter(pieces), into=out, timeout_s=60
    )
    assert (done.rc, done.stdout) == (0, b"")
    assert out.getvalue() == b"".join(pieces)


def test_one_that_does_not_end_in_time_is_left():
    with pytest.raises(UnreachableError, match="sleep was not over within"):
        run_argv(LocalTransport(HERE), HERE, ("sleep", "20"), timeout_s=0.2)


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sudo that asks as the real one does, and changes no user."""
    (tmp_path / "sudo").write_text(SUDO)
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("sudo")
@pytest.mark.parametrize("password", [None, "right"])
def test_another_user_has_the_input_and_only_that(password: str | None):
    become = Connection(
        name="here", address="localhost", kind="local", become=True, become_user="other",
        become_password=Secret(password) if password else None,
    )  # fmt: skip
    done = run_argv(LocalTransport(become), become, ("cat",), stdin=[b"given"], timeout_s=30)
    assert (done.rc, done.stdout, done.stderr) == (0, b"given", b"")


@pytest.mark.usefixtures("sudo")
def test_a_user_that_is_refused_gets_nothing():
    become = Connection(
        name="here", address="localhost", kind="local", become=True, become_user="other",
        become_password=Secret("wrong"),
    )  # fmt: skip
    with pytest.raises(BecomeError, match="wrong password"):
        run_argv(LocalTransport(become), become, ("cat",), stdin=[b"given"], timeout_s=30)

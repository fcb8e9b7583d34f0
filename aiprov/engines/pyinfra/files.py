"""Operations for paths, where pyinfra's own would show a host something half done.

pyinfra's ``files.put`` writes through a temporary directory and then into place, and ``files.link``
removes before it creates. Here content is staged beside its target and renamed over it, so at any
moment the path holds all of the old or all of the new.
"""

from __future__ import annotations

import io
import posixpath
import secrets
from collections.abc import Generator

from pyinfra.api.command import FileUploadCommand, PyinfraCommand, QuoteString, StringCommand
from pyinfra.api.operation import operation

from aiprov.resources import STAGED, Argv, previous_path

_STAGED_PATTERN = ".*.aiprov-staged-????????"

Commands = Generator[PyinfraCommand, None, None]


def staged_path(path: str) -> str:
    """A new path beside the target. Hidden and without its extension: no ``*.conf`` reads it."""
    folder, name = posixpath.split(path)
    # Names are at most 255 bytes; what is cut off here is put in front again by nobody.
    short = name.encode()[:200].decode(errors="ignore")
    return posixpath.join(folder, f".{short}.aiprov-staged-{secrets.token_hex(4)}")


def quoted(argv: Argv) -> StringCommand:
    """A command from its arguments, each of them quoted."""
    return StringCommand(*(QuoteString(argument) for argument in argv))


def all_of(*commands: StringCommand) -> StringCommand:
    """One exchange for several commands: each runs if the one before succeeded."""
    bits: list[StringCommand | str] = []
    for command in commands:
        bits += ["&&", command] if bits else [command]
    return StringCommand(*bits)


@operation(is_idempotent=False)
def make_parents(path: str) -> Commands:
    """The folder of a file that aiprov itself lays down (a source, a drop-in)."""
    yield StringCommand("mkdir", "-p", "-m", "0755", "--", QuoteString(posixpath.dirname(path)))


@operation(is_idempotent=False)
def remove_staged(folder: str) -> Commands:
    """What a run that was killed left beside its targets."""
    yield StringCommand(
        *("find", QuoteString(f"{folder.rstrip('/')}/"), "-maxdepth", "1", "-type", "f"),
        *("-name", QuoteString(_STAGED_PATTERN), "-delete"),
    )


@operation(is_idempotent=False)
def stage(staged: str, data: bytes, mode: int, owner: str, group: str) -> Commands:
    """Content beside its target, on disk, with its final owner and mode."""
    yield FileUploadCommand(io.BytesIO(data), staged)
    yield _finish(staged, mode, owner, group)


@operation(is_idempotent=False)
def validate(argv: Argv, staged: str) -> Commands:
    """The tool's own opinion of the staged content."""
    yield quoted(tuple(argument.replace(STAGED, staged) for argument in argv))


@operation(is_idempotent=False)
def place(staged: str, path: str, keep_previous: bool) -> Commands:
    """The staged file in its place, by a rename."""
    yield _rename(staged, path, keep_previous)


@operation(is_idempotent=False)
def stage_and_place(
    staged: str, data: bytes, mode: int, owner: str, group: str, path: str, keep_previous: bool
) -> Commands:
    """Both in two exchanges, where nothing is to be asked in between."""
    yield FileUploadCommand(io.BytesIO(data), staged)
    yield all_of(_finish(staged, mode, owner, group), _rename(staged, path, keep_previous))


def _finish(staged: str, mode: int, owner: str, group: str) -> StringCommand:
    return all_of(
        StringCommand("chown", "--", QuoteString(f"{owner}:{group}"), QuoteString(staged)),
        StringCommand("chmod", f"{mode:04o}", "--", QuoteString(staged)),
        # On disk before it is renamed: a power cut must not leave an empty file in its place.
        StringCommand("sync", QuoteString(staged)),
    )


def _rename(staged: str, path: str, keep_previous: bool) -> StringCommand:
    put = StringCommand("mv", "-fT", "--", QuoteString(staged), QuoteString(path))
    return all_of(_keep(path), put) if keep_previous else put


def _keep(path: str) -> StringCommand:
    both = (QuoteString(path), QuoteString(previous_path(path)))
    # A file system without hard links gets a copy.
    link, copy = ("ln", "-fT", "--", *both), ("cp", "-pT", "--", *both)
    return StringCommand("{", *link, "||", *copy, ";", "}")


@operation(is_idempotent=False)
def discard(staged: str) -> Commands:
    """Nothing of a write that failed."""
    yield StringCommand("rm", "-f", "--", QuoteString(staged))


@operation(is_idempotent=False)
def own(path: str, mode: int, owner: str, group: str) -> Commands:
    """Owner and mode of a file whose content is right."""
    yield all_of(
        StringCommand("chown", "--", QuoteString(f"{owner}:{group}"), QuoteString(path)),
        StringCommand("chmod", f"{mode:04o}", "--", QuoteString(path)),
    )


@operation(is_idempotent=False)
def link(path: str, target: str) -> Commands:
    """A symbolic link, put over what is there by a rename."""
    staged = staged_path(path)
    yield all_of(
        StringCommand("ln", "-s", "--", QuoteString(target), QuoteString(staged)),
        StringCommand(
            *("{", "mv", "-fT", "--", QuoteString(staged), QuoteString(path), "||"),
            *("{", "rm", "-f", "--", QuoteString(staged), ";", "false", ";", "}", ";", "}"),
        ),
    )


@operation(is_idempotent=False)
def remove(path: str, was: str, keep_previous: bool) -> Commands:
    """A file, link or empty directory: never a full one."""
    if was == "directory":
        yield StringCommand("rmdir", "--", QuoteString(path))
    elif keep_previous:
        previous = QuoteString(previous_path(path))
        yield StringCommand("mv", "-fT", "--", QuoteString(path), previous)
    else:
        yield StringCommand("rm", "-f", "--", QuoteString(path))

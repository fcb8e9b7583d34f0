"""Changes of files, folders and links as calls; repositories too, which are plain files."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aiprov.diff import text_of
from aiprov.engines.ansible.calls import WHILE_LOCKED, ModuleCall, command, literal
from aiprov.plain_files import repository_files
from aiprov.plan import Change
from aiprov.resources import (
    STAGED,
    Absent,
    AptRepository,
    Argv,
    Directory,
    DnfRepository,
    File,
    Link,
    Resource,
    Secret,
    User,
    previous_path,
)


def path_calls(change: Change, resource: File | Directory | Link | Absent) -> Iterator[ModuleCall]:
    if change.keep_previous:
        yield from _kept(resource.path)
    before = change.before.get("type", "absent")
    if isinstance(resource, Absent):
        yield removed(resource.path, before)
        return
    wanted = {File: "file", Directory: "directory", Link: "link"}[type(resource)]
    if before not in ("absent", wanted):
        yield removed(resource.path, before)
    match resource:
        case File():
            yield from write(resource)
        case Directory():
            yield ModuleCall(
                name=f"Make directory {resource.path}",
                module="ansible.builtin.file",
                args={"path": resource.path, "state": "directory", **_ownership(resource)},
            )
        case Link():
            yield ModuleCall(
                name=f"Link {resource.path} to {resource.target}",
                module="ansible.builtin.file",
                # ``force``: the target may come into being later.
                args={
                    "path": resource.path,
                    "src": resource.target,
                    "state": "link",
                    "force": True,
                    "follow": False,
                },
            )


def expanded(resource: Resource) -> str | None:
    """The path in the resource that Ansible's modules would not take literally, if there is one."""
    match resource:
        case File(path=path):
            paths: tuple[str | None, ...] = (path.rpartition("/")[0],)
        case Directory(path=path) | Absent(path=path):
            paths = (path,)
        case Link(path=path, target=target):
            paths = (path, target)
        case User(home=home, shell=shell):
            paths = (home, shell)
        case _:
            paths = ()
    return next((path for path in paths if path is not None and "$" in path), None)


def write(file: File) -> Iterator[ModuleCall]:
    """The file, written beside its place, validated there and moved into it."""
    if "$" in file.path:  # copy would expand a variable in its name, more than once
        folder, _, name = file.path.rpartition("/")
        staged = f"{folder}/.aiprov-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        yield _copied(replace(file, path=staged))
        yield _moved(staged, file.path)
    else:
        yield _copied(file)


def _copied(file: File) -> ModuleCall:
    args: dict[str, Any] = {
        "content": text_of(file),
        "dest": file.path,
        **_ownership(file),
    }
    if file.validate is not None:
        args["validate"] = _validate(file.validate)
    secret = isinstance(file.content, Secret)
    return ModuleCall(
        name=f"Write {file.path}", module="ansible.builtin.copy", args=args, no_log=secret
    )


def _validate(argv: Argv) -> str:
    """``copy`` takes one string, puts the staged path in for ``%s`` and splits it like a shell."""
    parts = [literal(part.replace("%", "%%").replace(STAGED, "%s")) for part in argv]
    return shlex.join(parts)


def _ownership(resource: File | Directory) -> dict[str, str]:
    return {
        "mode": f"{resource.mode:04o}",
        "owner": resource.owner,
        "group": resource.group,
    }


def _kept(path: str) -> Iterator[ModuleCall]:
    kept = previous_path(path)
    copied = ("cp", "--archive", "--no-target-directory", "--", path, f"{kept}.new")
    yield command(f"Copy {path} as it is now", copied)
    yield _moved(f"{kept}.new", kept)


def _moved(source: str, path: str) -> ModuleCall:
    argv = ("mv", "--force", "--no-target-directory", "--", source, path)
    return command(f"Move {path} into place", argv)


def removed(path: str, before: str) -> ModuleCall:
    if before == "directory":
        # The file module would remove what is in it too.
        return command(f"Remove the empty directory {path}", ("rmdir", "--", path))
    return ModuleCall(
        name=f"Remove {path}",
        module="ansible.builtin.file",
        args={"path": path, "state": "absent"},
    )


def repository_calls(
    change: Change, repository: AptRepository | DnfRepository
) -> Iterator[ModuleCall]:
    files = repository_files(repository)
    before = change.before.get("files") or [""] * len(files)
    after = change.after.get("files") or [""] * len(files)
    for file, now, wanted in zip(files, before, after, strict=True):
        if now != wanted or not wanted:
            yield from _folder_and_file(file)
    if isinstance(repository, AptRepository):
        source = files[-1].path
        options = {
            "Dir::Etc::sourcelist": source,
            "Dir::Etc::sourceparts": "-",
            # Without this, apt would drop the lists of all other sources.
            "APT::Get::List-Cleanup": "0",
        }
        pairs = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        yield command(
            f"Fetch the package lists of {repository.name}",
            ("apt-get", "update", "--error-on=any", *pairs),
            again=WHILE_LOCKED,
        )


def _folder_and_file(file: File) -> Iterator[ModuleCall]:
    folder = file.path.rpartition("/")[0]
    if folder == "/etc/apt/keyrings":  # old and minimal systems lack it
        args = {"path": folder, "state": "directory", "mode": "0755"}
        yield ModuleCall(name=f"Make directory {folder}", module="ansible.builtin.file", args=args)
    yield from write(file)

"""Files in their place: staged, validated, renamed; or what was there stays as it was."""

from __future__ import annotations

import posixpath
from contextlib import suppress
from dataclasses import replace

from aiprov.diff import text_of
from aiprov.engines.pyinfra import files
from aiprov.engines.pyinfra.session import LISTS_S, OperationFailed, Session
from aiprov.errors import HostError
from aiprov.plan import Change
from aiprov.resources import File, Secret


def realise_file(session: Session, file: File, change: Change) -> None:
    before, after = change.before, change.after
    if before.get("type") == "file" and before.get("sha256") == after.get("sha256"):
        session.run(files.own, file.path, file.mode, file.owner, file.group)
    else:
        write(session, file, keep_previous=change.keep_previous)


def write(
    session: Session, file: File, *, keep_previous: bool = False, parents: bool = False
) -> None:
    """Put the file in place at once and whole, or leave what is there."""
    if parents:
        session.run(files.make_parents, file.path)
    _clean(session, posixpath.dirname(file.path))
    staged = files.staged_path(file.path)
    content = text_of(file).encode()
    try:
        arguments = (staged, content, file.mode, file.owner, file.group)
        if file.validate is None:
            session.run(files.stage_and_place, *arguments, file.path, keep_previous)
        else:
            session.run(files.stage, *arguments)
            _validate(session, file, staged)
            session.run(files.place, staged, file.path, keep_previous)
    except HostError:
        # Where the host cannot be reached either, the next apply to the folder removes it.
        with suppress(HostError):
            session.run(files.discard, staged)
        raise


def _clean(session: Session, folder: str) -> None:
    if folder in session.cleaned:
        return
    try:
        session.run(files.remove_staged, folder)
    except OperationFailed as failed:
        if not any("No such file" in said.stderr for said in failed.said):
            raise
        raise OperationFailed(
            session.host_name,
            f"the folder {folder} does not exist",
            said=(),
            hint=f"have the role ask for Directory[{folder}] before it",
        ) from failed
    session.cleaned.add(folder)


def _validate(session: Session, file: File, staged: str) -> None:
    argv = file.validate or ()
    try:
        session.run(files.validate, argv, staged, timeout_s=LISTS_S)
    except OperationFailed as failed:
        what = f"{argv[0]} refuses the new content of {file.path}; the file is as it was"
        if isinstance(file.content, Secret):
            what += " (what it said is withheld: the content is secret)"
        shown = () if isinstance(file.content, Secret) else failed.said
        shown = tuple(replace(s, stdout=s.stdout.replace(staged, file.path)) for s in shown)
        shown = tuple(replace(s, stderr=s.stderr.replace(staged, file.path)) for s in shown)
        raise OperationFailed(session.host_name, what, said=shown) from failed

"""Files, directories, links, and what must not be there."""

import contextlib
import grp
import json
import os
import pwd
import stat
import tempfile
from typing import Any, Dict, Optional

from .commands import StepFailedError, must, run

Step = Dict[str, Any]
STAGED = "{staged}"


def previous_path(path: str) -> str:
    """Where the former version lies until its service has come back."""
    return path + ".aiprov-previous"


def read(path: str) -> Optional[str]:
    """The text of a regular file; ``None`` where nothing is there. Raises ``StepFailedError``."""
    if not os.path.lexists(path):
        return None
    if os.path.islink(path) or not os.path.isfile(path):
        raise StepFailedError(f"{path} is there and is no regular file")
    with open(path, "rb") as source:
        return source.read().decode("utf-8", "surrogateescape")


def ensure_file(step: Step) -> bool:
    """Content, mode and owner as wanted, written atomically. True when that changed anything."""
    path = step["path"]
    if os.path.islink(path):
        os.unlink(path)
    current = read(path)
    content = _content(step, current)
    if current == content:
        return set_ownership(path, step)
    make_parents(path)
    staged = _stage(step, content)
    try:
        if step.get("validate"):
            argv = [part.replace(STAGED, staged) for part in step["validate"]]
            must(argv, quiet=bool(step.get("secret")))
        if step.get("keep_previous"):
            keep_previous(path)
        os.replace(staged, path)
    except BaseException:
        os.unlink(staged)
        raise
    _sync(os.path.dirname(path))
    _relabel(path)
    return True


def _content(step: Step, current: Optional[str]) -> str:
    if "content" in step:
        return str(step["content"])
    if current is None:
        return str(step["fresh"])
    if step["format"] == "json":
        return merge_json(current, step["values"])
    from .toml_keys import merge_toml  # only shipped where a step needs it

    return merge_toml(current, step["values"])


def merge_json(text: str, values: Dict[str, Any]) -> str:
    """``values`` set in the JSON document; the text itself where they are there already."""
    try:
        document = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise StepFailedError(f"what is there is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise StepFailedError("what is there is not a JSON object")
    if not _set(document, values):
        return text
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _set(target: Dict[str, Any], values: Dict[str, Any]) -> bool:
    changed = False
    for key, value in values.items():
        if isinstance(value, dict):
            if not isinstance(target.get(key), dict):
                target[key] = {}
                changed = True
            changed |= _set(target[key], value)
        elif value is None:
            changed |= target.pop(key, None) is not None
        elif key not in target or json.dumps(target[key]) != json.dumps(value):
            target[key] = value
            changed = True
    return changed


def make_parents(path: str) -> None:
    """The folders above the path, as other engines make them."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)


def _stage(step: Step, content: str) -> str:
    folder, name = os.path.split(step["path"])
    handle, staged = tempfile.mkstemp(prefix=f".{name}.", suffix=".aiprov", dir=folder)
    with os.fdopen(handle, "wb") as target:
        target.write(content.encode("utf-8", "surrogateescape"))
        target.flush()
        os.fsync(target.fileno())
    set_ownership(staged, step)
    return staged


def set_ownership(path: str, step: Step) -> bool:
    """Mode, owner and group as wanted. Raises ``StepFailedError`` for an unknown account."""
    try:
        uid = pwd.getpwnam(step["owner"]).pw_uid
        gid = grp.getgrnam(step["group"]).gr_gid
    except KeyError as error:
        raise StepFailedError(f"{path}: {error.args[0]}") from error
    now, mode = os.stat(path), int(step["mode"], 8)
    if (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (uid, gid, mode):
        return False
    os.chown(path, uid, gid)
    os.chmod(path, mode)  # after chown, which takes set-user-id bits away
    return True


def keep_previous(path: str) -> None:
    """Keep the version that is there, unless an earlier one is kept already."""
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        os.link(path, previous_path(path))


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _relabel(path: str) -> None:
    if os.path.exists("/sys/fs/selinux/enforce"):
        run(["restorecon", path])


def ensure_directory(step: Step) -> bool:
    """A directory with mode and owner as wanted."""
    path = step["path"]
    made = not os.path.lexists(path)
    if made:
        make_parents(path)
        os.mkdir(path)
        _relabel(path)
    elif os.path.islink(path) or not os.path.isdir(path):
        raise StepFailedError(f"{path} is there and is no directory")
    return set_ownership(path, step) or made


def ensure_link(step: Step) -> bool:
    """A symbolic link to the target; it takes the place of a link or a file."""
    path, target = step["path"], step["target"]
    if os.path.islink(path) and os.readlink(path) == target:
        return False
    if os.path.isdir(path) and not os.path.islink(path):
        raise StepFailedError(f"{path} is a directory")
    make_parents(path)
    staged = f"{path}.aiprov-link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(staged)
    os.symlink(target, staged)
    os.replace(staged, path)
    return True


def ensure_absent(step: Step) -> bool:
    """Nothing at the path. A directory that is not empty stays, and the step fails."""
    path = step["path"]
    if not os.path.lexists(path):
        return False
    if os.path.isdir(path) and not os.path.islink(path):
        try:
            os.rmdir(path)
        except OSError as error:
            raise StepFailedError(f"{path}: {error.strerror}") from error
        return True
    if step.get("keep_previous"):
        keep_previous(path)
    os.unlink(path)
    return True

"""What others made and a cluster needs: from a server or this host, held against its checksum."""

import argparse
import hashlib
import http.client
import json
import os
import urllib.request
from typing import Any, Callable, Dict, List, Optional

from .host import RefusedError, refused

Verb = Callable[[Dict[str, Any]], int]

LARGEST = 256 * 1024 * 1024
"""Bytes. Helm's archive has about 20 million, Calico's manifest half a million."""


def read(path: str) -> bytes:
    """A file's bytes; none where it is not there."""
    try:
        with open(path, "rb") as source:
            return source.read()
    except FileNotFoundError:
        return b""


def digest(data: bytes) -> str:
    """The SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def recipe_of(path: str) -> Dict[str, Any]:
    """The document that says what is wanted. Raises ``RefusedError`` where it is not there."""
    text = read(path)
    if not text:
        raise RefusedError(f"{path} is not there", "aiprov apply lays it")
    found: Dict[str, Any] = json.loads(text.decode())
    return found


def environment(path: str) -> None:
    """Take on the variables of a file: NAME="value", quotes and backslashes escaped."""
    for line in read(path).decode().splitlines():
        name, _, value = line.partition("=")
        plain = value.strip('"').replace('\\"', '"').replace("\\\\", "\\")
        os.environ[name] = plain
        os.environ[name.lower()] = plain  # what urllib reads first


def original(location: str, sha256: str, what: str, setting: str, checksum: str) -> bytes:
    """The bytes at a URL, or a path of this host, as their project made them.

    ``what`` they are in words; ``setting`` and ``checksum``: where a user gives another place and
    other bytes. Raises ``RefusedError``, also for any other bytes.
    """
    if location.startswith("/"):
        data = read(location)
        if not data:
            raise RefusedError(
                f"{location} is not there", f"put {what} on this host, or give its URL"
            )
    else:
        data = _downloaded(location, what, setting)
    found = digest(data)
    if found != sha256:
        raise RefusedError(
            f"{location} has SHA-256 {found}, not {sha256}",
            f"a proxy's or mirror's answer? If you mean these bytes, give {checksum}",
        )
    return data


def _downloaded(url: str, what: str, setting: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  https or a mirror
            data: bytes = answer.read(LARGEST)
            return data
    except (OSError, http.client.HTTPException) as error:
        raise RefusedError(
            f"{url}: {error}",
            f"does this host reach it? Give a proxy or a mirror, or put {what} on the host and "
            f"give its path ({setting})",
        ) from error


def main(program: str, ask: Verb, do: Verb, words: List[str], about: Optional[str]) -> int:
    """Run a program that is given a recipe: one verb asks whether all is so, the other makes it so.

    Errors are told on standard error.
    """
    parser = argparse.ArgumentParser(prog=program, description=(about or "").split("\n", 1)[0])
    parser.add_argument("verb", choices=(ask.__name__, do.__name__))
    parser.add_argument("recipe")
    parser.add_argument("--environment", metavar="FILE", default="")
    given = parser.parse_args(words)
    try:
        recipe = recipe_of(given.recipe)
        if given.verb == ask.__name__:
            return ask(recipe)
        environment(given.environment)
        return do(recipe)
    except RefusedError as error:
        return refused(program, error)

"""A manifest of someone else's, held against its checksum and made to fit this cluster.

fetched RECIPE                      0: what the recipe asks for lies in its place; 1: it does not
fetch RECIPE [--environment FILE]   bring it there

RECIPE is a JSON document: ``location`` (a URL, or a path on this host), ``sha256`` of the bytes,
``edits`` (each ``old`` text has to be there exactly once, and ``new`` takes its place), and
``manifest``, where the result goes. FILE holds variables of a proxy, as systemd's EnvironmentFile.
Exit status 2 is a failure: message and hint on standard error. Python 3.6.
"""

import json
from typing import Any, Dict, List

from .fetched import digest, main, original, read
from .host import RefusedError, tell, write


def edited(text: str, edits: List[Dict[str, str]], location: str) -> str:
    for edit in edits:
        times = text.count(edit["old"])
        if times != 1:
            raise RefusedError(
                f"{location} has the line {edit['old'].strip()!r} {times} times, not once",
                "it is another version of the manifest than the one that aiprov knows: give that "
                "one, or kubernetes_network: none and your own",
            )
        text = text.replace(edit["old"], edit["new"])
    return text


def head(recipe: Dict[str, Any], body: str) -> str:
    """The first line of the result: which recipe it is from, and what it was when it was made."""
    wanted = digest(json.dumps(recipe, sort_keys=True).encode())
    return f"# aiprov: recipe {wanted}, content {digest(body.encode())}\n"


def fetched(recipe: Dict[str, Any]) -> int:
    first, newline, body = read(recipe["manifest"]).decode("utf-8", "replace").partition("\n")
    if newline and first + "\n" == head(recipe, body):
        return 0
    tell("{} is not what {} asks for".format(recipe["manifest"], recipe["location"]))
    return 1


def fetch(recipe: Dict[str, Any]) -> int:
    location, manifest = recipe["location"], recipe["manifest"]
    text = original(
        location, recipe["sha256"], "the manifest", "kubernetes_network_source",
        "their checksum with them",
    ).decode()  # fmt: skip
    body = edited(text, recipe["edits"], location)
    write(manifest, head(recipe, body) + body)
    tell(f"{manifest} is made from {location}")
    return 0


def run(words: List[str]) -> int:
    """Run a verb. Errors are told on standard error."""
    return main("kube-manifest", fetched, fetch, words, __doc__)

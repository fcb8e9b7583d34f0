"""Manifests of others: taken from a file or a server, held against a checksum, changed, kept."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.processes.called import called
from tests.processes.programs.kube_host import command
from tests.pythons import needed

TEXT = "kind: ConfigMap\ndata:\n  Network: 10.244.0.0/16\n  Type: vxlan  # vxlan\n"
EDITS = [{"old": "10.244.0.0/16", "new": "10.1.0.0/16"}]
WANTED = TEXT.replace("10.244", "10.1")


class Host:
    """A host with a recipe; ``python``: what the program is run by."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.python = folder, "3.12"
        self.manifest = folder / "10-network.yaml"
        self.recipe = folder / "network.json"
        self.origin = folder / "kube-flannel.yml"
        self.origin.write_text(TEXT)
        self.wants()

    def wants(self, **changes: Any) -> None:
        values = {
            "location": str(self.origin),
            "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
            "edits": EDITS,
            "manifest": str(self.manifest),
        }
        self.recipe.write_text(json.dumps({**values, **changes}))

    def run(self, *words: str, **environment: str) -> tuple[int, str]:
        argv = [*command(needed(self.python), "manifest"), words[0], self.recipe, *words[1:]]
        return called(argv, environment)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the paths that were asked for: as a proxy's they are whole URLs."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = self.path.endswith("kube-flannel.yml")
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(TEXT.encode() if found else b"not here")

        def log_message(self, *_: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_address[1]}", asked
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("version", ["3.6", "3.13"])
def test_a_manifest_is_brought_changed_and_kept(host: Host, version: str):
    host.python = version
    status, said = host.run("fetched")
    assert status == 1
    assert said == f"{host.manifest} is not what {host.origin} asks for\n"
    assert host.run("fetch")[0] == 0
    head, _, body = host.manifest.read_text().partition("\n")
    assert body == WANTED
    assert head.startswith("# aiprov: recipe ")
    assert host.run("fetched") == (0, "")


def test_what_was_changed_is_seen(host: Host):
    host.run("fetch")
    host.manifest.write_text(host.manifest.read_text() + "# by hand\n")
    assert host.run("fetched")[0] == 1
    host.run("fetch")
    host.wants(edits=[{"old": "10.244.0.0/16", "new": "10.2.0.0/16"}])
    assert host.run("fetched")[0] == 1
    host.run("fetch")
    assert "10.2.0.0/16" in host.manifest.read_text()


def test_it_is_downloaded(host: Host, server: tuple[str, list[str]]):
    url, asked = server
    host.wants(location=f"{url}/v1/kube-flannel.yml")
    assert host.run("fetch")[0] == 0
    assert asked == ["/v1/kube-flannel.yml"]
    assert host.run("fetched") == (0, "")


def test_a_proxy_is_asked_where_one_is_given(host: Host, server: tuple[str, list[str]]):
    proxy, asked = server
    variables = host.folder / "proxy.env"
    variables.write_text(f'HTTP_PROXY="{proxy}"\nNO_PROXY="10.0.0.0/8"\n')
    host.wants(location="http://example.invalid/kube-flannel.yml")
    assert host.run("fetch", "--environment", str(variables))[0] == 0
    assert asked == ["http://example.invalid/kube-flannel.yml"]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "another checksum": (
        {"sha256": "0" * 64},
        f"has SHA-256 {hashlib.sha256(TEXT.encode()).hexdigest()}, not {'0' * 64}",
        "If you mean these bytes, give their checksum",
    ),
    "text that is not there": (
        {"edits": [{"old": "Backend: none", "new": "Backend: x"}]},
        "has the line 'Backend: none' 0 times, not once",
        "kubernetes_network: none and your own",
    ),
    "text that is there twice": (
        {"edits": [{"old": "vxlan", "new": "x"}]},
        "has the line 'vxlan' 2 times, not once",
        "another version of the manifest",
    ),
    "no such file": (
        {"location": "/nowhere/kube-flannel.yml"},
        "/nowhere/kube-flannel.yml is not there",
        "put the manifest on this host",
    ),
    "no such server": (
        {"location": "http://127.0.0.1:9/kube-flannel.yml"},
        "http://127.0.0.1:9/kube-flannel.yml: ",
        "Give a proxy or a mirror",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_is_told_and_leaves_the_old_one(host: Host, name: str):
    changes, error, hint = REFUSED[name]
    host.run("fetch")
    before = host.manifest.read_text()
    host.wants(**changes)
    status, said = host.run("fetch")
    assert status == 2
    assert error in said.partition("\nhint: ")[0]
    assert hint in said.partition("\nhint: ")[2]
    assert host.manifest.read_text() == before
    assert not list(host.folder.glob(".aiprov-*"))


def test_a_server_that_has_it_not_is_told(host: Host, server: tuple[str, list[str]]):
    host.wants(location=f"{server[0]}/gone.yml")
    status, said = host.run("fetch")
    assert status == 2
    assert "404" in said


def test_without_a_recipe_it_says_so(host: Host):
    host.recipe.unlink()
    for verb in ("fetch", "fetched"):
        status, said = host.run(verb)
        assert status == 2
        assert f"{host.recipe} is not there\nhint: aiprov apply lays it" in said

"""Files that hosts see: simulated PCI devices, container images, packages by the proxy."""

from __future__ import annotations

import http.server
import io
import json
import struct
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov.lab import images, pci, proxy
from aiprov.lab.delay import Line
from aiprov.lab.pci import PciDevice
from aiprov.lab.sources import Source

GPU = PciDevice(
    address="0000:1b:00.0",
    vendor=0x10DE,
    device=0x2335,
    subsystem_vendor=0x10DE,
    subsystem_device=0x18BE,
    files={"power_state": "D0"},
)


def test_pci_files(tmp_path: Path) -> None:
    pci.write([GPU], tmp_path)
    place = tmp_path / "0000:1b:00.0"
    assert (place / "vendor").read_text() == "0x10de\n"
    assert (place / "class").read_text() == "0x030200\n"
    assert (place / "power_state").read_text() == "D0\n"
    assert (place / "modalias").read_text().startswith("pci:v000010DEd00002335sv000010DE")
    config = (place / "config").read_bytes()
    assert len(config) == 256
    assert struct.unpack_from("<HH", config, 0) == (0x10DE, 0x2335)
    assert struct.unpack_from("<HH", config, 0x2C) == (0x10DE, 0x18BE)
    assert config[0x09:0x0C] == bytes([0x00, 0x02, 0x03])


def test_own_config_space_is_taken_as_it_is() -> None:
    own = PciDevice(address="0000:01:00.0", vendor=1, device=2, config=b"\x01" * 256)
    assert pci.config_space(own) == b"\x01" * 256


def test_image_archive_is_reproducible_and_whole() -> None:
    archive = images.image_archive(b"binary")
    assert archive == images.image_archive(b"binary")
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        names = outer.getnames()
        manifest = json.load(outer.extractfile("manifest.json"))
        assert manifest[0]["RepoTags"] == [images.IMAGE]
        assert manifest[0]["Config"] in names
        with tarfile.open(fileobj=outer.extractfile("layer.tar")) as layer:
            assert layer.getnames() == ["bin/busybox", "bin/sh"]


class Mirror(http.server.BaseHTTPRequestHandler):
    """A mirror that counts."""

    asked: list[str]
    status = 200

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(404 if "missing" in self.path else self.status)
        body = f"body of {self.path}".encode()
        self.send_header("Content-Length", str(len(body) + ("cut" in self.path)))
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 07:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[http.server.HTTPServer]:
    Mirror.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def opener(
    mirror: http.server.HTTPServer, tmp_path: Path
) -> Iterator[urllib.request.OpenerDirector]:
    """A client behind the lab's proxy, which stands before the mirror."""
    port = mirror.server_address[1]
    archive = Source(uri=f"http://127.0.0.1:{port}/debian", suite="x", components=("main",))
    with proxy.serving([archive], tmp_path) as address:
        yield urllib.request.build_opener(
            urllib.request.ProxyHandler({"http": f"http://{address}"})
        )


def address(mirror: http.server.HTTPServer, path: str) -> str:
    return f"http://127.0.0.1:{mirror.server_address[1]}{path}"


def test_packages_are_fetched_once(
    mirror: http.server.HTTPServer, opener: urllib.request.OpenerDirector
) -> None:
    path = "/debian/pool/a.deb"
    for _ in range(3):
        assert opener.open(address(mirror, path)).read() == f"body of {path}".encode()
    assert Mirror.asked == [path]


def test_other_places_are_refused(
    mirror: http.server.HTTPServer, opener: urllib.request.OpenerDirector
) -> None:
    for path in ("/secret", "/debian/../secret", "/debian/%2e%2e/secret", "/debianx/a"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(address(mirror, path))
        assert caught.value.code == 403
    assert Mirror.asked == []


def test_a_missing_file_stays_missing(
    mirror: http.server.HTTPServer, opener: urllib.request.OpenerDirector
) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(address(mirror, "/debian/missing"))
    assert caught.value.code == 404


def test_half_a_package_is_not_kept(
    mirror: http.server.HTTPServer, opener: urllib.request.OpenerDirector, tmp_path: Path
) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(address(mirror, "/debian/pool/cut.deb"))
    assert caught.value.code == 502
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")]


def test_an_index_is_served_when_the_mirror_is_away(
    mirror: http.server.HTTPServer,
    opener: urllib.request.OpenerDirector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = address(mirror, "/debian/dists/x/InRelease")
    body = opener.open(index).read()
    monkeypatch.setattr(proxy, "_FRESH", -1.0)
    mirror.shutdown()
    mirror.socket.close()
    assert opener.open(index).read() == body


@pytest.mark.parametrize(("status", "served"), [(503, True), (429, True), (403, False)])
def test_an_index_is_served_when_the_mirror_fails(
    mirror: http.server.HTTPServer,
    opener: urllib.request.OpenerDirector,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    served: bool,
) -> None:
    index = address(mirror, "/debian/dists/x/InRelease")
    body = opener.open(index).read()
    monkeypatch.setattr(proxy, "_FRESH", -1.0)
    monkeypatch.setattr(Mirror, "status", status)
    if served:
        assert opener.open(index).read() == body
    else:
        with pytest.raises(urllib.error.HTTPError):
            opener.open(index)


def test_a_package_whose_headers_were_cut_off_is_fetched_again(
    mirror: http.server.HTTPServer, opener: urllib.request.OpenerDirector, tmp_path: Path
) -> None:
    """A proxy is killed when its lab is taken down."""
    package = address(mirror, "/debian/pool/a.deb")
    body = opener.open(package).read()
    (head,) = tmp_path.rglob("*.json")
    head.write_text("")
    assert opener.open(package).read() == body
    assert len(Mirror.asked) == 2


def test_unchanged_since(
    mirror: http.server.HTTPServer, opener: urllib.request.OpenerDirector
) -> None:
    request = urllib.request.Request(address(mirror, "/debian/dists/x/InRelease"))
    request.add_header("If-Modified-Since", "Sat, 21 Nov 2026 07:00:00 GMT")
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(request)
    assert caught.value.code == 304


def test_frames_wait_their_time() -> None:
    import os

    near, far = os.pipe(), os.pipe()
    os.set_blocking(near[0], False)
    os.set_blocking(far[0], False)
    line = Line(near[0], far[1], delay=1.0)
    os.write(near[1], b"frame")
    line.take(now=10.0)
    line.give(now=10.9)
    with pytest.raises(BlockingIOError):
        os.read(far[0], 100)
    line.give(now=11.0)
    assert os.read(far[0], 100) == b"frame"
    for handle in (*near, *far):
        os.close(handle)

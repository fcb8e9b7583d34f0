"""A public signing key, fetched and checked: ``signing-key URL PATH SHA256 [--there]``.

The checksum is of the key's text without its Version line, which servers change. With ``--there``
it is only asked whether the key is at PATH. A proxy is taken from the environment or from dnf's
configuration. To be run as root, Python 3.6.
"""

import argparse
import hashlib
import os
import re
import sys
import urllib.request

CONFIG = "/etc/dnf/dnf.conf"
MOST = 1 << 20


def without_version(text: bytes) -> bytes:
    return b"".join(
        line for line in text.splitlines(keepends=True) if not line.startswith(b"Version")
    )


def matches(text: bytes, checksum: str) -> bool:
    return hashlib.sha256(without_version(text)).hexdigest() == checksum


def there(path: str, checksum: str) -> bool:
    """Whether the key is at the path."""
    try:
        with open(path, "rb") as file:
            return matches(file.read(MOST), checksum)
    except FileNotFoundError:
        return False


def proxies() -> "dict[str, str]":
    """The proxy of dnf's configuration, where the environment has none."""
    found = urllib.request.getproxies()
    try:
        with open(CONFIG, encoding="utf-8") as file:
            line = re.search(r"^proxy\s*=\s*(\S+)", file.read(), re.MULTILINE)
    except FileNotFoundError:
        line = None
    return found or ({"http": line.group(1), "https": line.group(1)} if line else {})


def fetched(url: str) -> bytes:
    """What the URL has. Raises ``OSError``."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies()))
    with opener.open(url, timeout=60) as answer:
        content = answer.read(MOST)
        return bytes(content)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("url")
    parser.add_argument("path")
    parser.add_argument("checksum")
    parser.add_argument("--there", action="store_true")
    given = parser.parse_args()
    if given.there:
        return 0 if there(given.path, given.checksum) else 1
    try:
        text = fetched(given.url)
    except OSError as error:
        print(f"{given.url} cannot be fetched: {error}", file=sys.stderr)
        return 1
    if not matches(text, given.checksum):
        print(
            f"the key at {given.url} is not the one that is known (SHA-256 {given.checksum}): "
            "nothing was changed",
            file=sys.stderr,
        )
        return 1
    scratch = f"{given.path}.new"
    with open(scratch, "wb") as out:
        out.write(without_version(text))
    os.chmod(scratch, 0o644)
    os.replace(scratch, given.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

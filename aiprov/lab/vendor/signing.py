"""The key that signs the stand-in archives: made anew for each cache, and it stays there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aiprov.lab.machine import run
from aiprov.lab.state import locked

_OWNER = "aiprov lab (stand-in packages) <lab@aiprov.invalid>"


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A gpg home that holds one key pair, and the public half of it."""

    home: Path
    fingerprint: str
    armoured: str

    def clearsign(self, path: Path, out: Path) -> None:
        """Write a signed copy of a text."""
        run([*_gpg(self.home), "--clearsign", "--output", str(out), str(path)])

    def detach(self, path: Path, out: Path) -> None:
        """Write a signature of a file beside it."""
        run([*_gpg(self.home), "--armor", "--detach-sign", "--output", str(out), str(path)])


def key(home: Path, owner: str = _OWNER) -> SigningKey:
    """The key in this folder, made where there is none. Raises ``LabError`` without gpg."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(home / ".lock"):
        if not (home / "public.asc").exists():
            choice = [owner, "rsa3072", "sign", "never"]
            run([*_gpg(home), "--passphrase", "", "--quick-generate-key", *choice])
            armoured = run([*_gpg(home), "--armor", "--export", owner])
            run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"])
            (home / "public.asc").write_text(armoured, encoding="ascii")
    listing = run([*_gpg(home), "--with-colons", "--list-keys"])
    rows = [line.split(":") for line in listing.splitlines()]
    fingerprint = next(row[9] for row in rows if row[0] == "fpr")
    armoured = (home / "public.asc").read_text(encoding="ascii")
    return SigningKey(home=home, fingerprint=fingerprint, armoured=armoured)


def rest(found: SigningKey) -> None:
    """End the agent that gpg started for this key."""
    run(["gpgconf", "--homedir", str(found.home), "--kill", "gpg-agent"])


def _gpg(home: Path) -> list[str]:
    return ["gpg", "--homedir", str(home), "--batch", "--yes", "--pinentry-mode", "loopback"]

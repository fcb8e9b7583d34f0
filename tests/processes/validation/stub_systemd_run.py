"""In place of systemd-run: starts a process that goes on by itself, and notes who it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

PLACE = Path(os.environ["LOCAL_HOST"])
words = sys.argv[1:]
first = next(number for number, word in enumerate(words) if not word.startswith("--"))
options = dict(
    word[2:].removeprefix("property=").split("=", 1) for word in words[:first] if "=" in word
)
with (
    Path(options["StandardInput"].removeprefix("file:")).open() as plan,
    Path(options["StandardError"].removeprefix("file:")).open("w") as said,
):
    process = subprocess.Popen(
        words[first:], stdin=plan, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
    )
told = {"pid": process.pid, "title": options["description"]}
(PLACE / "unit.json").write_text(json.dumps(told))
with (PLACE / "started").open("a") as out:
    out.write(f"{options['description']}\n")

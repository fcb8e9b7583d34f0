"""In place of systemctl: shows and stops the one unit that stub_systemd_run has started."""

import json
import os
import signal
import sys
import time
from pathlib import Path

PLACE = Path(os.environ["LOCAL_HOST"]) / "unit.json"


def runs(unit):
    try:
        stat = Path(f"/proc/{unit['pid']}/stat").read_text()
    except (KeyError, OSError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


unit = json.loads(PLACE.read_text()) if PLACE.exists() else {}
if sys.argv[1] == "show":
    there = runs(unit)
    print(f"ActiveState={'active' if there else 'inactive'}")
    print(f"Description={unit['title'] if there else sys.argv[2]}")
elif runs(unit):
    os.kill(unit["pid"], signal.SIGTERM)
    while runs(unit):
        time.sleep(0.02)

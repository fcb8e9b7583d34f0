"""A worker for tests: does with each cell what the cell says, good or bad."""

import json
import os
import signal
import subprocess
import sys
import time


def say(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def sleep():
    time.sleep(600)  # as something that hangs does: the supervisor has to end it


def bad(do):
    if do == "exit":
        sys.stderr.write("giving up\n")
        raise SystemExit(3)
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "hang":
        sleep()
    if do == "garbage":
        os.write(1, b"\xff\xfe Xid\n")
        sleep()
    if do == "array":
        os.write(1, b"[1]\n")
        sleep()
    if do == "no line":
        os.write(1, b"x" * (1 << 21))
        sleep()
    if do == "close":
        os.close(1)
        sleep()
    if do == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        say(event="sample", child=child.pid)
        sleep()


ENDS = {
    "no result": {"status": "done"},
    "odd status": {"status": "fine", "result": {}},
    "raise": {"status": "error", "error": "ValueError: no"},
    "not tested": {"status": "not tested", "error": "no such type", "result": {}},
}

for line in sys.stdin:
    told = json.loads(line)["parameters"]
    if told["do"] in ENDS:
        say(event="end", **ENDS[told["do"]])
        if told["do"] == "raise":
            raise SystemExit(1)
        continue
    say(event="sample", pid=os.getpid(), number=told.get("number"), cell="not mine", n=-1)
    bad(told["do"])
    time.sleep(told.get("seconds", 0))
    say(event="end", status="done", result={"number": told.get("number")})

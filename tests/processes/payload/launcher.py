"""A launcher for tests, as torchrun is one: starts ranks in sessions of their own, that misbehave.

Arguments: what to do, and how many ranks. The last rank does it.
"""

import json
import os
import signal
import subprocess
import sys
import time

from aiprov.payload.process import end_with_parent


def say(rank, event):
    line = json.dumps({"rank": rank, "left": 0, "part": json.dumps(event)})
    os.write(1, line.encode() + b"\n")


def be(rank, do):
    if do == "print pid":
        say(rank, {"event": "sample", "pid": os.getpid()})
    if do == "garbage":
        os.write(1, b"\x00 no event\n")
    if do == "no line":
        os.write(1, b"x" * (1 << 21))
    if do == "another's":
        say(rank + 7, {"event": "end", "status": "done", "result": {}})
    if do == "odd event":
        say(rank, {"event": "begin"})
    if do in ("hang", "print pid"):
        signal.pause()
    if do == "leave":
        os._exit(0)
    if do == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if do == "twice":
        say(rank, {"event": "end", "status": "done", "result": {}})
    if do == "no result":
        say(rank, {"event": "end", "status": "done"})
        return
    if do == "error":
        say(rank, {"event": "end", "status": "error", "error": "ValueError: no"})
        raise SystemExit(1)
    say(rank, {"event": "end", "status": "done", "result": {"rank": rank}})


if sys.argv[1] == "rank":
    end_with_parent()  # as real ranks do
    be(int(sys.argv[2]), sys.argv[3])
else:
    do, count = sys.argv[1], int(sys.argv[2])
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, "rank", str(rank), do if rank == count - 1 else "good"],
            start_new_session=True,
        )
        for rank in range(count)
    ]
    sys.stderr.write("the launcher was here\n")
    code = max(abs(rank.wait()) for rank in ranks)
    if do == "linger":
        time.sleep(600)
    raise SystemExit(code)

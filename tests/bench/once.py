"""Run one command and tell what it cost: ``once.py OUTPUT ARGV…``. Starts nothing but that.

A process of its own and a small one, because a child's peak memory begins with its parent's.
"""

import json
import os
import sys
import time


def main() -> None:
    out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    streams = [(os.POSIX_SPAWN_DUP2, null, 0)]
    streams += [(os.POSIX_SPAWN_DUP2, out, number) for number in (1, 2)]
    began = time.monotonic()
    pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=streams)
    _, status, usage = os.wait4(pid, 0)
    cost = {
        "wall": time.monotonic() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    sys.stdout.write(json.dumps(cost))


if __name__ == "__main__":
    main()

"""Stands for Slurm's srun on one machine: a task a rank, each told its number as Slurm tells it."""

import os
import subprocess
import sys

words = sys.argv[1:]
count = next(number for number, word in enumerate(words) if not word.startswith("--"))
told = dict(word[2:].partition("=")[::2] for word in words[:count])
tasks, each = int(told["ntasks"]), int(told["ntasks-per-node"])
exported = dict(word.partition("=")[::2] for word in told["export"].split(",")[1:])
started = [
    subprocess.Popen(
        words[count:],
        env={
            **os.environ, **exported, "SLURM_PROCID": str(task), "SLURM_NTASKS": str(tasks),
            "SLURM_LOCALID": str(task % each), "SLURM_STEP_NODELIST": "localhost",
        },
    )
    for task in range(tasks - int(os.environ.get("TASKS_LOST", "0")))
]  # fmt: skip
sys.exit(max(task.wait() for task in started))

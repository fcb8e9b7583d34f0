"""Run a command and say what it cost: wall time, CPU time of all its processes, peak memory."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("once.py")


class BenchError(Exception):
    """What was run is not what was to be measured."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run.

    ``cpu`` is of the command and all processes that it waited for, on this machine; ``memory`` is
    the peak of the largest of them, in MiB.
    """

    wall: float
    cpu: float
    memory: float
    output: str
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Several runs of one command."""

    name: str
    samples: Sequence[Sample]

    @property
    def wall(self) -> float:
        return statistics.median(sample.wall for sample in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        walls = [sample.wall for sample in self.samples]
        return min(walls), max(walls)

    @property
    def cpu(self) -> float:
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def memory(self) -> float:
        return max(sample.memory for sample in self.samples)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command to measure, and what its output must be for the measurement to count.

    ``valid`` returns what is wrong, or ``None``. ``after`` tidies up, outside the measured time.
    """

    name: str
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    valid: Callable[[Sample], str | None]
    after: Callable[[], None] = lambda: None
    runs: int | None = None
    warm: bool = True

    def run(self) -> Sample:
        """Run it once. Raises ``BenchError`` when the run does not count."""
        sample = once(self.argv, cwd=self.cwd, env=self.env)
        self.after()
        if problem := self.valid(sample):
            raise BenchError(f"{self.name}: {problem}\n{sample.output[-3000:]}")
        return sample


def once(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Sample:
    """Run a command to its end. Interrupted, it and all it started end too."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(output), *argv],
            stdout=subprocess.PIPE,
            cwd=cwd,
            env=dict(env),
            process_group=0,
        )
        try:
            told, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        text = output.read_text(encoding="utf-8", errors="replace")
    if process.returncode != 0:
        raise BenchError(f"{argv[0]} could not be started")
    return Sample(**json.loads(told), output=text)


def side_by_side(
    commands: Sequence[Command], *, runs: int, say: Callable[[str], None]
) -> list[Figures]:
    """Measure the commands in turn, so that what else the machine does meets all of them.

    Quick ones run once more, before: their files are then in memory, and compiled.
    """
    for command in commands:
        if command.warm:
            command.run()
    samples: dict[str, list[Sample]] = {command.name: [] for command in commands}
    for number in range(runs):
        for command in commands:
            if number < (command.runs or runs):
                sample = command.run()
                samples[command.name].append(sample)
                say(f"{command.name}: {sample.wall:.2f} s, CPU {sample.cpu:.2f} s")
    return [Figures(name=name, samples=found) for name, found in samples.items()]

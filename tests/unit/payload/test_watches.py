"""Of a day's readings a journal keeps some, and all that say something new."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from aiprov.payload.journal import Journal
from aiprov.payload.watches import Watches
from tests.unit.payload import smi

ONE, TWO = smi.document({}), smi.document({}, {"address": "00000000:3b:00.0"})


def watched(folder: Path, texts: list[str], keep_s: float) -> list[int]:
    """How many GPUs each reading that was kept tells of, where each is asked for at once."""
    told = folder / "smi.xml"
    told.write_text(texts[0])
    journal = Journal(str(folder / "journal"))
    cat = [sys.executable, "-c", "import sys; print(open(sys.argv[1]).read())", str(told)]
    watches = Watches(journal, cat, keep_s=keep_s)
    (telemetry,) = watches._asked
    for text in texts[1:]:
        told.write_text(text)
        telemetry._next = time.monotonic()
        watches.turn()
        while telemetry._asked is not None:
            watches.turn()
    watches.end(at_once=False)
    records = journal.past.records
    journal.close()
    return [len(record["gpus"]) for record in records]


def test_all_readings_are_kept_where_there_are_few(tmp_path: Path):
    assert watched(tmp_path, [TWO, TWO, TWO], keep_s=0) == [2, 2, 2, 2]


def test_of_many_the_first_the_last_and_what_changes_are_kept(tmp_path: Path):
    assert watched(tmp_path, [TWO, TWO, TWO, TWO], keep_s=600) == [2, 2]


def test_a_gpu_that_is_lost_is_kept_at_once(tmp_path: Path):
    assert watched(tmp_path, [TWO, TWO, ONE, ONE, TWO], keep_s=600) == [2, 1, 2, 2]

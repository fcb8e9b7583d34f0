"""A validation as files, in its campaign's folder and where people want them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from aiprov.checks.validation import Validation
from aiprov.errors import UsageError
from aiprov.report.verdicts.junit import junit
from aiprov.report.verdicts.page import page
from aiprov.report.verdicts.prometheus import prometheus
from aiprov.report.verdicts.text import markdown
from aiprov.validation.folder import Folder

DOCUMENT = "validation.json"


def write(validation: Validation, folder: Folder) -> tuple[Path, ...]:
    """Write all of it into the folder, and say where."""
    document = json.dumps(validation.document, indent=1, sort_keys=True, ensure_ascii=False)
    texts = {
        DOCUMENT: document + "\n",
        "report.md": markdown(validation),
        "report.html": page(validation),
        "junit.xml": junit(validation),
        "metrics.prom": prometheus(validation),
    }
    return tuple(folder.write(name, text) for name, text in texts.items())


def copied(files: Sequence[Path], output: Path) -> tuple[Path, ...]:
    """Copy them into a folder that is made; says where they are then.

    Raises ``UsageError`` where that cannot be done: they are where they were all the same.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        return tuple(Path(shutil.copy(path, output / path.name)) for path in files)
    except OSError as error:
        raise UsageError(
            f"{output}: {error.strerror}", hint=f"the reports are in {files[0].parent}"
        ) from error

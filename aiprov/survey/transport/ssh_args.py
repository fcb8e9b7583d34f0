"""OpenSSH's command line options, read as the settings that they stand for."""

from __future__ import annotations

import shlex

from aiprov.resources import Argv
from aiprov.survey.transport import ssh_config
from aiprov.survey.transport.ssh_config import Options

_FLAGS = frozenset("46AaCfGgKkMNnqsTtVvXxYy")
_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
_AS_OPTION = {"p": "port", "l": "user", "J": "proxyjump", "S": "controlpath"}
_ADDRESS_FAMILY = {"4": "inet", "6": "inet6"}


def given_options(args: Argv) -> Options:
    """The options in an argument list. Raises ``ValueError`` for what is not ssh's.

    The file of ``-F`` is kept under the keyword ``include``.
    """
    values: dict[str, tuple[str, ...]] = {}
    identities: list[str] = []
    words = iter(args)
    for word in words:
        if not word.startswith("-") or len(word) < 2:
            raise ValueError(f"ssh argument {word!r} is not an option")
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _FLAGS:
                if letter in _ADDRESS_FAMILY:
                    values.setdefault("addressfamily", (_ADDRESS_FAMILY[letter],))
                continue
            if letter not in _WITH_VALUE:
                raise ValueError(f"ssh has no option -{letter}")
            value = letters or next(words, None)
            letters = ""
            if value is None:
                raise ValueError(f"ssh option -{letter} needs a value")
            _keep(letter, value, values, identities)
    return Options(values=values, identities=tuple(identities))


def _keep(
    letter: str, value: str, values: dict[str, tuple[str, ...]], identities: list[str]
) -> None:
    if letter == "o":
        keyword, text = ssh_config.setting(value.strip())
        keyword = keyword.lower()
        # A proxy's command is a shell line; everything else is a list of words.
        arguments = (text,) if keyword == "proxycommand" else tuple(shlex.split(text))
        if keyword == "identityfile":
            identities.append(" ".join(arguments))
        else:
            values.setdefault(keyword, arguments)
    elif letter == "i":
        identities.append(value)
    elif letter == "F":
        values.setdefault("include", (value,))
    elif letter in _AS_OPTION:
        values.setdefault(_AS_OPTION[letter], (value,))

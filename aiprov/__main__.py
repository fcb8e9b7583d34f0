"""``python -m aiprov`` is the ``aiprov`` command."""

from aiprov.cli import main

if __name__ == "__main__":
    main()

"""``python3 -m aiprov_payload``: see ``command``."""

from .command import main

raise SystemExit(main())

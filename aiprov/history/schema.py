"""The tables of the history, and how those of an older aiprov become the present ones.

The statements are those that SQLite and PostgreSQL have in common. A GPU, host or link that was
validated is a row of ``subjects``; what was measured on it refers to that row by its number.
``measured`` is both as one flat table, for other programs too.
"""

from __future__ import annotations

FORMATS: tuple[tuple[str, ...], ...] = (
    (
        # Format 1. The first histories had this table and said no format.
        """
        CREATE TABLE IF NOT EXISTS runs (
            id INTEGER PRIMARY KEY,
            started TEXT NOT NULL,
            verb TEXT NOT NULL,
            document TEXT NOT NULL
        )
        """,
        "CREATE TABLE history_format (format INTEGER NOT NULL)",
        "INSERT INTO history_format (format) VALUES (0)",
    ),
    (
        # Format 2. Times are in UTC and sort as text. Documents are JSON in zlib's format, a tenth
        # of its size; to SQLite a BYTEA is what it is given.
        """
        CREATE TABLE validations (
            id INTEGER PRIMARY KEY,
            campaign TEXT NOT NULL UNIQUE,
            started TEXT NOT NULL,
            seconds DOUBLE PRECISION NOT NULL,
            verdict TEXT NOT NULL,
            document BYTEA
        )
        """,
        "CREATE INDEX validations_started ON validations (started)",
        """
        CREATE TABLE subjects (
            validation INTEGER NOT NULL,
            nth INTEGER NOT NULL,
            host TEXT NOT NULL,
            kind TEXT NOT NULL,
            serial TEXT NOT NULL,
            label TEXT NOT NULL,
            model TEXT NOT NULL,
            software TEXT NOT NULL,
            verdict TEXT NOT NULL,
            PRIMARY KEY (validation, nth)
        )
        """,
        "CREATE INDEX subjects_serial ON subjects (serial)",
        "CREATE INDEX subjects_host ON subjects (host)",
        """
        CREATE TABLE measurements (
            validation INTEGER NOT NULL,
            subject INTEGER NOT NULL,
            check_name TEXT NOT NULL,
            name TEXT NOT NULL,
            value DOUBLE PRECISION NOT NULL,
            unit TEXT NOT NULL,
            verdict TEXT NOT NULL,
            PRIMARY KEY (validation, subject, check_name, name)
        )
        """,
        """
        CREATE VIEW measured AS
        SELECT v.id AS run, v.campaign AS campaign, v.started AS at, s.host AS host,
            s.kind AS kind, s.serial AS serial, s.label AS label, s.model AS model,
            s.software AS software, m.check_name AS check_name, m.name AS name,
            m.value AS value, m.unit AS unit, m.verdict AS verdict
        FROM measurements m
        JOIN subjects s ON s.validation = m.validation AND s.nth = m.subject
        JOIN validations v ON v.id = m.validation
        """,
    ),
)
"""By format: what makes it of the one before. Never changed, only added to."""

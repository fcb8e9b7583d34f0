"""A PostgreSQL that does not do what is asked says why, and no password with it."""

from __future__ import annotations

import psycopg
import pytest

from aiprov import history
from aiprov.errors import UsageError
from aiprov.history import database

RUN = {"started": "2026-11-21T10:00:00+00:00", "verb": "plan"}


def refused(place, use=history.runs):
    with pytest.raises(UsageError) as caught:
        use(place)
    assert "s3cret" not in str(caught.value) + str(caught.value.hint)
    return str(caught.value), caught.value.hint or ""


def record(place):
    history.record(RUN, place)


def as_user(place, name, *statements):
    """The place as another user, after these statements as its owner."""
    with psycopg.connect(place) as connection:
        for statement in statements:
            connection.execute(statement)
    return place.replace("aiprov@", f"{name}:s3cret@")


def test_no_server(tmp_path):
    message, hint = refused(f"postgresql://joe:s3cret@/d?host={tmp_path}")
    assert "history postgresql://joe@/d: connection" in message
    assert "is the server up" in hint


def test_a_url_that_makes_no_sense():
    message, hint = refused("postgresql://joe:s3cret@h:port/d?nonsense=s3cret")
    assert "no URL that PostgreSQL understands" in message
    assert "%40" in hint


def test_no_such_database(postgresql_server):
    message, _ = refused(postgresql_server.replace("/postgres?", "/nowhere?"))
    assert 'database "nowhere" does not exist' in message


def test_a_user_without_the_right_to_write(postgresql_place, request):
    record(postgresql_place)
    schema = postgresql_place.rpartition("%3D")[2]
    place = as_user(
        postgresql_place,
        f"reader_{schema}",
        f"CREATE USER reader_{schema}",
        f"GRANT USAGE ON SCHEMA {schema} TO reader_{schema}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader_{schema}",
    )
    assert len(history.runs(place)) == 1
    message, hint = refused(place, record)
    assert "permission denied for table runs" in message
    assert "granted" in hint


def test_a_server_that_may_only_be_read(postgresql_place):
    record(postgresql_place)
    place = f"{postgresql_place}%20-cdefault_transaction_read_only%3Don"
    assert len(history.runs(place)) == 1
    message, hint = refused(place, record)
    assert "read-only" in message
    assert "may only read" in hint


def test_another_that_writes_for_long(postgresql_place, monkeypatch):
    record(postgresql_place)
    with database.opened(postgresql_place, write=True):
        monkeypatch.setattr(database, "WAIT_S", 1)
        assert len(history.runs(postgresql_place)) == 1  # who reads does not wait
        message, hint = refused(postgresql_place, record)
    assert "lock timeout" in message
    assert "try again" in hint
    record(postgresql_place)


def test_two_that_begin_a_history(postgresql_place):
    """Who reads an empty database while another makes its tables waits, and makes none."""
    import threading

    answers = []
    with database.opened(postgresql_place, write=True):
        reader = threading.Thread(target=lambda: answers.append(history.runs(postgresql_place)))
        reader.start()
        reader.join(0.2)
        assert reader.is_alive()
    reader.join(10)
    assert answers == [[]]

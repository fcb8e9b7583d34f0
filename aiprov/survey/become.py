"""How another user is had on a host: sudo or su, with or without a password.

The password goes to the program's standard input, and only when it asks for it: never in an
argument, an environment or a log. A second question means that it was wrong, and ends the try,
so that no account is locked.
"""

from __future__ import annotations

import re
from shlex import quote

from aiprov.connection import Connection
from aiprov.errors import BecomeError, UnreachableError
from aiprov.survey.transport import Completed, OnLine, Transport
from aiprov.survey.transport.exchange import Deadline, Exchange, run_to_end

PROMPT = "aiprov-become-password:"
GRANTED = b"aiprov-become-granted\n"
ASK_S = 30.0

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")


def needed(connection: Connection, user: str | None) -> bool:
    """Whether a command has to change the user: asked for, and not that user already."""
    return connection.become and connection.become_user != user


def become_wrap(connection: Connection, command: str) -> str:
    """The shell line that runs a shell line as the become user, and says so when it starts.

    Raises ``BecomeError`` when the user's name cannot be one.
    """
    user = connection.become_user
    if not _USER.fullmatch(user):
        raise BecomeError(
            connection.name,
            f"become user {user!r} is not a user name",
            hint="correct ansible_become_user",
        )
    inner = quote(f"echo {GRANTED.decode().strip()} >&2; {command}")
    if connection.become_method == "su":
        return f"env LC_ALL=C su {user} -s /bin/sh -c {inner}"
    how = f"-S -p {quote(PROMPT)}" if connection.become_password is not None else "-n"
    return f"env LC_ALL=C sudo -H {how} -u {user} -- /bin/sh -c {inner}"


def answers_questions(connection: Connection) -> bool:
    """Whether ``obtain`` has to be called before anything is written.

    Without a password sudo is told not to ask, so input may follow at once.
    """
    return connection.become_method == "su" or connection.become_password is not None


def obtain(exchange: Exchange, connection: Connection) -> None:
    """Wait until the wrapped command starts, giving the password when it is asked for.

    Raises ``BecomeError`` when it is refused.
    """
    prompt = b"Password:" if connection.become_method == "su" else PROMPT.encode()
    deadline = Deadline(ASK_S, connection.become_method)
    asked = 0
    while not granted(exchange):
        try:
            exchange.read_until(lambda: _speaks(exchange, prompt, asked), deadline)  # noqa: B023
        except UnreachableError as error:
            raise refusal(connection, exchange, silent=True) from error
        if granted(exchange):
            break
        if exchange.ended or _REFUSED.search(exchange.stderr):
            raise refusal(connection, exchange)
        asked += 1
        if asked > 1:
            raise wrong_password(connection)
        if connection.become_password is None:
            raise missing_password(connection)
        exchange.write(connection.become_password.reveal().encode() + b"\n", deadline)
    taken(exchange)


def granted(exchange: Exchange) -> bool:
    """Whether the wrapped command has started."""
    return GRANTED in exchange.stderr


def taken(exchange: Exchange) -> None:
    """Drop from what was read what does not come from the wrapped command itself."""
    _, found, rest = bytes(exchange.stderr).partition(GRANTED)
    if found:
        exchange.stderr[:] = rest


def run_as(
    transport: Transport,
    connection: Connection,
    command: str,
    *,
    stdin: bytes = b"",
    timeout_s: float | None,
    on_line: OnLine | None = None,
) -> Completed:
    """Run a shell line to its end as the become user, or as the login user where that is all.

    Raises ``BecomeError`` when that user is refused, ``UnreachableError`` as ``Transport.run``.
    """
    if not needed(connection, transport.user):
        return transport.run(command, stdin=stdin, timeout_s=timeout_s, on_line=on_line)
    exchange = Exchange(connection.name, transport.open(become_wrap(connection, command)))
    try:
        obtain(exchange, connection)
    except BaseException:
        exchange.close()
        raise
    return run_to_end(exchange, stdin=stdin, timeout_s=timeout_s, on_line=on_line)


def _speaks(exchange: Exchange, prompt: bytes, asked: int) -> bool:
    said = exchange.stderr
    return granted(exchange) or said.count(prompt) > asked or bool(_REFUSED.search(said))


# ---------------------------------------------------------------- what a refusal means

_REFUSED = re.compile(
    rb"you must have a tty|not in the sudoers|is not allowed to|may not run sudo|Sorry, try again"
    rb"|expired|required to change your password|a password is required|no new privileges"
    rb"|unknown user|does not exist|Authentication failure|account is locked"
)

_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        "must have a tty",
        "sudo wants a terminal (requiretty)",
        "allow it without one on the host: Defaults:{login} !requiretty",
    ),
    (
        r"not in the sudoers|is not allowed to|may not run sudo",
        "{login} may not become {user} with sudo",
        "add a rule for that user to /etc/sudoers.d, or set ansible_user",
    ),
    (
        r"expired|required to change your password",
        "the password of {login} has expired",
        "log in once and set a new one, or: chage -M -1 {login}",
    ),
    (
        r"no new privileges",
        "the login may not gain privileges (no_new_privs)",
        "log in by plain ssh, not through a container or a sandboxed service",
    ),
    (
        r"unknown user|does not exist",
        "there is no user {user} on the host",
        "correct ansible_become_user",
    ),
    (
        r"(sudo|su).{1,3}(No such file|not found)",
        "the host has no {method}",
        "install it, set ansible_become_method, or log in as root",
    ),
    (
        r"locked",
        "the account is locked",
        "too many wrong passwords? see: faillock --user {login}",
    ),
)


def refusal(connection: Connection, exchange: Exchange, *, silent: bool = False) -> BecomeError:
    """Why the user was not had, from what the program said."""
    text = exchange.stderr.decode("utf-8", "replace").replace(PROMPT, "")
    if "a password is required" in text:
        return missing_password(connection)
    if re.search(r"try again|incorrect password|Authentication failure", text):
        return wrong_password(connection)
    words = {
        "login": connection.user or "the login user",
        "user": connection.become_user,
        "method": connection.become_method,
    }
    for pattern, message, hint in _MEANINGS:
        if re.search(pattern, text):
            return BecomeError(connection.name, message.format(**words), hint=hint.format(**words))
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    said = f"it said: {last}" if last else "it said nothing"
    how = f"did not answer within {ASK_S:g} s" if silent else "failed"
    return BecomeError(
        connection.name,
        f"{connection.become_method} to {connection.become_user} {how}; {said}",
        hint=f"try it on the host: {connection.become_method} -l",
    )


def wrong_password(connection: Connection) -> BecomeError:
    """The password is not the right one."""
    return BecomeError(
        connection.name,
        f"wrong password for {connection.become_method} to {connection.become_user}",
        hint="correct ansible_become_password (sudo wants the login user's own password, su the "
        "other user's); only one try was made",
    )


def missing_password(connection: Connection) -> BecomeError:
    """A password is wanted, and there is none."""
    return BecomeError(
        connection.name,
        f"{connection.become_method} to {connection.become_user} wants a password",
        hint="set ansible_become_password (in a vault), or allow it without one (NOPASSWD)",
    )

"""A session with the agent on a host, and what is read in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiprov.connection import Connection
from aiprov.errors import HostError, SurveyError, UnreachableError
from aiprov.resources import HostState, Resource
from aiprov.survey import Session, become, launch, wire
from aiprov.survey.facts import Facts, facts_from
from aiprov.survey.state import candidates_request, state_from, state_request
from aiprov.survey.transport import Transport, transport_for
from aiprov.survey.transport.exchange import Deadline, Exchange

ANSWER_S = 90.0
_FACTS = {"ask": "facts"}


class AgentSession:
    """A running agent on a host, over one channel of one connection."""

    def __init__(
        self, connection: Connection, transport: Transport, *, timeout_s: float, owns: bool
    ) -> None:
        self.host = connection.name
        self._connection = connection
        self._transport = transport
        self._timeout_s = timeout_s
        self._owns = owns
        self._facts_are_coming = False
        self._exchange: Exchange | None = None

    def start(self) -> None:
        """Start the agent and ask for the facts with the same write: nobody goes without them.

        Raises ``UnreachableError``, ``BecomeError``, ``NoPythonError``.
        """
        connection = self._connection
        command = launch.launch_command(connection)
        self._transport.connect()
        elevated = become.needed(connection, self._transport.user)
        if elevated:
            command = become.become_wrap(connection, command)
        self._exchange = Exchange(self.host, self._transport.open(command))
        if elevated and become.answers_questions(connection):
            become.obtain(self._exchange, connection)
        first = wire.agent_line() + wire.request_line(_FACTS)
        self._exchange.write(first, Deadline(self._timeout_s, "starting the survey"))
        self._facts_are_coming = True

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        exchange = self._exchange
        if exchange is None:
            raise UnreachableError(self.host, "the session is closed", hint="open a new one")
        deadline = Deadline(self._timeout_s, "the survey")
        if not (self._facts_are_coming and request == _FACTS):
            if self._facts_are_coming:
                self._answer(exchange, deadline)
            exchange.write(wire.request_line(request), deadline)
        self._facts_are_coming = False
        return checked(self.host, self._answer(exchange, deadline))

    def close(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()
        if self._owns:
            self._transport.close()

    def _answer(self, exchange: Exchange, deadline: Deadline) -> Mapping[str, Any]:
        self._facts_are_coming = False
        if not exchange.read_until(lambda: wire.has_reply(exchange.stdout), deadline):
            raise self._end(exchange)
        received = bytes(exchange.stdout)
        exchange.stdout.clear()
        try:
            return wire.parse_reply(received)
        except wire.GarbledError as error:
            raise SurveyError(
                self.host, str(error), hint="does a login script write to the terminal?"
            ) from error

    def _end(self, exchange: Exchange) -> HostError:
        """Why the agent ended before it answered."""
        connection = self._connection
        rc = exchange.exit_status()
        elevated = become.needed(connection, self._transport.user)
        if elevated and not become.answers_questions(connection):
            if not become.granted(exchange):
                return become.refusal(connection, exchange)
            become.taken(exchange)
        return launch_failure(connection, rc, bytes(exchange.stderr) + bytes(exchange.stdout))


def launch_failure(connection: Connection, rc: int | None, output: bytes) -> HostError:
    """Why a host's Python did not answer."""
    if launch.NO_PYTHON_TEXT in output or b"Unknown option: -I" in output:
        return launch.no_python(connection)
    if rc is None:
        return UnreachableError(
            connection.name,
            "the connection was lost during the survey",
            hint="run again: the survey changes nothing",
        )
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    said = lines[-1].strip() if lines else "nothing"
    return SurveyError(
        connection.name,
        f"the survey ended with status {rc} and said: {said}",
        hint="does the login user have a shell there, and does its Python start?",
    )


def checked(host: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """An agent's answer. Raises ``SurveyError`` when it says that it failed."""
    error = answer.get("error")
    if error is not None:
        lines = str(error).strip().splitlines()
        raise SurveyError(
            host,
            f"the survey failed on the host: {lines[-1] if lines else 'no reason given'}",
            hint="please report this as a defect, with the output of: aiprov facts -v",
        )
    return answer


def open_session(
    connection: Connection, *, timeout_s: float = ANSWER_S, transport: Transport | None = None
) -> Session:
    """Connect to a host and start the agent there.

    ``timeout_s`` holds for each answer; connecting has the connection's own limit. A given
    ``transport`` is used and not closed with the session. Raises ``HostError`` subclasses.
    """
    way = transport if transport is not None else transport_for(connection)
    session = AgentSession(connection, way, timeout_s=timeout_s, owns=transport is None)
    try:
        session.start()
    except BaseException:
        session.close()
        raise
    return session


def survey_facts(session: Session, name: str) -> Facts:
    """What the host is. Raises ``SurveyError`` when it is no host that aiprov knows."""
    return facts_from(session.ask(_FACTS), name)


def survey_state(session: Session, facts: Facts, resources: Iterable[Resource]) -> HostState:
    """What is on the host, for these resources. Raises ``SurveyError``.

    The repositories are asked, in a second message, only about packages that are not as wanted.
    """
    wanted = tuple(resources)
    answer = session.ask(state_request(facts, wanted))
    request = candidates_request(facts, wanted, answer)
    candidates = session.ask(request) if request is not None else {}
    return state_from(facts, wanted, answer, candidates)


def look(session: Session, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What commands say and what is in files, folders and behind links, as the host gave it.

    ``request`` asks ``look``: see the agent. Raises ``SurveyError`` when it failed there.
    """
    return session.ask(request)

"""The further contexts: each carried out by the same commands, one after another, back once, and out again."""

from __future__ import annotations

import json
from collections.abc import Sequence

import psycopg

from demo.agreement import compare
from demo.chapters import measured_cutover, verify
from demo.commands import Operator, Outcome
from demo.run import Run
from demo.stack import CONTEXT, FOLLOWERS
from demo.tables import TABLES

OFFERED = (CONTEXT, "catalog", "inventory", "payments", "users")
"""What ``--contexts`` takes. The story begins with orders; in which order the others leave, the analysis says."""

KEPT = ("users",)
"""Whose old tables stay as copies that follow: sessions stay in the monolith, and read who is logged in."""

TOLD_ANEW = ("users",)
"""Whose owner says once what everything is: names in orders stood still since the orders' own tables were put away."""

CLEAN_COPIES = 2
"""How many verifications in a row the playbook's gate asks for before copies are kept."""

SECONDS_WITH_THE_SERVICE = 4.0
SECONDS_WITH_THE_MONOLITH = 3.0
SECONDS_ALONE = 5.0
DRAINED_SECONDS = 60.0

HEAD = """
    WITH last AS (SELECT base + records AS head, snapshot FROM strangle_tick WHERE stream = %(stream)s
                  ORDER BY number DESC LIMIT 1)
    SELECT coalesce((SELECT head FROM last), 0),
           (SELECT count(*) FROM strangle_outbox WHERE stream = %(stream)s
            AND coalesce(NOT pg_visible_in_snapshot(xid, (SELECT snapshot FROM last)), true))"""
POSITION = "SELECT coalesce((SELECT position FROM strangle_inbox WHERE stream = %s), 0)"
OWNED_BY_THE_MONOLITH = "SELECT context FROM strangle_ownership WHERE side = owner ORDER BY context"


def unknown(contexts: tuple[str, ...]) -> str:
    """Why these contexts cannot be carried out; empty when they can."""
    strangers = [name for name in contexts if name not in OFFERED]
    if strangers:
        return f"{strangers[0]!r} is not offered; choose from {','.join(OFFERED)}"
    if len(set(contexts)) < len(contexts):
        return "a context is named twice"
    if CONTEXT not in contexts:
        return f"name {CONTEXT!r} too: the story begins with it"
    return ""


def first(contexts: Sequence[str]) -> tuple[str, ...]:
    """The same contexts with the one first that the story begins with."""
    return (CONTEXT, *(name for name in contexts if name != CONTEXT))


class Passage:
    """One further context on its way out of the shop, while customers and staff go on."""

    def __init__(self, run: Run, context: str) -> None:
        self._run = run
        self._stack = run.stack
        self.context = context
        self._operator = Operator(run.stack, run.supervisor, say=run.narrator.say, context=context)

    def carry_out(self) -> None:
        """Every phase by its command, once back from the last but one."""
        run, operator = self._run, self._operator
        run.narrator.chapter(f"The {self.context} context: its service starts, and every phase again")
        self._stack.start_services(self.context)
        self._phase("dual_write", operator.move("strangle_dual_write"))
        self._phase("backfill", operator.move("strangle_backfill"))
        verify(run, f"{self.context}, clean 1 of 2", operator=operator)
        self._phase("verify", verify(run, f"{self.context}, clean 2 of 2", operator=operator))
        self._phase("switch_reads", operator.move("strangle_switch_reads", "--percent", "100"))
        self._cutover("cutover")
        run.shop_for(SECONDS_WITH_THE_SERVICE)
        self._phase("rollback", self._measured("strangle_rollback", "reverse"))
        run.shop_for(SECONDS_WITH_THE_MONOLITH)
        self._agree("after the rollback")
        verify(run, f"{self.context}, after the rollback", operator=operator)
        self._cutover("cutover again")
        run.shop_for(SECONDS_WITH_THE_SERVICE)
        self._agree("after the second cutover")
        self._decommission()

    def _cutover(self, name: str) -> None:
        self._phase(name, self._measured("strangle_cutover", "forward"))

    def _measured(self, command: str, direction: str) -> Outcome:
        return measured_cutover(self._run, command, f"{self.context} {direction}", operator=self._operator)

    def _decommission(self) -> None:
        """Where the orders service keeps copies, the monolith's sync is the one to keep them until now.

        From the end of what it brings, the service's own events go on: those after a position noted before.
        """
        position = self._head_of_its_events() if self.context in FOLLOWERS else 0
        kept = ("--keep-copies",) if self.context in KEPT else ()
        for turn in range(1, CLEAN_COPIES + 1) if kept else ():
            verify(self._run, f"{self.context}, the copies, {turn} of {CLEAN_COPIES}", operator=self._operator)
        self._phase("decommission", self._operator.move("strangle_decommission", *kept))
        if self.context in FOLLOWERS:
            self.await_drained("shop", CONTEXT, CONTEXT)
            self._stack.start_follower(self.context, position)
        if self.context in TOLD_ANEW:
            service = ("--settings", f"extracted_services.{self.context}.settings")
            self._stack.manage("strangle_state_events", self.context, *service, role=f"{self.context}_owner")
        self._run.shop_for(SECONDS_WITH_THE_SERVICE)

    def _head_of_its_events(self) -> int:
        asked = ("strangle_replay", self.context, "--group", FOLLOWERS[self.context], "--after", "0")
        settings = ("--settings", f"extracted_services.{CONTEXT}.settings")
        answer = self._stack.manage(*asked, "--format", "json", *settings, role=f"{CONTEXT}_owner")
        return int(json.loads(answer)["head"])

    def await_drained(self, sender: str, receiver: str, stream: str) -> None:
        """Wait until the receiver has applied all that the sender has committed to the stream up to now."""
        with (
            psycopg.connect(self._stack.superuser_dsn(sender), autocommit=True) as ours,
            psycopg.connect(self._stack.superuser_dsn(receiver), autocommit=True) as theirs,
        ):

            def numbered() -> bool:
                return bool((ours.execute(HEAD, {"stream": stream}).fetchone() or (0, 1))[1] == 0)

            self._run.supervisor.await_condition(f"a tick of {stream!r} in {sender}", numbered, DRAINED_SECONDS)
            head = (ours.execute(HEAD, {"stream": stream}).fetchone() or (0, 0))[0]

            def applied() -> bool:
                return bool((theirs.execute(POSITION, [stream]).fetchone() or (0,))[0] >= head)

            self._run.supervisor.await_condition(
                f"{receiver} at position {head} of {stream!r}", applied, DRAINED_SECONDS
            )

    def _agree(self, when: str) -> None:
        shop, service = self._stack.superuser_dsn("shop"), self._stack.superuser_dsn(self.context)
        self._run.agree(compare(shop, service, comparisons=TABLES[self.context]), f"{self.context} {when}")

    def _phase(self, name: str, outcome: Outcome) -> None:
        self._run.phase(f"{self.context}: {name}", outcome)


def nothing_is_left(contexts: tuple[str, ...]) -> bool:
    """Whether these are all contexts of the shop, so that its monolith need not tell anybody anything any more."""
    return set(contexts) == set(OFFERED)


def leave_the_monolith_behind(run: Run, passages: list[Passage]) -> None:
    """Let the monolith's relay and consumers end: it owns nothing any more, and the shop still sells.

    Before that, everything that went through it has to have arrived: sales that it heard of, and what it handed on.
    Copies that are kept go on following.
    """
    run.narrator.chapter("The monolith's relay and consumers stop; the shop goes on without them")
    for passage in passages[:1]:
        passage.await_drained(CONTEXT, "shop", CONTEXT)
    for passage in passages:
        if passage.context not in KEPT:
            passage.await_drained("shop", passage.context, passage.context)
    with psycopg.connect(run.stack.superuser_dsn("shop")) as shop:
        owned = [row[0] for row in shop.execute(OWNED_BY_THE_MONOLITH)]
    run.expect(not owned, f"the monolith still owns {owned}")
    run.stack.stop_messengers_of_the_monolith(but=KEPT)
    run.shop_for(SECONDS_ALONE)
    run.narrator.good(f"the monolith owns none of {', '.join(run.stack.contexts)}, and customers buy")

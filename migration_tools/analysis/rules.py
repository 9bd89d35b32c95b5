"""The rules: what couples two contexts, each with a stable id, what it costs, and the way out."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of coupling. `cost` is in points, of which a plain foreign key has two; `part` groups costs."""

    id: str
    name: str
    part: str
    cost: int
    remedy: str


RULES = {
    rule.id: rule
    for rule in (
        Rule(
            id="SFA101",
            name="foreign key",
            part="schema",
            cost=2,
            remedy="make it a LooseForeignKey: an integer column, kept whole by events",
        ),
        Rule(
            id="SFA102",
            name="cascade",
            part="schema",
            cost=3,
            remedy="decide what a deletion means for the other context, and let it follow an event (LooseForeignKey)",
        ),
        Rule(
            id="SFA103",
            name="one-to-one",
            part="schema",
            cost=3,
            remedy="move the columns to the context that writes them, or keep a copy linked by the same key",
        ),
        Rule(
            id="SFA104",
            name="many-to-many",
            part="schema",
            cost=4,
            remedy="give the table behind it to one side, and let that side keep the other's keys as integers",
        ),
        Rule(
            id="SFA105",
            name="generic foreign key",
            part="schema",
            cost=4,
            remedy="name the other side by context and key in text; content types are not shared between databases",
        ),
        Rule(
            id="SFA106",
            name="inheritance",
            part="schema",
            cost=8,
            remedy="turn the child's link to its parent into a plain key and copy the columns that it needs",
        ),
        Rule(
            id="SFA107",
            name="constraint",
            part="schema",
            cost=2,
            remedy="the constraint holds within the table still; its foreign column is only as true as the last event",
        ),
        Rule(
            id="SFA108",
            name="signal",
            part="code",
            cost=3,
            remedy="publish an event in the sender's transaction and handle it (migration_tools.messaging.handlers)",
        ),
        Rule(
            id="SFA109",
            name="admin",
            part="code",
            cost=1,
            remedy="show the other context's rows by its API, or from a read model",
        ),
        Rule(
            id="SFA110",
            name="import",
            part="code",
            cost=1,
            remedy="call the other context through a seam: migration_tools.seams.seam",
        ),
        Rule(
            id="SFA111",
            name="raw SQL",
            part="code",
            cost=5,
            remedy="replace the other context's tables in it by a call or a read model",
        ),
        Rule(
            id="SFA112",
            name="write by code",
            part="code",
            cost=5,
            remedy="let the owner write: call its function, or send it a command",
        ),
        Rule(
            id="SFA113",
            name="blind spot",
            part="code",
            cost=2,
            remedy="the tracer does not see this call; look at it by hand, or run with pg_stat_statements",
        ),
        Rule(
            id="SFA201",
            name="JOIN",
            part="queries",
            cost=5,
            remedy="ask both contexts and put the answers together, or keep a read model filled by events",
        ),
        Rule(
            id="SFA202",
            name="transaction",
            part="transactions",
            cost=13,
            remedy="make it a saga: one local transaction a context, joined by events, each with its compensation",
        ),
        Rule(
            id="SFA203",
            name="foreign writer",
            part="writers",
            cost=8,
            remedy="let the owner write: call its function, or send it a command",
        ),
        Rule(
            id="SFA204",
            name="N+1 after the cut",
            part="queries",
            cost=5,
            remedy="fetch the other context's rows in one batch before the loop",
        ),
        Rule(
            id="SFA205",
            name="foreign reader",
            part="queries",
            cost=1,
            remedy="read through a seam, or from a replica kept by events",
        ),
        Rule(
            id="SFA206",
            name="unseen statement",
            part="queries",
            cost=5,
            remedy="the database has run it, the trace has not seen it: find who sends it, by its role and time",
        ),
    )
}

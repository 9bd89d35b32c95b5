"""The executor that touches nothing: it tells, in sentences, what each step would do."""

from migration_tools.capture.models import Side
from migration_tools.messaging import lag as lags
from migration_tools.phases.archive import incoming_references, old_tables
from migration_tools.phases.code_locks import code_locks
from migration_tools.phases.keeping import refuse_other_end, writers
from migration_tools.phases.ports import Evidence
from migration_tools.phases.settling import found_open
from migration_tools.phases.surroundings import Surroundings, quarantine_schema
from migration_tools.phases.trying import try_mapping
from migration_tools.routing import publishing, streams
from migration_tools.routing.table import Side as Routed
from migration_tools.state.kept import keeps_copies
from migration_tools.stores.postgres.catalog import estimated_rows


class DryRunExecutor:
    """Collects sentences in `plan`."""

    def __init__(self, env: Surroundings):
        self.env = env
        self.plan: list[str] = []

    def _say(self, *sentences: str) -> Evidence:
        self.plan += sentences
        return {}

    def install_capture(self) -> Evidence:
        for side in (Side.TARGET, Side.SOURCE):
            for table in self.env.compiled.side(side).tables:
                what = " and ".join(
                    text
                    for text in (
                        "capture every write of" if table.captured else "",
                        "fence" if table.fence else "",
                    )
                    if text
                )
                self._say(
                    f"On the {side.value}, put triggers on {table.table!r} that {what or 'watch'} it; each waits at "
                    f"most 2 s for its lock."
                )
        return {}

    def stop_capture(self) -> Evidence:
        tables = ", ".join(t.table for t in self.env.compiled.source.tables)
        return self._say(f"Remove triggers and fence from {tables}, and apply what they had captured.")

    def remove_capture(self) -> Evidence:
        tables = ", ".join(t.table for t in self.env.compiled.target.tables)
        return self._say(f"Remove triggers and fence from {tables}; both sides forget who owns the context.")

    def await_sync(self) -> Evidence:
        return self._say("Wait until the service's consumer has applied the end of the stream.")

    def copy_history(self) -> Evidence:
        for relation in self.env.compiled.source.relations:
            if relation.kind == "r":
                rows = estimated_rows(self.env.source, relation.source_table)
                self._say(
                    f"Copy about {rows:,} rows of {relation.source_table!r} into {relation.target_table!r} in key "
                    f"ranges, beside live writes."
                )
                if relation.transforms:
                    self._say(try_mapping(self.env.source, relation))
        return {}

    def clear_target(self) -> Evidence:
        for relation in self.env.compiled.source.relations:
            if relation.kind == "r":
                rows = estimated_rows(self.env.target, relation.target_table)
                self._say(f"Delete about {rows:,} copied rows from {relation.target_table!r}; the originals stay.")
        return {}

    def publish_routes(self) -> Evidence:
        return self._say(
            *(
                f"Route {route.path!r} through the proxy, all of it to the monolith."
                for route in self.env.playbook.routes
            )
        )

    def shift_reads(self, percent: float) -> Evidence:
        route = publishing.current().contexts.get(self.env.context)
        now = route.reads_percent if route is not None else 0
        return self._say(f"Let the service answer {percent:g} % of the reads instead of {now:g} %, sticky per user.")

    def hand_over(self, to: Side) -> Evidence:
        owner = self.env.owner(Side.SOURCE)
        waiting = sum(each.events for each in lags.consumers(self.env.connection(to.other), self.env.context))
        side: Routed = "new" if to is Side.SOURCE else "old"
        found = streams.count(self.env.context, side)
        seconds = self.env.options.get("drain_seconds") or 0.0
        if to is Side.TARGET and (locks := code_locks()):
            self._say(
                f"Locks that the monolith's code takes protect nothing that is written elsewhere then; see that none "
                f"of these is needed for it: {', '.join(map(str, locks))}."
            )
        self._say_sagas()
        return self._say(
            f"Hold writes at {len(publishing.live_proxies())} proxies.",
            f"End the {to.other.value}'s open sockets and event streams (now {found}), waiting at most {seconds:g} s; "
            f"their clients come back to the {to.value}."
            if seconds
            else f"Leave the {to.other.value}'s open sockets and event streams (now {found}) alone; its fence will "
            f"refuse what they write (--drain-seconds ends them).",
            f"Take the write lock of {self.env.context!r} on the {to.other.value}, stepping back whenever it is not "
            f"had at once.",
            f"Apply what is left of the stream (now {waiting} records) and move the key sequences of the {to.value}.",
            f"Close the {to.other.value}, open the {to.value} (epoch {(owner.epoch if owner else 0) + 1}), release "
            f"the writes to it.",
        )

    def _say_sagas(self) -> None:
        found = found_open(self.env)
        if not found:
            return
        count = sum(each.count for each in found.values())
        patience = self.env.options.get("drain_sagas") or 0.0
        what = (
            f"Leave the open sagas (now {count}) on the side where they began; what they write there the fence refuses "
            f"until the context is back."
            if self.env.options.get("pin_sagas")
            else f"Wait at most {patience:g} s until the open ones (now {count}) have ended, or change nothing."
        )
        self._say(f"Let no saga of {self.env.context!r} begin.", what)

    def choose_end(self, *, keep: bool) -> Evidence:
        refuse_other_end(self.env, keep=keep)
        return {}

    def keeps_copies(self) -> bool:
        return keeps_copies(self.env.context)

    def cut_references(self) -> Evidence:
        found = incoming_references(self.env.source, old_tables(self.env))
        return self._say(
            *(f"Drop the reference {each['name']!r} of {each['table']!r}; its definition is kept." for each in found)
        )

    def stop_carrying_back(self) -> Evidence:
        return self._say("Stop carrying the service's writes back to the old tables.")

    def prove_quiet(self, *, readers: bool = False) -> Evidence:
        quiet = self.env.playbook.gates.quiet.total_seconds()
        who = "whoever else writes them or locks rows of them" if readers else "any reader or writer"
        return self._say(f"Watch the old tables for {quiet:g} s; {who} stops the move.")

    def take_writes(self) -> Evidence:
        roles: dict[str, list[str]] = {}
        for table, role in writers(self.env.source, old_tables(self.env)):
            roles.setdefault(role, []).append(table)
        self._say(
            *(
                f"Take the rights to write {', '.join(tables)} from role {role!r}; what they were is kept."
                for role, tables in roles.items()
            )
        )
        return self._say(
            f"Leave {', '.join(old_tables(self.env))} where they are: anybody may read them, they follow the service, "
            "and the fence goes on refusing writes."
        )

    def give_writes_back(self) -> Evidence:
        return self._say("Give the rights to write the old tables back; the fence decides who may as before.")

    def archive(self) -> Evidence:
        tables = ", ".join(old_tables(self.env))
        return self._say(
            f"Dump {tables} with checksums, read the dump back and compare it.",
            f"Move {tables} to schema {quarantine_schema(self.env.context)!r}.",
        )

    def unarchive(self) -> Evidence:
        return self._say(f"Move {', '.join(old_tables(self.env))} back from quarantine.")

    def carry_back_all(self) -> Evidence:
        return self._say("Capture both ways again and copy the service's rows into the old tables.")

    def restore_references(self) -> Evidence:
        return self._say("Restore the references of other contexts, without blocking their writers.")

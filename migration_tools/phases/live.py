"""The executor that does the work."""

from dataclasses import replace

from migration_tools.capture.applying import mark_applying
from migration_tools.capture.declaration import SideSpec
from migration_tools.capture.installation import install, remove
from migration_tools.capture.models import Side
from migration_tools.capture.ownership import set_owner
from migration_tools.errors import FenceBusy
from migration_tools.kernel import points
from migration_tools.messaging.inbox import positions
from migration_tools.messaging.stream import head
from migration_tools.phases import archive, keeping, quiet
from migration_tools.phases.copying import carry_back, copy_history
from migration_tools.phases.handover import CONFIRM_SECONDS, hand_over, publish_owner
from migration_tools.phases.ports import Evidence
from migration_tools.phases.settling import sagas_settled
from migration_tools.phases.surroundings import Surroundings
from migration_tools.phases.trying import try_mappings
from migration_tools.routing import publishing
from migration_tools.routing.table import ensure_context
from migration_tools.state.journal import record
from migration_tools.state.kept import keeps_copies
from migration_tools.stores.postgres import sql, transaction
from migration_tools.transfer.copy import forget_checkpoints, whole_relations
from migration_tools.transfer.stops import stopped_at_tick

SYNC_SECONDS = 20.0


class LiveExecutor:
    """Carries each step out against both databases and the proxies."""

    def __init__(self, env: Surroundings):
        self.env = env

    def install_capture(self) -> Evidence:
        """Capture, relations and fence on both sides, the target's first, so that its replica is never open."""
        env = self.env
        for sentence in try_mappings(env, (Side.TARGET, Side.SOURCE)):
            env.say(sentence)
        for side in (Side.TARGET, Side.SOURCE):
            install(env.connection(side), env.compiled.side(side), wait=env.wait)
            points.reached(f"install.{side.value}_done")
        owner = env.owner(Side.SOURCE)
        return {"tables": [t.table for t in env.compiled.source.tables], "epoch": owner.epoch if owner else 0}

    def stop_capture(self) -> Evidence:
        """Take the source's triggers off; its relations stay, so that what was captured can still be applied."""
        install(self.env.source, replace(self.env.compiled.source, tables=()), wait=self.env.wait)
        return {}

    def remove_capture(self) -> Evidence:
        """Forget the context in both databases, when nothing of it is in flight any more."""
        for side in (Side.SOURCE, Side.TARGET):
            remove(self.env.connection(side), self.env.context, wait=self.env.wait)
        return {}

    def await_sync(self) -> Evidence:
        """Wait until the service's own consumer has applied the present end of the stream."""
        env = self.env
        end = head(env.source.cursor(), env.context)
        waited = 0.0
        while positions(env.target, env.context)[0] < end:
            if waited > SYNC_SECONDS:
                raise FenceBusy(
                    f"the service's consumer is at {positions(env.target, env.context)[0]} of {end} after "
                    f"{SYNC_SECONDS:g} s; start "
                    f"strangle_relay {env.context} in the monolith and strangle_consume {env.context} in the "
                    f"service, then run the same command again"
                )
            env.wait(0.05)
            waited += 0.05
        return {"position": end}

    def copy_history(self) -> Evidence:
        """See phases.copying; with `restart` by the playbook as it is now, which may not be the one installed."""
        if self.env.options.get("restart"):
            self.install_capture()
        return copy_history(self.env)

    def clear_target(self) -> Evidence:
        """Delete what was copied and synced; the sync goes on from an empty target."""
        env = self.env
        with env.ends(Side.SOURCE, "clear") as ends, stopped_at_tick(ends), transaction(ends.receiver):
            mark_applying(ends.receiver, "row")
            deleted = 0
            for relation in reversed(whole_relations(ends.sender, env.context)):
                deleted += ends.receiver.execute(
                    sql.SQL("DELETE FROM {}").format(sql.Identifier(relation.target_table))
                ).rowcount
            forget_checkpoints(ends.receiver, env.context)
        record(env.context, "clear", "cleared", {"rows_deleted": deleted})
        return {"rows_deleted": deleted}

    def publish_routes(self) -> Evidence:
        """Make the context known to the proxy: everything to the monolith."""
        routes = self.env.playbook.routes
        if not routes:
            return {"routes": []}
        publishing.publish(
            lambda table: ensure_context(table, self.env.context, [r.path for r in routes], routes[0].service),
            author="strangle",
            reason=f"routes of {self.env.context}",
            attempts=5,
        )
        return {"routes": [route.path for route in routes]}

    def shift_reads(self, percent: float) -> Evidence:
        """Publish the share and wait until every live proxy answers by it."""
        if self.env.context not in publishing.current().contexts:
            self.publish_routes()
        if not self.env.playbook.routes:
            return {"percent": percent, "proxies": 0}
        table = publishing.set_reads(self.env.context, percent, author="strangle")
        live = publishing.live_proxies()
        if live:
            publishing.wait_applied(table.version, CONFIRM_SECONDS)
        return {"percent": percent, "version": table.version, "proxies": len(live)}

    def hand_over(self, to: Side) -> Evidence:
        """See phases.handover; no saga of the context is open meanwhile, see phases.settling."""
        with sagas_settled(self.env, to) as sagas:
            return {**hand_over(self.env, to).evidence(), **sagas}

    def choose_end(self, *, keep: bool) -> Evidence:
        """See phases.keeping."""
        return keeping.choose_end(self.env, keep=keep)

    def keeps_copies(self) -> bool:
        """Whether the decommission that is under way, done or being undone keeps the old tables."""
        return keeps_copies(self.env.context)

    def cut_references(self) -> Evidence:
        """See phases.archive."""
        return archive.cut_references(self.env)

    def stop_carrying_back(self) -> Evidence:
        """Drain the way back, then capture only what other contexts still replicate into the service."""
        env = self.env
        with env.ends(Side.TARGET, "last carry") as ends, stopped_at_tick(ends) as stop:
            pass
        install(env.target, _only_references(env.compiled.target), wait=env.wait)
        install(env.source, _only_references(env.compiled.source), wait=env.wait)
        return {"position": stop.position, "drained": stop.drained}

    def prove_quiet(self, *, readers: bool = False) -> Evidence:
        """See phases.quiet."""
        return quiet.prove_quiet(self.env, readers=readers)

    def take_writes(self) -> Evidence:
        """See phases.keeping."""
        return keeping.take_writes(self.env)

    def give_writes_back(self) -> Evidence:
        """See phases.keeping."""
        return keeping.give_writes_back(self.env)

    def archive(self) -> Evidence:
        """See phases.archive."""
        return archive.archive(self.env)

    def unarchive(self) -> Evidence:
        """See phases.archive."""
        return archive.unarchive(self.env)

    def carry_back_all(self) -> Evidence:
        """Capture both ways again and bring the old tables up to date from the service."""
        env = self.env
        owner = env.owner(Side.TARGET)
        install(env.target, env.compiled.target, wait=env.wait)
        install(env.source, env.compiled.source, wait=env.wait)
        if owner is not None:
            set_owner(env.source, env.context, owner.owner, owner.epoch)
        publish_owner(env, Side.TARGET)
        return carry_back(env)

    def restore_references(self) -> Evidence:
        """See phases.archive."""
        return archive.restore_references(self.env)


def _only_references(spec: SideSpec) -> SideSpec:
    """What is left of a side when its own rows move no more: replicas go on, and every fence stays."""
    relations = tuple(r for r in spec.relations if not r.owned)
    kept = {r.source_table for r in relations}
    fenced = (replace(t, captured=False) for t in spec.tables if t.table not in kept and t.fence is not None)
    tables = (*(t for t in spec.tables if t.table in kept), *fenced)
    return SideSpec(context=spec.context, side=spec.side, relations=relations, tables=tables)

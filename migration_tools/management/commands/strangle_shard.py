"""The shard map: make it, show it, add a shard, move buckets while they are written, split and merge ranges."""

import json
import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.errors import ShardingError
from migration_tools.kernel.watch import UNWATCHED
from migration_tools.management.examples import Examples
from migration_tools.management.shard_plans import would
from migration_tools.management.signals import heed_signals, watch


class Command(Examples):
    """Runs as the owner of the tables on every shard, with the map's database as `DATABASE`."""

    help = "Sharded tables and their map."
    examples = ("move customers 17 --to s2",)
    requires_system_checks: list[str] = []
    watch = UNWATCHED

    def add_arguments(self, parser: CommandParser) -> None:
        tasks = parser.add_subparsers(dest="task", required=True)
        for name, text in (
            ("init", "install the guard on every shard, and make a map where there is none"),
            ("show", "where every bucket is, and how many rows it has"),
            ("add", "give a shard its even share of a map by hash"),
            ("move", "move one bucket"),
            ("split", "cut a range in two"),
            ("merge", "join a range to the one below it"),
        ):
            task = tasks.add_parser(name, help=text)
            task.add_argument("map", help="a map of MIGRATION_TOOLS['SHARDS']")
            task.add_argument("--format", choices=["text", "json"], default="text", help="how to print")
            if name in ("move", "split", "merge"):
                task.add_argument("bucket", type=int, help="its number; show lists them")
            if name == "init":
                task.add_argument("--on", default="", help="the first shards, separated by commas (default: all)")
                task.add_argument("--ranges", default="", help="lowest keys and shards, as 0=s0,1000=s1, by range")
                task.add_argument("--regions", default="", help="regions and shards, as eu=s0,us=s1, by geography")
            if name == "add":
                task.add_argument("shard", help="the new shard")
            if name == "move":
                task.add_argument("--to", required=True, help="the shard that is to have it")
            if name == "split":
                task.add_argument("--at", type=int, required=True, help="the lowest key of the new range")
            if name != "show":
                task.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        self.watch = watch(stop, quiet=options["format"] == "json")
        with heed_signals(stop):
            found = getattr(self, f"_{options['task']}")(options["map"], options)
        if options["format"] == "json":
            self.stdout.write(json.dumps(found))
        elif options.get("dry_run"):
            for sentence in would(options["task"], options["map"], found):
                self.stdout.write(sentence)
            self.stdout.write("nothing was touched")
        else:
            for line in found.get("buckets") or [found]:
                self.stdout.write("  ".join(f"{name}={value}" for name, value in line.items()))

    def _init(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        from migration_tools.sharding.declaration import sharding
        from migration_tools.sharding.guard import install
        from migration_tools.sharding.maps import write_map
        from migration_tools.sharding.moving import hold_all
        from migration_tools.stores.postgres import connect

        declared = sharding(name)
        made = first_map(name, options)
        if options["dry_run"]:
            where = {bucket.number: bucket.shard for bucket in made.buckets}
            return {"map": name, "strategy": made.strategy.value, "count": len(where), "would_be_on": where}
        for shard in declared.shards.values():
            with connect(shard.alias, "shard") as conn:
                install(conn, declared)
        write_map(made)
        hold_all(name)
        return {"map": name, "strategy": made.strategy.value, "count": len(made.buckets)}

    def _show(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        from migration_tools.sharding.showing import shown

        return shown(name)

    def _add(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        from migration_tools.sharding.declaration import sharding
        from migration_tools.sharding.guard import install
        from migration_tools.sharding.mapping import plan_of_adding
        from migration_tools.sharding.maps import read_map
        from migration_tools.stores.postgres import connect

        declared = sharding(name)
        shard = declared.shard(options["shard"])
        if not options["dry_run"]:
            with connect(shard.alias, "shard") as conn:
                install(conn, declared)
        plan = plan_of_adding(read_map(name), options["shard"])
        done: list[dict[str, Any]] = []
        for bucket in plan:
            self.watch.heed(
                f"stopped; {len(done)} of {len(plan)} buckets are moved to {options['shard']!r}, the others are where "
                "they were. Run the same command again to move them"
            )
            done.append(self._moved(name, bucket.number, options["shard"], options))
        return {"buckets": done}

    def _move(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        return self._moved(name, options["bucket"], options["to"], options)

    def _moved(self, name: str, number: int, to: str, options: dict[str, Any]) -> dict[str, Any]:
        from migration_tools.sharding.maps import read_map
        from migration_tools.sharding.moving import move

        if options["dry_run"]:
            return {"bucket": number, "from": read_map(name).by_number(number).shard, "to": to}
        moved = move(name, number, to, watch=self.watch)
        held = round(moved.held_seconds * 1000, 1)
        return {"bucket": number, "from": moved.source, "to": to, "rows": moved.rows, "held_ms": held}

    def _split(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        from migration_tools.sharding.maps import read_map
        from migration_tools.sharding.ranges import split

        if options["dry_run"]:
            whole = read_map(name).by_number(options["bucket"])
            return {"bucket": whole.number, "low": whole.low, "shard": whole.shard, "would_be_cut_at": options["at"]}
        made = split(name, options["bucket"], options["at"])
        return {"bucket": made.number, "low": made.low, "shard": made.shard}

    def _merge(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        from migration_tools.sharding.maps import read_map
        from migration_tools.sharding.ranges import merge

        if options["dry_run"]:
            gone = read_map(name).by_number(options["bucket"])
            return {"bucket": gone.number, "low": gone.low, "shard": gone.shard, "would_be": "joined to the one below"}
        made = merge(name, options["bucket"])
        return {"bucket": made.number, "low": made.low, "shard": made.shard}


def first_map(name: str, options: dict[str, Any]) -> Any:
    """The map that `init` is asked for, by the declared strategy."""
    from migration_tools.sharding.declaration import sharding
    from migration_tools.sharding.mapping import Strategy, even_map, geographic_map, ranged_map

    declared = sharding(name)
    match declared.strategy:
        case Strategy.HASH:
            wanted = [each for each in options["on"].split(",") if each] or list(declared.shards)
            return even_map(name, [declared.shard(each).name for each in wanted], declared.buckets)
        case Strategy.RANGE:
            pairs = _pairs(options["ranges"], "--ranges 0=s0,1000=s1")
            return ranged_map(name, {int(low): declared.shard(shard).name for low, shard in pairs.items()})
        case Strategy.GEOGRAPHY:
            regions = _pairs(options["regions"], "--regions eu=s0,us=s1")
            wrong = [region for region, shard in regions.items() if declared.shard(shard).region != region]
            if wrong:
                raise ShardingError(f"regions {wrong} of map {name!r} are given to shards of other regions")
            return geographic_map(name, regions)


def _pairs(text: str, example: str) -> dict[str, str]:
    pairs = dict(each.split("=", 1) for each in text.split(",") if "=" in each)
    if not pairs:
        raise ShardingError(f"this map needs {example}")
    return pairs

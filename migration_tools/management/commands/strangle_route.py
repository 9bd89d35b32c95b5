"""Show and change who answers which URLs; every change is a new version with an author and a reason."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from django.apps import apps

from migration_tools.conf import settings
from migration_tools.errors import RoutingError
from migration_tools.management import route_planes
from migration_tools.management.examples import Examples
from migration_tools.management.rehearsal import rolled_back
from migration_tools.management.route_changes import drain_streams, publish_change
from migration_tools.management.route_doctor import examine
from migration_tools.playbook.registry import get
from migration_tools.routing import publishing
from migration_tools.routing.models import RoutingVersion
from migration_tools.routing.proposal import propose
from migration_tools.routing.table import difference, to_document


class Command(Examples):
    help = (
        "Show and change the routing table. A hold is a hint to the proxy; the database's fence decides who "
        "may write. Exit codes: 0 done, 1 error (also: a proxy did not confirm), 2 usage."
    )
    examples = ("show", "set orders reads=25%")

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)

        def action(name: str, text: str, *, changes: bool = False) -> ArgumentParser:
            sub = actions.add_parser(name, help=text)
            sub.add_argument("--format", choices=("text", "json"), default="text")
            if changes:
                sub.add_argument("--reason", default="", help="why, for the log")
                sub.add_argument("--author", default="", help="who, for the log (default: the system user)")
                sub.add_argument("--timeout-seconds", type=float, default=10.0, help="wait for live proxies")
                sub.add_argument("--no-wait", action="store_true", help="do not wait for live proxies")
                sub.add_argument("--dry-run", action="store_true", help="say what would change; publish nothing")
            return sub

        action("show", "the table in force and what each live proxy applies")
        change = action("set", "change a context's routes", changes=True)
        change.add_argument("context")
        change.add_argument("assignments", nargs="+", metavar="reads=25%|shadow=5%|writes=old|writes=new")
        change.add_argument("--allow-unsticky", action="store_true", help="a share where no user stays on a side")
        action("kill", "send every read to the old side now; writes stay with their owner", changes=True).add_argument(
            "context"
        )
        rule = action("rule", "send readers whose request has all of this to a side, whatever the share", changes=True)
        rule.add_argument("context")
        rule.add_argument("side", choices=("old", "new"))
        rule.add_argument("--method", action="append", default=[], help="GET, HEAD or OPTIONS; may be repeated")
        rule.add_argument("--path", default="", help="a prefix below the context's paths")
        rule.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
        rule.add_argument("--cookie", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
        rule.add_argument("--cohort", default="", help="the value of the cookie sx_cohort")
        unrule = action("unrule", "take a rule away, by its number in show", changes=True)
        unrule.add_argument("context")
        unrule.add_argument("number", type=int)
        action("propose", "prefixes of a context's views in the URLconf, for its playbook").add_argument("context")
        drain = action("drain", "end a side's open sockets and event streams; clients come back by the routes")
        drain.add_argument("context")
        drain.add_argument("--side", choices=("old", "new"), help="default: the side that writes do not go to")
        drain.add_argument("--seconds", type=float, default=10.0, help="wait so long at most (default 10)")
        drain.add_argument("--dry-run", action="store_true", help="say what is open; touch nothing")
        drain.add_argument("--reason", default="", help="why, for the log")
        drain.add_argument("--author", default="", help="who, for the log (default: the system user)")
        forget = action("forget", "take a proxy that serves nobody any more off the books")
        forget.add_argument("proxy")
        forget.add_argument("--dry-run", action="store_true", help="say whether it is on the books; touch nothing")
        render = action("render", "the table as another data plane's files; changes nothing that runs")
        render.add_argument("--target", choices=route_planes.TARGETS, help="for which data plane")
        render.add_argument("--directory", default="", help="write them there, where the data plane reads them")
        render.add_argument("--gateway", default="strangler", help="of gateway-api: the Gateway's name")
        render.add_argument("--allow-unsticky", action="store_true", help="a share where no user stays on a side")
        render.add_argument("--capabilities", action="store_true", help="print what each data plane can do")
        follow = action("follow", "keep a running HAProxy at the table until SIGTERM, and confirm it")
        follow.add_argument("--directory", required=True, help="of its rendered files")
        follow.add_argument("--socket", default="", help="its runtime socket (default: haproxy.sock in --directory)")
        action("doctor", "examine table, proxies and upstreams; exit 1 with what is wrong")
        action("hold", "let a context's writes wait", changes=True).add_argument("context")
        action("release", "let held writes go on where they went", changes=True).add_argument("context")
        back = action("rollback", "publish an older version again", changes=True)
        back.add_argument("version", nargs="?", type=int, help="default: the one before the current")
        action("log", "who published what and why, newest first").add_argument(
            "--limit", type=int, default=20, help="so many versions (default 20)"
        )
        compare = action("diff", "what changed from one version to another")
        compare.add_argument("before", type=int)
        compare.add_argument("after", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        actions: dict[str, Callable[[dict[str, Any]], None]] = {
            "show": self._show,
            "log": self._log,
            "diff": self._diff,
            "propose": self._propose,
            "doctor": self._doctor,
            "forget": self._forget,
            "render": lambda options: self.stdout.write(route_planes.render(options)),
            "follow": route_planes.follow,
            "drain": self._drain,
        }
        actions.get(options["action"], self._change)(options)

    def _show(self, options: dict[str, Any]) -> None:
        table, proxies = publishing.current(), publishing.live_proxies()
        if options["format"] == "json":
            states = [
                {
                    "proxy": row.proxy,
                    "applied_version": row.applied_version,
                    "rejected_version": row.rejected_version,
                    "rejected_reason": row.rejected_reason,
                    "note": row.note,
                    "streams": row.streams,
                }
                for row in proxies
            ]
            return self._json({"version": table.version, **to_document(table), "proxies": states})
        self.stdout.write(f"version {table.version}; whatever no context claims goes to {table.default}")
        for name, route in sorted(table.contexts.items()):
            held = f" (before: {route.held_from})" if route.held_from else ""
            shadow = f", {route.shadow_percent:g} % of reads shadowed" if route.shadow_percent else ""
            self.stdout.write(
                f"  {name}: {', '.join(route.paths)}: {route.reads_percent:g} % of reads to {route.service}, "
                f"writes: {route.writes}{held}{shadow}"
            )
            for number, rule in enumerate(route.rules, 1):
                self.stdout.write(f"    rule {number}: {rule}")
        for row in proxies:
            trouble = f"; refused {row.rejected_version}: {row.rejected_reason}" if row.rejected_reason else ""
            note = f"; {row.note}" if row.note else ""
            self.stdout.write(f"  proxy {row.proxy} applies version {row.applied_version}{trouble}{note}")
            for context, sides in sorted(row.streams.items()):
                counts = ", ".join(f"{number} on {side}" for side, number in sorted(sides.items()))
                self.stdout.write(f"    {context}: open streams: {counts}")

    def _change(self, options: dict[str, Any]) -> None:
        before = publishing.current()
        if options["dry_run"]:
            with rolled_back(settings().DATABASE):
                changes = difference(before, publish_change(options))
            return self._tell_plan(before.version, changes, options["format"])
        after = publish_change(options)
        proxies = [] if options["no_wait"] else publishing.wait_applied(after.version, options["timeout_seconds"])
        changes = difference(before, after)
        if options["format"] == "json":
            confirmed = [row.proxy for row in proxies]
            return self._json({"version": after.version, "changes": changes, "confirmed_by": confirmed})
        self.stdout.write(f"version {after.version}, confirmed by {len(proxies)} live proxies")
        for line in changes or ["nothing changed"]:
            self.stdout.write(f"  {line}")

    def _tell_plan(self, version: int, changes: list[str], form: str) -> None:
        if form == "json":
            return self._json({"version": version, "would_change": changes})
        self.stdout.write(f"version {version} stays; nothing was touched")
        for line in changes or ["nothing would change"]:
            self.stdout.write(f"  {line}")

    def _log(self, options: dict[str, Any]) -> None:
        rows = [_entry(row) for row in publishing.log(options["limit"])]
        if options["format"] == "json":
            return self._json(rows)
        for row in rows:
            self.stdout.write(f"{row['version']:>6}  {row['created']}  {row['author']:<12}  {row['reason']}")

    def _diff(self, options: dict[str, Any]) -> None:
        tables = [publishing.at_version(options[name]) for name in ("before", "after")]
        changes = difference(*tables)
        if options["format"] == "json":
            return self._json(changes)
        for line in changes or ["no difference"]:
            self.stdout.write(line)

    def _propose(self, options: dict[str, Any]) -> None:
        playbook = get(options["context"])
        found = propose(dict.fromkeys(apps.get_model(p.model)._meta.app_config.name for p in playbook.projections))
        if options["format"] == "json":
            return self._json([asdict(each) for each in found])
        service = playbook.routes[0].service if playbook.routes else options["context"]
        for each in found:
            if each.path == "/":
                self.stdout.write(f"# no prefix of their own, give them one first: {', '.join(each.views)}")
                continue
            self.stdout.write(f'Route("{each.path}", service="{service}"),  # {", ".join(each.views)}')
            for stranger in each.strangers:
                self.stdout.write(f"#   would move along, though of another context: {stranger}")

    def _drain(self, options: dict[str, Any]) -> None:
        done = drain_streams(options)
        if options["format"] == "json":
            self._json(done)
        else:
            for proxy, sides in done["open"].items():
                self.stdout.write(f"  proxy {proxy}: {sides.get('old', 0)} open on old, {sides.get('new', 0)} on new")
            self.stdout.write(done["message"])

    def _forget(self, options: dict[str, Any]) -> None:
        with rolled_back(settings().DATABASE) if options["dry_run"] else nullcontext():
            known = publishing.forget_proxy(options["proxy"])
        if not known:
            raise RoutingError(f"no proxy {options['proxy']!r} has ever reported; see strangle_route show")
        if options["format"] == "json":
            return self._json({"forgotten": options["proxy"], "dry_run": options["dry_run"]})
        told = "would be forgotten; nothing was touched" if options["dry_run"] else "is forgotten"
        self.stdout.write(f"proxy {options['proxy']!r} {told}")

    def _doctor(self, options: dict[str, Any]) -> None:
        findings = examine()
        if options["format"] == "json":
            self._json({"findings": findings})
        if findings:
            raise RoutingError("found:\n" + "\n".join(f"  - {text}" for text in findings))
        if options["format"] == "text":
            self.stdout.write("nothing is wrong")

    def _json(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _entry(row: RoutingVersion) -> dict[str, Any]:
    return {
        "version": row.pk,
        "parent": row.parent_id,
        "author": row.author,
        "reason": row.reason,
        "created": row.created.isoformat(timespec="seconds"),
        "sha256": row.sha256,
    }

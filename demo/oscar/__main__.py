"""``python -m demo.oscar``: oscar's orders leave oscar under its own customers; exits 0 when all is well."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import signal
import sys
import warnings
from pathlib import Path
from types import FrameType

from demo import ROOT
from demo.__main__ import playground
from demo.commands import CommandFailed
from demo.ledger import Ledger
from demo.narrate import Narrator
from demo.oscar.assortment import Assorter
from demo.oscar.people import Clerk, Customer, Person, Shop, Traffic
from demo.oscar.stack import OscarStack
from demo.oscar.story import Story, StoryFailed
from demo.processes import NotReady, ProcessDied, Supervisor

OUTPUT = ROOT / "var" / "demo-oscar"
FAILURES = (StoryFailed, CommandFailed, ProcessDied, NotReady)


def main() -> int:
    options = _parser().parse_args()
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return run(options)
    except KeyboardInterrupt:
        print("\ninterrupted; everything was stopped", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Tell the story; 0 when all is well."""
    narrator, output = Narrator(), Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    result, facts = "the demo itself failed", {}
    with playground(keep=options.keep) as supervisor:
        try:
            narrator.chapter("Setting up")
            with OscarStack(supervisor, say=narrator.say, contexts=options.context) as stack:
                stack.start(orders=options.orders)
                story = _story(options, stack, supervisor, narrator, output / "ledger.jsonl")
                facts = story.facts
                story.tell()
                result = "ok"
        except FAILURES as failure:
            result = str(failure)
        finally:
            (output / "report.json").write_text(json.dumps({"result": result, **facts}, indent=2, default=str) + "\n")
            if result != "ok":
                shutil.rmtree(output / "logs", ignore_errors=True)
                shutil.copytree(supervisor.logs, output / "logs")
    if result == "ok":
        traffic = facts["traffic"]
        narrator.good(
            f"ok: {traffic['requests']:,} requests, {traffic['failed']} failed; {facts['acknowledged']:,} writes "
            f"acknowledged, 0 lost, 0 doubled, 0 differences; pauses {facts['pause_ms']} ms"
        )
        return 0
    narrator.bad(f"not ok: {result}")
    narrator.say(f"logs and report: {output}")
    return 1


def _story(
    options: argparse.Namespace, stack: OscarStack, supervisor: Supervisor, narrator: Narrator, ledger: Path
) -> Story:
    ledger.unlink(missing_ok=True)
    name = secrets.token_hex(3)
    shop = Shop(url=stack.url, run=name, seed=options.seed, ledger=Ledger(ledger))
    people: list[Person] = [Customer(shop, f"customer-{number}") for number in range(options.customers)]
    people.append(Clerk(shop, "clerk"))
    if "catalogue" in options.context:
        people.append(Assorter(shop, "assorter"))
    return Story(
        stack=stack,
        supervisor=supervisor,
        narrator=narrator,
        traffic=Traffic(shop, people),
        ledger=ledger,
        run=name,
        seconds=options.seconds,
        writes=options.writes,
        reads=options.reads,
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _contexts(names: str) -> tuple[str, ...]:
    """What leaves, one after the other."""
    chosen = tuple(names.split(","))
    if chosen not in (("order",), ("catalogue",), ("order", "catalogue")):
        raise argparse.ArgumentTypeError(f"{names!r} is not offered; choose order, catalogue, or order,catalogue")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.oscar", description=__doc__)
    parser.add_argument(
        "--context", default=("order",), type=_contexts, metavar="NAMES", help="order, catalogue, or order,catalogue"
    )
    parser.add_argument("--orders", type=int, default=40, help="orders before the story begins (%(default)s)")
    parser.add_argument("--customers", type=int, default=2, help="at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the people's choices (%(default)s)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of traffic in each stretch, at least (%(default)s)")
    parser.add_argument("--writes", type=int, default=15, help="acknowledged in each stretch, at least (%(default)s)")
    parser.add_argument("--reads", type=int, default=20, help="from the service in each step of the ramp (%(default)s)")
    parser.add_argument("--output", default=str(OUTPUT), help="where report, ledger and logs go (var/demo-oscar)")
    parser.add_argument("--keep", action="store_true", help="keep the private directory (databases and logs)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

"""``python -m demo``: the whole story; ``python -m demo up``: the stack alone, until Ctrl-C."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from demo import OUTPUT, ROOT
from demo.closing import summarise
from demo.commands import CommandFailed
from demo.companions import COMPANIONS, STREAMS, start_checkouts, start_companions, start_snapshots, start_sweep
from demo.further import OFFERED, first, unknown
from demo.narrate import Narrator
from demo.processes import NotReady, ProcessDied, Supervisor
from demo.report import Report
from demo.run import StoryFailed
from demo.stack import CONTEXT, MODE, POLYGLOT, Stack
from demo.story import Story
from demo.survey import survey
from demo.traffic import DEFAULT_RATE, Traffic

FAILURES = (StoryFailed, CommandFailed, ProcessDied, NotReady)


def main() -> int:
    options = _parser().parse_args()
    # The wheel of PostgreSQL asks for a directory it does not need.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return up(options) if options.command == "up" else run(options)
    except KeyboardInterrupt:
        print("\ninterrupted; everything was stopped", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Tell the story; 0 when all is well."""
    narrator, report = Narrator(), Report()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "report.json").unlink(missing_ok=True)
    with playground(keep=options.keep) as supervisor:
        try:
            narrator.chapter("Setting up")
            stack = Stack(supervisor, say=narrator.say, contexts=options.contexts or (CONTEXT,))
            with stack:
                stack.prepare(orders=options.orders, seed=options.seed)
                if stack.contexts[1:]:
                    stack.contexts = survey(stack, supervisor, narrator, seed=options.seed)
                    narrator.chapter("The shop starts, without the tracer")
                stack.open()
                narrator.say(f"watch it in the console: {stack.console_login}")
                story = _story(options, stack, supervisor, narrator, report)
                story.tell()
                narrator.summary("What it came to", summarise(story))
        except FAILURES as failure:
            report.result = str(failure)
            narrator.bad(report.result)
        except KeyboardInterrupt:
            report.result = "interrupted"
            raise
        except Exception as error:
            report.result = f"the demo itself failed: {error!r}"
            raise
        finally:
            report.write(OUTPUT / "report.json")
            if report.result != "ok":
                _keep_logs(supervisor)
        if report.result == "ok":
            narrator.good("ok: nothing lost, nothing duplicated, no request failed")
            return 0
        narrator.bad(f"not ok: {report.result.splitlines()[0]}")
        narrator.say(f"logs: {(OUTPUT / 'logs').relative_to(ROOT)}, report: var/demo/report.json")
        return 1


def up(options: argparse.Namespace) -> int:
    """Start the stack, print where everything is, and keep it until Ctrl-C."""
    narrator = Narrator()
    with playground(keep=options.keep) as supervisor:
        stack = Stack(
            supervisor,
            say=narrator.say,
            contexts=options.contexts or OFFERED,
            companions=tuple(COMPANIONS),
            relayed=STREAMS,
            mode=options.database_mode,
        )
        try:
            with stack:
                stack.start(orders=options.orders, seed=options.seed)
                narrator.say(f"starting {', '.join((*stack.contexts[1:], *COMPANIONS))}")
                stack.start_services(*stack.contexts[1:], workers=1)
                start_checkouts(stack)
                start_sweep(stack)
                start_snapshots(stack)
                start_companions(stack)
                operator_file = OUTPUT / "operator.env"
                OUTPUT.mkdir(parents=True, exist_ok=True)
                stack.write_operator_file(operator_file)
                try:
                    narrator.summary("The stack is up", _addresses(stack, operator_file, supervisor))
                    _serve_until_interrupted(supervisor)
                finally:
                    operator_file.unlink(missing_ok=True)
        except FAILURES as failure:
            narrator.bad(str(failure))
            _keep_logs(supervisor)
            return 1
    return 0


@contextmanager
def playground(*, keep: bool) -> Iterator[Supervisor]:
    """A private directory with a supervisor; at the end every process is ended and the directory removed."""
    directory = Path(tempfile.mkdtemp(prefix="strangler-demo-"))
    supervisor = Supervisor(directory)
    try:
        yield supervisor
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        supervisor.close()
        if keep:
            print(f"kept: {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)
        supervisor.dismiss_watchdog()


def _story(
    options: argparse.Namespace, stack: Stack, supervisor: Supervisor, narrator: Narrator, report: Report
) -> Story:
    ledger = OUTPUT / "ledger.jsonl"
    ledger.unlink(missing_ok=True)
    traffic = Traffic(
        url=stack.addresses.url,
        ledger=ledger,
        seed=options.seed,
        rate=options.rate,
        shop_dsn=stack.shop_dsn,
        contexts=stack.contexts,
        promote=stack.promote,
    )
    return Story(
        stack=stack,
        supervisor=supervisor,
        narrator=narrator,
        traffic=traffic,
        ledger=ledger,
        seed=options.seed,
        report=report,
    )


def _serve_until_interrupted(supervisor: Supervisor) -> None:
    pause = threading.Event()
    with suppress(KeyboardInterrupt):
        while not pause.wait(0.5):
            supervisor.check()


def _addresses(stack: Stack, operator_file: Path, supervisor: Supervisor) -> list[tuple[str, str]]:
    addresses = stack.addresses
    return [
        ("shop, through Envoy", addresses.url),
        ("monolith", f"http://127.0.0.1:{addresses.monolith}"),
        ("console", stack.console_login),
        *((f"{name} service", f"http://127.0.0.1:{port}") for name, port in addresses.services.items()),
        (
            "PostgreSQL",
            f"127.0.0.1:{addresses.postgres} (databases {', '.join(('shop', *stack.contexts, *stack.companions))})",
        ),
        ("logs", str(supervisor.logs)),
        ("be the operator", f". {operator_file.relative_to(ROOT)}; python manage.py strangle_status orders"),
        ("add customers", f"python -m demo.traffic --url {addresses.url} --ledger var/demo/ledger.jsonl"),
        ("stop everything", "Ctrl-C"),
    ]


def _keep_logs(supervisor: Supervisor) -> None:
    """Leave the logs where they are found after the private directory is gone."""
    shutil.rmtree(OUTPUT / "logs", ignore_errors=True)
    if supervisor.logs.exists():
        shutil.copytree(supervisor.logs, OUTPUT / "logs")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _contexts(text: str) -> tuple[str, ...]:
    contexts = tuple(name.strip() for name in text.split(",") if name.strip())
    if mistake := unknown(contexts):
        raise argparse.ArgumentTypeError(mistake)
    return first(contexts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("run", "up"), default="run", help="(default: run)")
    parser.add_argument("--orders", type=int, default=50_000, help="seeded orders (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the data and of the customers (%(default)s)")
    parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="requests a second (%(default)s)")
    parser.add_argument(
        "--contexts",
        type=_contexts,
        help=f"which leave, in the order that the analysis suggests: {','.join(OFFERED)} ({CONTEXT}; all with up)",
    )
    parser.add_argument(
        "--database-mode",
        choices=(MODE, POLYGLOT),
        default=MODE,
        help="of up: SERVICES_DATABASE_MODE of the services; polyglot keeps the stock in MongoDB (%(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the private directory (databases and logs)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

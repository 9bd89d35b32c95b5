"""The closing: when the traffic has stopped, the ledger meets the databases and the verdict is given."""

from __future__ import annotations

import json
from collections.abc import Iterator

from demo import OUTPUT, conserved, ledger
from demo.audit import Findings, Owner, audit_copied_names, audit_names, audit_owner, merge, settled
from demo.book import Book, fold
from demo.consequences import audit_daily_count, audit_payments
from demo.run import Run
from demo.staff_audit import audit_deliveries, audit_products

OWNER_AT_THE_END: Owner = "orders"


def close_the_books(run: Run) -> None:
    """Audit, fill in the report's figures and its result, and print the summary."""
    book = fold(ledger.read(run.ledger))
    stack, contexts = run.stack, run.stack.contexts
    shop, orders = stack.superuser_dsn("shop"), stack.superuser_dsn("orders")
    payments = stack.superuser_dsn("payments") if "payments" in contexts else ""
    stock = stack.superuser_dsn("inventory") if "inventory" in contexts else ""

    def look() -> Findings:
        return merge(
            audit_owner(book, OWNER_AT_THE_END, orders),
            audit_names(book, shop),
            audit_payments(
                book, shop, owner=OWNER_AT_THE_END, owner_dsn=orders, payments_dsn=payments, stock_dsn=stock
            ),
            audit_daily_count(book, shop, orders, since_epoch=run.dual_write_since),
            *_names(run, book),
            *_staff(run),
        )

    findings = settled(look)
    if run.look_at_untouched(OWNER_AT_THE_END) != run.untouched:
        findings.lost.append("the seeded orders that nobody touched are not what they were at the start")
    if conserved.money(payments or shop, "payments" if payments else "monolith", run.seeded_upto) != run.money:
        findings.wrong.append("the payments of the seeded orders are not what they were at the start")
    if conserved.stock(stock or shop, "inventory" if stock else "monolith", run.seeded_upto) != run.stock:
        findings.wrong.append("the stock movements of the seeded orders are not what they were at the start")
    figures = run.report.traffic
    figures.writes_acknowledged = book.acknowledged
    figures.writes_lost, figures.writes_duplicated = len(findings.lost), len(findings.duplicated)
    record_traffic(run, findings)
    shortcomings = run.report.shortcomings()
    if findings.resurrected:
        shortcomings.append(f"{len(findings.resurrected)} writes resurrected")
    if findings.wrong:
        shortcomings.append(f"{len(findings.wrong)} consequences wrong, the first: {findings.wrong[0]}")
    for name in ("lost", "duplicated", "resurrected", "wrong"):
        for sentence in getattr(findings, name)[:5]:
            run.narrator.bad(f"{name}: {sentence}")
    checked = ", ".join(f"{count:,} {name}" for name, count in sorted(findings.checked.items()))
    run.narrator.say(f"checked {checked}, {run.untouched[0]:,} untouched seeded orders")
    run.report.result = "; ".join(shortcomings) or "ok"


def _names(run: Run, book: Book) -> Iterator[Findings]:
    """Look for names where the customers are, and in orders.

    These follow them to their own decommission, and again from that of the customers on.
    """
    if "users" in run.stack.contexts:
        yield audit_names(book, run.stack.superuser_dsn("users"), "users")
        yield audit_copied_names(book, run.stack.superuser_dsn("orders"))


def _staff(run: Run) -> Iterator[Findings]:
    """Look for the staff's writes where their contexts are now."""
    entries = list(ledger.read(run.ledger))
    contexts, dsn = run.stack.contexts, run.stack.superuser_dsn
    if "catalog" in contexts:
        yield audit_products(entries, "catalog", dsn("catalog"))
        yield audit_products(entries, "orders", dsn("orders"))
    if "inventory" in contexts:
        yield audit_deliveries(entries, "inventory", dsn("inventory"))


def record_traffic(run: Run, findings: Findings | None = None) -> None:
    """Enter the requests in the report, and write the details beside it; also when the story breaks off."""
    summary = run.traffic.tally.summary()
    run.report.traffic.requests, run.report.traffic.failed = summary["requests"], summary["failed"]
    details = {"audit": findings.as_dict() if findings else None, "traffic": summary}
    OUTPUT.mkdir(parents=True, exist_ok=True)
    text = json.dumps(details, indent=2, ensure_ascii=False, default=str) + "\n"
    (OUTPUT / "audit.json").write_text(text, encoding="utf-8")


def summarise(run: Run) -> list[tuple[str, str]]:
    """The closing table."""
    report = run.report
    figures = report.traffic
    rows = [
        ("requests", f"{figures.requests:,}, {figures.failed} failed"),
        ("writes acknowledged", f"{figures.writes_acknowledged:,}"),
        ("lost / duplicated", f"{figures.writes_lost} / {figures.writes_duplicated}"),
        ("backfill", f"{report.backfill['rows']:,} rows in {report.backfill['seconds']} s"),
    ]
    for entry in report.verification:
        told = f"{entry.rows:,} rows, {entry.differences} differences"
        if entry.planted:
            told += f", {entry.found}/{entry.planted} planted found"
        rows.append(("verification", f"{told}, {entry.false_alarms} false alarms"))
    rows += [
        (
            f"cutover, {entry.direction}",
            f"longest write gap {entry.longest_write_gap_ms:.0f} ms (baseline {entry.baseline_write_gap_ms:.0f} ms)",
        )
        for entry in report.cutover
    ]
    rows.append(("lag", f"p50 {report.lag_ms['p50']} ms, p99 {report.lag_ms['p99']} ms"))
    rows.append(("time", f"{run.narrator.seconds:.0f} s"))
    rows.append(("result", report.result))
    return rows

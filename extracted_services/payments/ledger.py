"""Keep the accounts in step with the payments: each capture and each refund is an entry, made in its transaction.

Note [what others captured]. A payment may have moved while the monolith owned the payments: its row comes with the
context, and nobody entered it here. So before an entry is made the account is held against the payer's rows, under the
payer's lock, and what is missing is entered as `payer_account.carried`. While this service owns the payments there is
nothing to carry: an entry of that kind in between would be a mistake of this module, and the tests look for it.
"""

from collections.abc import Callable
from decimal import Decimal

from django.db import connection
from django.db.models import Sum

from migration_tools.eventstore.store import NoSuchAggregate

from .aggregates import ACCOUNTS, Account
from .models import Payment, Status


def amount(cents: int) -> Decimal:
    """Cents as an entry has them."""
    return Decimal(cents).scaleb(-2)


def enter(payer: int | None, entry: Callable[[Account], None]) -> Account:
    """Make an entry in a payer's account; call inside `atomic()`, before the payment's row says so.

    Whoever enters for one payer waits for the other until the end of the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('billing_account ' || %s, 0))", [str(payer)])
    account = of(payer)
    captured = Payment.objects.filter(payer_id=payer, status=Status.CAPTURED).aggregate(cents=Sum("amount_cents"))
    missing = amount(captured["cents"] or 0) - account.balance
    if missing:
        account.carry(missing)
    entry(account)
    ACCOUNTS.save(account)
    return account


def of(payer: int | None) -> Account:
    """The account as it is now; one that nobody has entered anything in is empty and not stored."""
    try:
        return ACCOUNTS.get(Account.create_id(payer))
    except NoSuchAggregate:
        return Account(payer=payer)

"""Lines of pages that refuse where test_docs_commands runs them: with which exit code, and what they say.

The shop there is half-way: orders is in phase switch_reads, nothing was shadowed, parked or put away, and what other
projects declare (sagas, shards, read models, copies, sessions in Redis, the tutorial's notes) is not there. A line that
comes to refuse for another reason is a fault, and so is one that comes to work and is still listed.
"""

#: (Exit code, part of what is said) → the lines.
BY_SENTENCE: dict[tuple[int, str], list[str]] = {
    (3, "2 couplings are new; undo that, or accept it"): [
        "strangle_guard check --trace var/traces",
    ],
    (1, "SESSION_CACHE_ALIAS is 'default', which is LocMemCache; it must name an entry of CACHES"): [
        "strangle_sessions move",
        "strangle_sessions move --dry-run",
        "strangle_sessions status",
    ],
    (3, "there is no dump in var/archive/orders"): [
        "strangle_archive orders",
        "strangle_archive orders --scratch rescue --keep",
    ],
    (1, "no playbook declares context 'notes'"): [
        "strangle_backfill notes",
        "strangle_dual_write notes",
        "strangle_dual_write notes --dry-run",
        "strangle_repair notes",
        "strangle_rollback notes",
        "strangle_status notes",
        "strangle_verify notes",
        "strangle_verify notes --runs 1",
    ],
    (4, "from which 'backfill' is not next; the next step is strangle_cutover orders"): [
        "strangle_backfill orders",
        "strangle_backfill orders --dry-run",
        "strangle_backfill orders --replace",
        "strangle_backfill orders --restart",
    ],
    (1, "this side's views are not described by drf-spectacular"): [
        "strangle_contracts check --api",
        "strangle_contracts release --api",
    ],
    (1, "['row.sales_order'] cannot be accepted"): [
        "strangle_contracts release --accept row.sales_order",
    ],
    (1, "no such event of 'orders' is parked"): [
        "strangle_dead_letters replay orders --key order/4711",
        "strangle_dead_letters replay orders --key order/4711 --reason OPS-41, the handler is mended",
        "strangle_dead_letters show orders --position 17",
        "strangle_dead_letters show orders --position 17 --format json",
        "strangle_dead_letters skip orders --position 17 --reason OPS-42, a test order",
        "strangle_dead_letters skip orders --position 17 --reason test order, nothing to do",
    ],
    (4, "from which 'decommission' is not next; the next step is strangle_cutover orders"): [
        "strangle_decommission orders",
        "strangle_decommission orders --directory var/archive/orders",
        "strangle_decommission orders --dry-run",
        "strangle_decommission orders --keep-copies",
        "strangle_decommission orders --keep-copies --dry-run",
    ],
    (1, "no playbook declares context 'users'"): [
        "strangle_decommission users --keep-copies",
    ],
    (4, "from which 'dual_write' is not next; the next step is strangle_cutover orders"): [
        "strangle_dual_write orders",
        "strangle_dual_write orders --dry-run",
        "strangle_dual_write orders --reason OPS-17",
        "strangle_dual_write orders --reason begin",
    ],
    (1, "no aggregates of type 'account' are declared"): [
        "strangle_event_store audit account --since 2026-01-01T00:00:00+00:00",
        "strangle_event_store drop-snapshots account",
        "strangle_event_store snapshots account --every 60",
    ],
    (1, "no context is called 'order'; those with tables are"): [
        "strangle_init order --keep-names --copies auth.User,address.Country --output playbooks/order.py",
        "strangle_service new order --package order_service --keep-names --copies auth.User,address.Country",
    ],
    (1, "No such file or directory: 'order_list.sql'"): [
        "strangle_projection new order_list --from-sql @order_list.sql --stream accounts_user=users --dry-run",
    ],
    (1, "there is no read model 'order_summary'"): [
        "strangle_rebuild order_summary",
        "strangle_rebuild order_summary --after users=4711",
        "strangle_rebuild order_summary --dry-run",
    ],
    (1, "has confirmed no difference at ['sales_order:17', 'sales_orderitem:40']"): [
        "strangle_repair orders --keys sales_order:17 sales_orderitem:40",
    ],
    (1, "/strangle/feed/orders/ does not answer"): [
        "strangle_replay orders --after 1200 --again --reason counts were lost with a table",
    ],
    (1, "no handler of 'orders' is in group 'counts' here"): [
        "strangle_replay orders --group counts --after 0",
    ],
    (1, "the playbook of 'orders' declares no replicas"): [
        "strangle_replica orders copy",
        "strangle_replica orders sync",
        "strangle_replica orders verify --only analytics.orders --repair --reason a row was edited by hand",
    ],
    (1, "no copy 'customers' is declared here"): [
        "strangle_replicate rebuild customers",
        "strangle_replicate reconcile customers",
        "strangle_replicate reconcile customers --repair",
    ],
    (1, 'relation "strangle_command" does not exist'): [
        "strangle_replicate retry 0197a1c2-7d7e-7b1c-9b6a-5f3c2d1e0f9a",
    ],
    (1, 'relation "strangle_copied" does not exist'): [
        "strangle_replicate status",
    ],
    (4, "written to var/reports/cutover-orders.html"): [
        "strangle_report cutover orders --format html --output var/reports/cutover-orders.html",
    ],
    (4, '"compared": 0'): [
        "strangle_report shadow orders --format json --reveal --reason OPS-41",
    ],
    (1, "does not answer: [Errno 111] Connection refused; start it"): [
        "strangle_route doctor",
    ],
    (1, "no proxy 'edge-2' has ever reported"): [
        "strangle_route forget edge-2",
    ],
    (1, "'orders' has 0 rules; there is no rule 1"): [
        "strangle_route unrule orders 1",
    ],
    (1, "this service orchestrates no saga '0199c0de"): [
        "strangle_sagas compensate 0199c0de-0000-7000-8000-000000000001 --reason OPS-52 --dry-run",
        "strangle_sagas compensate 0199c0de-0000-7000-8000-000000000001 --reason OPS-52, ordered by mistake",
        "strangle_sagas compensate 0199c0de-0000-7000-8000-000000000001 --reason OPS-52, ordered by mistake --dry-run",
        "strangle_sagas retry 0199c0de-0000-7000-8000-000000000001 --reason OPS-51, the bank answers again",
        "strangle_sagas show 0199c0de-0000-7000-8000-000000000001",
        "strangle_sagas show 0199c0de-0000-7000-8000-000000000001 --reveal",
    ],
    (1, "'flows/inventory.json' is no flow"): [
        "strangle_sagas graph --with flows/inventory.json --with flows/payments.json --format mermaid",
    ],
    (1, "'orders' has no rule 3; list them"): [
        "strangle_shadow approve orders 3 --reason clients parse both spellings",
    ],
    (1, "'orders' has no rule 4; list them"): [
        "strangle_shadow reject orders 4 --reason the app shows it",
    ],
    (4, "no shadow read of 'orders' was compared"): [
        "strangle_shadow report orders --directory var/shadow",
    ],
    (1, "MIGRATION_TOOLS['SHARDS'] has no 'customers'"): [
        "strangle_shard add customers s2",
        "strangle_shard add customers s2 --dry-run",
        "strangle_shard init customers",
        "strangle_shard init customers --on s0,s1",
        "strangle_shard show customers --format json",
    ],
    (1, 'relation "strangle_shard_map" does not exist'): [
        "strangle_shard merge visits 3",
        "strangle_shard move customers 17 --to s2",
        "strangle_shard split visits 0 --at 5000",
    ],
}
REFUSED = {line: said for said, lines in BY_SENTENCE.items() for line in lines}

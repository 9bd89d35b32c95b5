"""What Envoy's clusters of a context are called: routes lead to them, and the static part declares them."""

from migration_tools.routing.table import Side

SIDES: tuple[Side, ...] = ("old", "new")


def write_cluster(context: str) -> str:
    return f"{context}_write"


def read_cluster(context: str, side: Side) -> str:
    return f"{context}_read_{side}"


def shadow_cluster() -> str:
    return "strangler_shadow"


def stream_cluster(context: str, side: Side) -> str:
    """Where event streams of a side go: to the hop."""
    return f"{context}_stream_{side}"


def socket_cluster(context: str) -> str:
    """Where WebSockets go: to the owner's hop, or to the fence while writes are held."""
    return f"{context}_socket"


def of_context(context: str) -> tuple[str, ...]:
    reads = [read_cluster(context, side) for side in SIDES]
    return write_cluster(context), *reads, *(stream_cluster(context, side) for side in SIDES), socket_cluster(context)

"""A batch as a message: its body, its headers, its name, and what is no batch of a stream."""

from migration_tools.messaging.batch import Batch


def name_of(batch: Batch) -> str:
    """Names a message: the same batch sent twice has the same name."""
    return f"{batch.stream}/{batch.origin}/{batch.first}-{batch.last}"


def headers_of(batch: Batch) -> dict[str, str | int]:
    """Headers for those who look on: the first trace inside, and the positions."""
    headers: dict[str, str | int] = {"origin": batch.origin, "first": batch.first, "last": batch.last}
    traces = (event.metadata.get("traceparent") for event in batch.events)
    trace = next(filter(None, traces), None)
    if trace is not None:
        headers["traceparent"] = trace
    return headers


def read_message(body: bytes | str, stream: str, origin: str) -> Batch | str:
    """The batch in a message, or why it is none of this stream."""
    try:
        batch = Batch.from_json(body)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return f"is not a batch ({type(error).__name__})"
    if (batch.stream, batch.origin) != (stream, origin):
        return f"belongs to stream {batch.stream!r} of {batch.origin!r}"
    return batch

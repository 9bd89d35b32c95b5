"""Both sides of a context in one process: either takes writes while it owns the context, else answers the fence's 503.

`python -m benchmarks.proxy.sides` prints two ports; each line on stdin (`old`, `new`, `nobody`, `both`) is the owner
from then on and is answered by it; `report` is answered by what each side has taken since the last report, as JSON.
"""

import asyncio
import json
import sys
import time
from functools import partial

REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 6\r\nx-strangler-fenced: 1\r\n"
    b"content-type: text/plain\r\n\r\nfenced"
)


class Sides:
    """Who owns the context, and the ids of the bodies that each side has taken."""

    def __init__(self) -> None:
        self.owner = "old"
        self.taken: dict[str, list[str]] = {"old": [], "new": []}

    async def serve(self, side: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests; the whole body is read first, as an application server does."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                body = await reader.readexactly(length)
                if self.owner not in (side, "both"):
                    writer.write(REFUSAL)
                    continue
                self.taken[side].append(body[:32].decode())
                said = side.encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\n" + said)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def main() -> None:
    """Serve until stdin ends."""
    sides = Sides()
    servers = [
        await asyncio.start_server(partial(sides.serve, side), "127.0.0.1", 0, backlog=4096) for side in ("old", "new")
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().strip():
        if line == "report":
            print(json.dumps(sides.taken), flush=True)
            sides.taken = {"old": [], "new": []}
        else:
            sides.owner = line
            print(line, time.monotonic(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())

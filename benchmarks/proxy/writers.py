"""Customers who write at a steady rate, whether they are answered or not; each body has an id of its own.

`python -m benchmarks.proxy.writers PORT RATE` writes until stdin ends and prints one line a write, as JSON: id, begin,
end (seconds of the machine's monotonic clock), status, side.
"""

import asyncio
import json
import sys
import time
import uuid

BODY_BYTES = 2048
# More than any hold lets wait; a machine that cannot keep the rate is asked no faster than it answers.
AT_ONCE = 1_500
TIMEOUT_SECONDS = 70.0

Written = tuple[str, float, float, int, str]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Writers:
    """An open loop: a write begins when its time has come, on an idle connection or a new one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[Connection] = []
        self.written: list[Written] = []

    async def write(self) -> None:
        """One POST; status 0 stands for a broken connection or no answer in time."""
        body = uuid.uuid4().hex
        began = time.monotonic()
        status, side = 0, ""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, side = await self._post(body)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            side = repr(error)
        self.written.append((body, began, time.monotonic(), status, side))

    async def _post(self, body: str) -> tuple[int, str]:
        connection = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = connection
        writer.write(
            f"POST /api/orders/ HTTP/1.1\r\nhost: shop\r\ncontent-length: {BODY_BYTES}\r\n\r\n".encode()
            + body.encode().ljust(BODY_BYTES, b".")
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        if b"\r\nconnection: close" in head.lower():
            writer.close()
        else:
            self.idle.append(connection)
        return int(head.split()[1]), answer.decode(errors="replace")

    async def run(self, rate: float) -> None:
        """Until stdin ends; then what is under way is waited for."""
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        ended = asyncio.ensure_future(lines.read())
        started, count = time.monotonic(), 0
        under_way: set[asyncio.Task[None]] = set()
        while not ended.done():
            if len(under_way) >= AT_ONCE:
                await asyncio.wait([ended, *under_way], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([ended], timeout=max(started + count / rate - time.monotonic(), 0))
            while count <= (time.monotonic() - started) * rate and len(under_way) < AT_ONCE:
                task = asyncio.ensure_future(self.write())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                count += 1
        await asyncio.gather(*under_way)


async def main(port: int, rate: float) -> None:
    """Write, then say what became of each."""
    writers = Writers(port)
    await writers.run(rate)
    for each in writers.written:
        print(json.dumps(each))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))

"""Readers in a closed loop: wrk where it is installed, else a small one of our own."""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

from benchmarks.proxy.configurations import BUCKET
from benchmarks.proxy.contestants import cores

PATH = "/api/billing/7"
COOKIE = f"sessionid=q7w8e9r0t1z2u3i4; sx_bucket={BUCKET}; csrftoken=abcdefabcdef"
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the readers got."""

    requests: int
    seconds: float
    median_seconds: float
    errors: int


def read(port: int, *, connections: int, seconds: float) -> Load:
    """Ask for one page again and again on so many connections."""
    # wrk counts in whole seconds.
    program = shutil.which("wrk") if seconds >= 1 else None
    return _wrk(program, port, connections, seconds) if program else _own(port, connections, seconds)


def _wrk(program: str, port: int, connections: int, seconds: float) -> Load:
    done = subprocess.run(
        [program, "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--latency", "-H", f"Cookie: {COOKIE}",
         f"http://127.0.0.1:{port}{PATH}"],
        capture_output=True, text=True, check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores()[1]}),
    ).stdout  # fmt: skip
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", done)
    half = re.search(r"50%\s+([\d.]+)(us|ms|s|m)", done)
    if total is None or half is None:
        raise RuntimeError(f"wrk said what is not understood: {done}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", done)
    return Load(
        requests=int(total[1]),
        seconds=float(total[2]) * _UNITS[total[3]],
        median_seconds=float(half[1]) * _UNITS[half[2]],
        errors=int(refused[1] if refused else 0) + sum(map(int, broken.groups() if broken else ())),
    )


def _own(port: int, connections: int, seconds: float) -> Load:
    """Slower than what it measures, which requests per CPU-second of the proxy forgive."""
    request = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {COOKIE}\r\n\r\n".encode()
    deadline = time.monotonic() + seconds
    times: list[float] = []
    errors: list[bytes] = []

    def customer() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            while time.monotonic() < deadline:
                began = time.monotonic()
                sock.sendall(request)
                answer = b""
                while not answer.endswith(b"x" * 200) and (block := sock.recv(65_536)):
                    answer += block
                times.append(time.monotonic() - began)
                if not answer.startswith(b"HTTP/1.1 200"):
                    errors.append(answer)
                    return

    began = time.monotonic()
    threads = [threading.Thread(target=customer) for _ in range(min(connections, 8))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(
        requests=len(times),
        seconds=time.monotonic() - began,
        median_seconds=sorted(times)[len(times) // 2],
        errors=len(errors),
    )

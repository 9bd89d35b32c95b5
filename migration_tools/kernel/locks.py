"""Names of the advisory locks: one class per purpose, one object per context."""

import zlib
from enum import IntEnum


class LockClass(IntEnum):
    """First key of pg_advisory_lock(int, int); who takes what is written beside each."""

    FENCE = 0x5357_4601  # shared: every writing transaction; exclusive: the cutover
    GATE = 0x5357_4602  # shared: every apply; exclusive: copy, verification, cutover
    RELAY = 0x5357_4603  # exclusive, session: the one relay of a stream
    TICK = 0x5357_4604  # exclusive, transaction: whoever appends a tick
    OPERATOR = 0x5357_4605  # exclusive, session: the one operator who moves a context
    CONSUMER = 0x5357_4606  # exclusive, session: the one consumer of a stream
    SLEEP = 0x5357_4608  # exclusive, session: a relay that sleeps; shared, tried: every writer of the outbox
    SHARD = 0x5357_4610  # shared: whoever reads or writes a bucket; exclusive: its move
    SESSION = 0x5357_4611  # exclusive, transaction: whoever logs out, or writes a session's row from Redis
    READ_MODELS = 0x5357_4660  # exclusive, transaction: whoever writes read models of a group; the swap of a rebuild
    REBUILD = 0x5357_4661  # exclusive, session: the one rebuild of a read model, the one publication of state events
    RUNNER = 0x5357_4680  # exclusive, session: the one process that carries out what the console asks for


def lock_keys(purpose: LockClass, name: str) -> tuple[int, int]:
    """Both keys for `name`; the second is a signed 32-bit checksum, the same in every process."""
    checksum = zlib.crc32(name.encode())
    return int(purpose), checksum - (1 << 32) if checksum >= 1 << 31 else checksum

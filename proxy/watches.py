"""How many files Envoy may watch: past the kernel's limit it does not complain, it aborts. Standard library only.

Note [watches]. Envoy makes one inotify instance for each watched file, and the kernel gives a user 128 of them unless
told otherwise, for all processes together. An Envoy that gets no more ends in the middle of its work, and its successor
as well, so a table with a context too many would take the whole site away. So only endpoints that change hands without
new routes are in files of their own, and room is looked for before anything is published.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

LIMIT = "fs.inotify.max_user_instances"


def free_watches(wanted: int, ids: tuple[int, int] | None = None) -> int:
    """How many of `wanted` inotify instances a user can have now, found by making and closing them.

    Args:
        ids: the user and group to ask as, where that is not our own.
    """
    if ids is None:
        return _free(wanted)
    command = [sys.executable, "-IS", __file__, str(wanted), *map(str, ids)]
    return int(subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout)


def watches_of(pid: int) -> int:
    """How many a process has; 0 when that cannot be seen."""
    found = 0
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            found += descriptor.readlink().name == "anon_inode:inotify"
    except OSError:
        pass
    return found


def _free(wanted: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        return wanted
    made: list[int] = []
    try:
        while len(made) < wanted and (descriptor := libc.inotify_init1(os.O_CLOEXEC)) >= 0:
            made.append(descriptor)
        return len(made)
    finally:
        for descriptor in made:
            os.close(descriptor)


if __name__ == "__main__":
    count, uid, gid = map(int, sys.argv[1:])
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    print(_free(count))

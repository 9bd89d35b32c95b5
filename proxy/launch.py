"""Start a program that outlives whoever asked for it: `launch.py LOG UID:GID PROGRAM ARGUMENTS…` prints its process id.

Note [no parent]. With hot restart Envoy asks the kernel for a SIGTERM when its parent dies, but users are being
served, whatever becomes of the agent. So the parent is gone before Envoy begins: this script forks and ends, and the
child waits for that. Standard library only; it runs without the project's packages.
"""

import os
import sys
import time

ORPHANED_SECONDS = 10.0


def main(log: str, user: str, program: str, *arguments: str) -> None:
    """Print the child's process id and end; the child becomes the program, with its output in the log.

    With a user, as "UID:GID", the program has that user's rights and no other group; the log is opened before.
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        print(child, flush=True)
        return
    os.setsid()
    deadline = time.monotonic() + ORPHANED_SECONDS
    while os.getppid() == parent:
        if time.monotonic() > deadline:
            os._exit(1)
        time.sleep(0.001)
    null, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for target, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, target)
    if user:
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.execv(program, [program, *arguments])  # noqa: S606  (no shell; the arguments are the agent's own)


if __name__ == "__main__":
    main(*sys.argv[1:])

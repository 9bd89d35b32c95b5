"""A table of so many contexts that Envoy would abort for want of watches is refused, and the site stays up."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migration_tools.errors import RoutingError
from migration_tools.routing.table import ContextRoute, RoutingTable
from proxy.render_envoy import render
from proxy.watches import free_watches, watches_of
from tests.integration.proxy_rig import await_until, rig
from tests.integration.test_proxy_least_privilege import binary

__all__ = ["binary"]

# An account whose limit nobody else's Envoys use up.
ACCOUNT = "games"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the limit is of a user; only root can be another one")
HOLDER = """
import ctypes, os, sys
left, uid = map(int, sys.argv[1:])
os.setuid(uid)
libc, made = ctypes.CDLL(None), []
while (found := libc.inotify_init1(0)) >= 0:
    made.append(found)
for each in made[-left:]:
    os.close(each)
print(len(made) - left, flush=True)
sys.stdin.read()
"""


@contextmanager
def only(left: int) -> Iterator[None]:
    """The account has so many inotify instances left during the block."""
    command = [sys.executable, "-IS", "-c", HOLDER, str(left), str(pwd.getpwnam(ACCOUNT).pw_uid)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        yield
    finally:
        holder.communicate()


def many(table: RoutingTable) -> RoutingTable:
    """Thirty contexts more."""
    more = {f"c{number}": ContextRoute(paths=(f"/c{number}",), service="orders") for number in range(30)}
    return RoutingTable(version=table.version, contexts={**table.contexts, **more}, default=table.default)


def test_the_watches_that_envoy_has_are_those_of_its_documents() -> None:
    with rig() as proxy:
        assert watches_of(proxy.agent.envoy.pid) == render(proxy.table, proxy.options).watches
        proxy.publish(many)
        assert watches_of(proxy.agent.envoy.pid) == render(proxy.table, proxy.options).watches == 2 * 31 + 3


@AS_ROOT
def test_a_table_with_more_contexts_than_envoy_can_watch_is_refused_with_the_remedy(binary: Path) -> None:
    with rig(envoy=str(binary), user=ACCOUNT) as proxy:
        pid, good = proxy.agent.envoy.pid, proxy.table.version
        with only(left=10):
            refused = proxy.offer(many)
            await_until(lambda: proxy.agent.state.rejected_version == refused)
            assert "needs 60 more inotify instances and its user has 10 left" in proxy.agent.state.rejected_reason
            assert "sysctl -w fs.inotify.max_user_instances=1024" in proxy.agent.state.rejected_reason
            assert proxy.ask("GET", "/api/orders/").side == "old"
        assert (proxy.agent.envoy.pid, proxy.agent.envoy.restarts) == (pid, 0)
        assert proxy.agent.state.applied_version == good


@AS_ROOT
def test_another_envoy_that_could_not_watch_its_files_does_not_take_over(binary: Path) -> None:
    with rig(envoy=str(binary), user=ACCOUNT) as proxy, only(left=2):
        pid = proxy.agent.envoy.pid
        with pytest.raises(RoutingError, match="5 more inotify instances and its user has 2 left"):
            proxy.agent.envoy.replace()
        assert proxy.agent.envoy.pid == pid
        assert proxy.ask("GET", "/api/orders/").side == "old"


@AS_ROOT
def test_what_is_free_is_asked_as_the_user_it_is_for() -> None:
    account = pwd.getpwnam(ACCOUNT)
    with only(left=3):
        assert free_watches(8, (account.pw_uid, account.pw_gid)) == 3
        assert free_watches(8) == 8

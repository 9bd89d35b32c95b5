"""How foreign changes come in: by HTTP, answered when they are committed, and by lines."""

import json
from typing import Any

from django.core.management import call_command
from django.test import Client

from tests.integration.test_foreign import crm, emails, event, site

__all__ = ["crm", "site"]


def test_the_door_answers_when_it_is_committed_and_only_to_its_token(crm: Any) -> None:
    client = Client()
    body = "[" + event("c", 1, None, {"id": 1, "email": "door"}) + ", null]"
    url = "/strangle/ingest/crm/"
    assert client.post(url, body, content_type="application/json").status_code == 401
    answer = client.post(url, body, content_type="application/json", headers={"Authorization": "Bearer door"})
    assert answer.json() == {"applied": 1, "known": 0, "ignored": 1}
    assert emails(crm) == {1: "door"}
    for feed in ("old", "unknown"):
        refused = client.post(
            f"/strangle/ingest/{feed}/", "[]", headers={"Authorization": "Bearer "}, content_type="a/b"
        )
        assert refused.status_code == 401
    broken = client.post(url, "{", content_type="application/json", headers={"Authorization": "Bearer door"})
    assert broken.status_code == 409


def test_the_command_reads_lines_as_kcat_writes_them(crm: Any, tmp_path: Any, capsys: Any) -> None:
    lines = [
        json.dumps({"topic": "crm.public.customers", "partition": 0, "offset": 1, "key": None, "payload": each})
        for each in (event("c", 1, None, {"id": 1, "email": "by line"}), None)
    ]
    path = tmp_path / "lines"
    path.write_text("\n".join([*lines, event("c", 2, None, {"id": 2, "email": "bare"}), ""]))
    call_command("strangle_ingest", "crm", "--file", str(path))
    assert "2 applied, 0 known, 1 ignored" in capsys.readouterr().out
    assert emails(crm) == {1: "by line", 2: "bare"}

"""Ask another service over HTTP from a process that may wait: pages of rows, polls and commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import stamina

from migration_tools.conf import settings
from migration_tools.errors import ReplicationError

ANSWER_SECONDS = 10.0
ATTEMPTS = 4


class Unanswered(ReplicationError):
    """A service did not answer, or said that it cannot now; asking again may help."""


def client(service: str) -> httpx2.Client:
    """A client of a service of SERVICES; to be closed.

    Raises:
        ReplicationError: SERVICES does not name it.
    """
    url = settings().SERVICES.get(service)
    if not url:
        raise ReplicationError(f"MIGRATION_TOOLS['SERVICES'] has no {service!r}; it has {sorted(settings().SERVICES)}")
    return httpx2.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False)


@dataclass(frozen=True, kw_only=True)
class HttpSource:
    """Rows of a service as a copy's source: `path?after=<key>&limit=<n>` in order of keys, and `path?ids=1,2`.

    `names` maps the copy's fields to the answer's where they differ.
    """

    service: str
    path: str
    names: Mapping[str, str] = field(default_factory=dict)

    def page(self, after: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        return self._rows({"limit": limit} | ({} if after is None else {"after": after}))

    def rows(self, keys: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        return self._rows({"ids": ",".join(keys)})

    def _rows(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = _get(self.service, self.path, params)
        rows = answer.get("results") if isinstance(answer, dict) else answer
        if not isinstance(rows, list):
            raise ReplicationError(f"service {self.service!r} answered {self.path!r} with no list of rows")
        names = dict(self.names)
        return [{**row, **{field: row[name] for field, name in names.items() if name in row}} for row in rows]


@stamina.retry(on=Unanswered, attempts=ATTEMPTS, wait_initial=0.1, wait_max=2.0)
def _get(service: str, path: str, params: Mapping[str, Any]) -> Any:
    with client(service) as asked:
        try:
            answer = asked.get(path, params=dict(params))
        except httpx2.HTTPError as error:
            raise Unanswered(f"service {service!r} does not answer ({type(error).__name__})") from error
    if answer.status_code >= 500 or answer.status_code == 429:
        raise Unanswered(f"service {service!r} answered {answer.status_code}")
    if not answer.is_success:
        raise ReplicationError(f"service {service!r} refused {path!r} with {answer.status_code}")
    return answer.json()

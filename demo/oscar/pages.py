"""Pages and forms of a shop rendered on the server: a browser that follows redirects and sends the CSRF token."""

from __future__ import annotations

import re
from typing import Any

from demo.browser import Browser


class Pages(Browser):
    """Every request is tallied; an answer that is not the page expected is a failed request."""

    def page(self, name: str, path: str) -> str:
        """Read a page."""
        return str(self._send(name, "GET", path, follow_redirects=True).text)

    def submit(self, name: str, path: str, /, *, wanted: str, **fields: Any) -> str:
        """Send a form and follow it to the page that shows `wanted`, a regular expression.

        Raises:
            RequestFailed: the answer was another one.
        """
        token = self._client.cookies.get("csrftoken") or ""
        form = {**fields, "csrfmiddlewaretoken": token}
        page = str(self._send(name, "POST", path, data=form, follow_redirects=True).text)
        if not re.search(wanted, page):
            self.complain(name, wanted, plain(page)[-500:])
        return page


def plain(page: str) -> str:
    """A page's text."""
    return " ".join(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL).split())

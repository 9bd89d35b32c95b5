"""JSON of a bounded size and depth, which DRF's own parser does not ask for."""

import io
from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser

LARGEST_BODY_BYTES = 1_000_000


class BodyTooLarge(APIException):
    """The request's body is larger than any request needs."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = f"the body is larger than {LARGEST_BODY_BYTES} bytes"


class BoundedJSONParser(JSONParser):
    """Read JSON of a bounded size and refuse endless nesting."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Give the parsed body, or raise a client error."""
        body = stream.read(LARGEST_BODY_BYTES + 1)
        if len(body) > LARGEST_BODY_BYTES:
            raise BodyTooLarge()
        try:
            return super().parse(io.BytesIO(body), media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deeply") from None

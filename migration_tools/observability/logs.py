"""Log lines as JSON: what happened, of which context, in which chain and trace; never what rows and events hold."""

import datetime as dt
import json
import logging
import traceback
from typing import Any

from migration_tools.messaging.context import running
from migration_tools.messaging.tracing import trace_ids

#: What a record may bring along by `extra=`; everything else stays out, since it might be a payload.
FIELDS = ("context", "rule", "function")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for LOGGING's `formatters`: `{"()": "migration_tools.observability.logs.JsonFormatter"}`.

    An exception is told by its type and the places it came through, without its message: drivers quote values there.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, tz=dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}
        chain = running()
        if chain is not None:
            line["correlation_id"] = chain.correlation_id
            if chain.causation_id:
                line["causation_id"] = chain.causation_id
        line |= trace_ids(chain.metadata if chain is not None else {})
        if record.exc_info and record.exc_info[0] is not None:
            frames = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__qualname__
            line["places"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
        return json.dumps(line, ensure_ascii=False, default=str)

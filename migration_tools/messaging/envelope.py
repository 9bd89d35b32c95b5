"""The event envelope, and its CloudEvents 1.0 form."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """One event as handlers and transports see it.

    `origin` is the side that published it, `position` its place in that side's stream.
    """

    event_id: uuid.UUID
    aggregate_id: str
    aggregate_type: str
    event_type: str
    event_version: int
    timestamp: dt.datetime
    correlation_id: str | None
    causation_id: str | None
    payload: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    stream: str
    origin: str
    position: int

    def to_json(self) -> dict[str, Any]:
        """The wire form, names in camelCase."""
        return {
            "eventId": str(self.event_id),
            "aggregateId": self.aggregate_id,
            "aggregateType": self.aggregate_type,
            "eventType": self.event_type,
            "eventVersion": self.event_version,
            "timestamp": self.timestamp.isoformat(),
            "correlationId": self.correlation_id,
            "causationId": self.causation_id,
            "payload": self.payload,
            "metadata": self.metadata,
            "stream": self.stream,
            "origin": self.origin,
            "position": self.position,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read the wire form back; KeyError or ValueError when it is not one."""
        return cls(
            event_id=uuid.UUID(document["eventId"]),
            aggregate_id=document["aggregateId"],
            aggregate_type=document["aggregateType"],
            event_type=document["eventType"],
            event_version=int(document["eventVersion"]),
            timestamp=dt.datetime.fromisoformat(document["timestamp"]),
            correlation_id=document["correlationId"],
            causation_id=document["causationId"],
            payload=document["payload"],
            metadata=document.get("metadata") or {},
            stream=document["stream"],
            origin=document["origin"],
            position=int(document["position"]),
        )

    def to_cloudevent(self) -> dict[str, Any]:
        """CloudEvents 1.0, structured JSON mode; our own attributes are extensions in lower case."""
        event = {
            "specversion": "1.0",
            "id": str(self.event_id),
            "source": f"/{self.origin}/{self.stream}",
            "type": self.event_type,
            "subject": f"{self.aggregate_type}/{self.aggregate_id}",
            "time": self.timestamp.isoformat(),
            "datacontenttype": "application/json",
            "data": self.payload,
            "eventversion": str(self.event_version),
            "partitionkey": self.aggregate_id,
            "sequence": str(self.position),
        }
        for name, value in (("correlationid", self.correlation_id), ("causationid", self.causation_id)):
            if value is not None:
                event[name] = value
        if "traceparent" in self.metadata:
            event["traceparent"] = self.metadata["traceparent"]
        return event

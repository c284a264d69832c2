"""One event of core/v1, read and turned into what viewers get."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flyteidl2.workflow.run_definition_pb2 import ClusterEvent

from kube.client import ClusterError

MAX_WORD_CHARS = 128  # of reason and component, as in Kubernetes
_TYPES = {"Normal": ClusterEvent.TYPE_NORMAL, "Warning": ClusterEvent.TYPE_WARNING}


@dataclass(frozen=True, slots=True)
class PodEvent:
    """An event as it is now; a repetition gives it a higher version and count.

    Args:
        uid: of the event.
        version: of the event's last change; orders all changes of a cluster.
        at_s: when it happened last, by the clock of who saw it, seconds since the epoch.
    """

    uid: str
    version: int
    at_s: float
    type: str
    reason: str
    message: str
    source: str
    count: int

    @classmethod
    def from_json(cls, value: Any) -> PodEvent:
        """Read a Kubernetes Event.

        Raises:
            ClusterError: it is none.
        """
        try:
            meta = value["metadata"]
            stamps = (value.get(name) for name in ("lastTimestamp", "eventTime", "firstTimestamp"))
            stamp = next(filter(None, stamps), None) or meta["creationTimestamp"]
            source = (value.get("source") or {}).get("component")
            return cls(
                uid=str(meta["uid"]),
                version=int(meta["resourceVersion"]),
                at_s=datetime.fromisoformat(stamp).timestamp(),
                type=str(value.get("type") or ""),
                reason=str(value.get("reason") or ""),
                message=str(value.get("message") or ""),
                source=str(source or value.get("reportingComponent") or ""),
                count=int(value.get("count") or (value.get("series") or {}).get("count") or 1),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ClusterError("the cluster's API sent something that is no Event") from None

    def as_message(self, max_message_bytes: int) -> ClusterEvent:
        """Return what viewers get; a longer message is cut."""
        text = self.message.encode("utf-8", "replace")[:max_message_bytes].decode(errors="ignore")
        event = ClusterEvent(
            message=text,
            type=_TYPES.get(self.type, ClusterEvent.TYPE_UNSPECIFIED),
            reason=self.reason[:MAX_WORD_CHARS],
            source_component=self.source[:MAX_WORD_CHARS],
            count=min(self.count, 2**31 - 1),
        )
        event.occurred_at.FromMilliseconds(int(self.at_s * 1000))
        return event

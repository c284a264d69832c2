"""DataProxyService as the agent serves it: log tails and presigned URLs."""

from __future__ import annotations

from compute_agent.log_service import LogService
from compute_agent.objects.service import ObjectService


class DataProxy:
    """One handler of several; what it lacks answers UNIMPLEMENTED.

    Args:
        logs: tails.
        objects: signs URLs.
    """

    def __init__(self, logs: LogService, objects: ObjectService) -> None:
        self.tail_logs = logs.tail_logs
        self.create_upload_location = objects.create_upload_location
        self.create_download_link = objects.create_download_link

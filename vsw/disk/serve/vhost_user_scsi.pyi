import logging

from ..scsi.target import Nexus
from .vhost_user_requests import Requests

log: logging.Logger
MOST_TARGETS: int
LARGEST_TRANSFER: int

class ScsiRequests(Requests):
    def attach(self, nexuses: dict[int, Nexus]) -> None: ...

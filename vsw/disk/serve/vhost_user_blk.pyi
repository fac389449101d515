import logging

from ..blocks import Blocks
from .vhost_user_requests import Requests

log: logging.Logger
MOST_RANGES: int
MOST_SECTORS: int
SEGMENTS: int

class BlkRequests(Requests):
    def __init__(self, blocks: Blocks, serial: str, read_only: bool) -> None: ...
    def set_write_through(self, wanted: bool) -> None: ...

def check_blocks(blocks: Blocks, block_size: int) -> None: ...

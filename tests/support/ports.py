"""A port on which a service can be started several times."""

import random
import socket
from pathlib import Path

__all__ = ["fixed_port"]

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _TRIES = 10_000, 100


def fixed_port():
    """Return a free port that stays free while no service listens on it.

    It lies below the range from which the system assigns ports, so no other test can get it in the meantime. It is
    drawn at random, so that two tests get different ports.
    """
    highest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    for _ in range(_TRIES):
        port = random.SystemRandom().randrange(_LOWEST, highest)
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"none of {_TRIES} ports from {_LOWEST} to {highest} is free")

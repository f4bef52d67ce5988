"""Ports that a service can be started on again and again."""

import random
import socket
from pathlib import Path

__all__ = ["fixed_port"]

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _TRIES = 10_000, 100


def fixed_port():
    """A free port that stays free while nobody listens on it.

    It lies below those that the system gives to connections and to servers that ask for any, so that none of the tests
    beside this one is given it meanwhile; and it is drawn, so that two that want a fixed one get different ones.
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

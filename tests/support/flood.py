"""A program that keeps half-sent requests open and opens another for each that is closed.

Arguments: the port and the number of requests. It prints a line when all have been opened once, and ends with its
standard input.
"""

import contextlib
import os
import selectors
import socket
import sys


def main(port, count):
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    waiting = count
    for _ in range(count):
        open_one(selector, port)
    while True:
        for key, events in selector.select():
            if key.fileobj is sys.stdin:
                return
            if events & selectors.EVENT_WRITE:
                with contextlib.suppress(OSError):
                    key.fileobj.send(b"GET /readyz HTTP/1.1\r\nHost: ")
                selector.modify(key.fileobj, selectors.EVENT_READ)
                waiting -= 1
                if waiting == 0:
                    print("open", flush=True)
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                open_one(selector, port)


def open_one(selector, port):
    client = socket.socket()
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        client.connect(("127.0.0.1", port))
    selector.register(client, selectors.EVENT_WRITE)


if __name__ == "__main__":
    os.nice(5)
    main(*map(int, sys.argv[1:]))

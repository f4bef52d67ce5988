"""Connections that do not behave: bytes as they come, and HTTP/2 frame by frame."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

import h2.config
import h2.connection
import h2.events
import h2.settings

from anomaly_vae.service.servicers import SERVICE

SCORE = f"/{SERVICE}/Score"


def connect(port, tls=False, receive_buffer=None):
    """A connected socket, by TLS if so, without a look at the certificate."""
    plain = socket.socket()
    plain.settimeout(10)
    if receive_buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.connect(("127.0.0.1", port))
    if not tls:
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain)


def is_closed(connection, seconds):
    """Whether the other side hangs up within some seconds; what it sends until then is thrown away."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def framed(message, compressed=False, length=None):
    """A message as gRPC frames it, with another length than its own if so."""
    return struct.pack(">?I", compressed, len(message) if length is None else length) + message


class Http2:
    """An HTTP/2 client that does what a well-behaved one would not."""

    def __init__(self, port, tls=False, receive_buffer=None):
        self.socket = connect(port, tls, receive_buffer)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.http = h2.connection.H2Connection(config)
        self.http.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def open(self, path=SCORE, headers=()):
        """The headers of a call, on a new stream."""
        stream = self.http.get_next_available_stream_id()
        needed = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        self.http.send_headers(stream, [*needed, *headers])
        return stream

    def send(self, stream, data, end=True):
        """Data of a call, in frames as small as HTTP/2 asks for; what the other side has no room for waits."""
        while data:
            room = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size)
            if not room:
                self.flush()
                self.http.receive_data(self.socket.recv(65_536))
                continue
            part, data = data[:room], data[room:]
            self.http.send_data(stream, part, end_stream=end and not data)

    def events(self, seconds=5.0):
        """What comes, until the other side closes; raises TimeoutError once it says nothing for so long."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := self.socket.recv(65_536):
                yield from self.http.receive_data(data)
                self.flush()

    def status_of(self, stream):
        """gRPC status and text of a stream, or how else it ended."""
        try:
            for event in self.events():
                headers = dict(getattr(event, "headers", None) or ())
                if getattr(event, "stream_id", None) == stream and "grpc-status" in headers:
                    return int(headers["grpc-status"]), headers.get("grpc-message", "")
                if getattr(event, "stream_id", None) == stream and isinstance(event, h2.events.StreamReset):
                    return "reset", event.error_code
                if isinstance(event, h2.events.ConnectionTerminated):
                    return "goaway", event.error_code
        except TimeoutError:
            return "silence", None
        return "closed", None

    def settle(self, seconds=0.2):
        """Answer what the other side says, until it says nothing for so long: its settings, its pings."""
        with contextlib.suppress(TimeoutError):
            for _ in self.events(seconds):
                pass

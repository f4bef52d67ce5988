"""Misbehaving connections: raw bytes, and HTTP/2 frame by frame."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

import h2.config
import h2.connection
import h2.events
import h2.settings
from google.protobuf.internal import encoder

from anomaly_vae.service.rpc.scoring_servicer import SERVICE

SCORE = f"/{SERVICE}/Score"


def connect(port, tls=False, receive_buffer=None):
    """Return a connected socket, with TLS if wanted. The certificate is not checked."""
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
    """Return whether the peer closes within some seconds. Drop what it sends until then."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def entry(number, value):
    """Return a field of a protobuf message that holds bytes."""
    return encoder.TagBytes(number, 2) + encoder._VarintBytes(len(value)) + value


def framed(message, compressed=False, length=None):
    """Frame a message as gRPC does, with a wrong length if one is given."""
    return struct.pack(">?I", compressed, len(message) if length is None else length) + message


class Http2:
    """An HTTP/2 client that can break the rules."""

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
        """Send the headers of a call on a new stream. Return the stream."""
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
        """Send data in frames of allowed size. Wait while the peer's window is full."""
        while data:
            room = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size)
            if not room:
                self.flush()
                self.http.receive_data(self.socket.recv(65_536))
                continue
            part, data = data[:room], data[room:]
            self.http.send_data(stream, part, end_stream=end and not data)

    def events(self, seconds=5.0):
        """Yield events until the peer closes. Raise TimeoutError if it is silent for some seconds."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := self.socket.recv(65_536):
                yield from self.http.receive_data(data)
                self.flush()

    def status_of(self, stream):
        """Return gRPC status and text of a stream, or how else it ended."""
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
        """Answer settings and pings of the peer until it is silent for some seconds."""
        with contextlib.suppress(TimeoutError):
            for _ in self.events(seconds):
                pass

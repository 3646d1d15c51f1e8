"""A client of websockets that is told everything: messages, and how a connection was closed."""

import base64
import os
import socket
import struct

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
TIMEOUT = 30


class Refused(Exception):
    """The handshake was answered by something else than an upgrade; the first line of it."""


class Websocket:
    """
    An open connection.

    Source: https://www.rfc-editor.org/rfc/rfc6455
    """

    def __init__(self, address, path):
        self.closed = None  # the code that it was closed with
        self._socket = socket.create_connection((address, 80), TIMEOUT)
        self._stream = self._socket.makefile("rb")
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {address}",
            f"Origin: http://{address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        first = self._stream.readline().decode().strip()
        while self._stream.readline().strip():
            pass
        if first.split()[1] != "101":
            self.end()
            raise Refused(first)

    def ask(self, text):
        """The answer (str) to a message; None when the connection was closed instead."""
        self._send(TEXT, text.encode())
        return self.listen()

    def listen(self):
        """The next message (str); None when the connection was closed, see ``closed``."""
        while True:
            kind, body = self._frame()
            if kind == PING:
                self._send(PONG, body)
            elif kind == CLOSE:
                self.closed = struct.unpack("!H", body[:2])[0]
                self.end()
                return None
            elif kind == TEXT:
                return body.decode()

    def end(self):
        """Leave without a word."""
        self._stream.close()
        self._socket.close()

    def _send(self, kind, body):
        mask = os.urandom(4)
        hidden = bytes(byte ^ mask[place % 4] for place, byte in enumerate(body))
        self._socket.sendall(struct.pack("!BB", 0x80 | kind, 0x80 | len(body)) + mask + hidden)

    def _frame(self):
        first, size = self._read(2)
        if size == 126:
            (size,) = struct.unpack("!H", self._read(2))
        return first & 0x0F, self._read(size)

    def _read(self, count):
        found = self._stream.read(count)
        if len(found) < count:
            raise ConnectionError("the connection ended without a close frame")
        return found

# SPDX-License-Identifier: Apache-2.0
"""What went over a wire: a tcpdump capture, put together into TCP streams and read as TLS records."""
import signal
import struct
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field

from mesh import wait_until

SYN, FIN, RST = 2, 1, 4
HANDSHAKE, APPLICATION_DATA = 22, 23
SERVER_HELLO = 2
VERSION_1_3 = bytes.fromhex("002b00020304")  # supported_versions: TLS 1.3 (RFC 8446, section 4.2.1)


@dataclass
class Stream:
    """One direction of one connection."""
    first: int = None  # the sequence number of its first byte
    is_over: bool = False
    parts: dict = field(default_factory=dict)

    def data(self):
        """Its bytes in order, as far as there is no gap."""
        whole, at = b"", 0
        for start, part in sorted(self.parts.items()):
            if start > at:
                break
            whole += part[at - start:]
            at = max(at, start + len(part))
        return whole


class Capture:
    """tcpdump on one interface of a namespace, for TCP port `port`."""

    def __init__(self, namespace, interface, port, path):
        self.path = path
        self.process = subprocess.Popen(
            namespace.command(["tcpdump", "-i", interface, "--immediate-mode", "-U", "-s", "65535", "-B", "65536", "-Z", "root", "-w",
                               str(path), f"tcp port {port}"]), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        said = b""
        while b"listening on" not in said:
            line = self.process.stderr.readline()
            if not line:
                raise RuntimeError(f"tcpdump: {said.decode()}")
            said += line

    def packets(self):
        """Every captured frame's bytes from its IP header on."""
        data = self.path.read_bytes()
        if len(data) < 24:
            return
        link = struct.unpack_from("<I", data, 20)[0]
        skip = {1: 14, 113: 16}[link]
        at = 24
        while at + 16 <= len(data):
            length = struct.unpack_from("<I", data, at + 8)[0]
            if at + 16 + length > len(data):
                return
            yield data[at + 16 + skip:at + 16 + length]
            at += 16 + length

    def streams(self):
        """(source, destination) -> Stream."""
        found = defaultdict(Stream)
        for packet in self.packets():
            if packet[0] >> 4 == 4:
                header = (packet[0] & 15) * 4
                end, source, destination = struct.unpack_from(">H", packet, 2)[0], packet[12:16], packet[16:20]
            else:
                header = 40
                end, source, destination = 40 + struct.unpack_from(">H", packet, 4)[0], packet[8:24], packet[24:40]
            source_port, destination_port, sequence = struct.unpack_from(">HHI", packet, header)
            flags = packet[header + 13]
            payload = packet[header + (packet[header + 12] >> 4) * 4:end]
            stream = found[(source, source_port), (destination, destination_port)]
            if flags & SYN:
                stream.first = (sequence + 1) & 0xffffffff
            if stream.first is not None and payload:
                stream.parts[(sequence - stream.first) & 0xffffffff] = payload
            stream.is_over = stream.is_over or bool(flags & (FIN | RST))
        return found

    def wait_over(self, num_connections):
        """Waits until so many connections are captured from their first packet to their last."""
        def over():
            streams = self.streams()
            return len(streams) >= 2 * num_connections and all(stream.is_over for stream in streams.values())
        wait_until(f"{num_connections} connections on the wire, to their end", over)

    def close(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def records(data):
    """The TLS records (type, body) that `data` is made of; ValueError where it is anything else."""
    at = 0
    while at < len(data):
        if len(data) - at < 5:
            raise ValueError("half a record header")
        kind, major, _, length = struct.unpack_from(">BBBH", data, at)
        if kind not in (20, 21, HANDSHAKE, APPLICATION_DATA) or major != 3 or length > 16640:
            raise ValueError(f"no TLS record at byte {at}: {data[at:at + 8].hex()}")
        yield kind, data[at + 5:at + 5 + length]
        at += 5 + length


def num_tls_1_3(streams):
    """Reads every stream as TLS; returns how many ServerHellos chose TLS 1.3, and how many didn't."""
    yes = no = 0
    for stream in streams.values():
        for kind, body in records(stream.data()):
            if kind == HANDSHAKE and body[:1] == bytes([SERVER_HELLO]):
                if VERSION_1_3 in body:
                    yes += 1
                else:
                    no += 1
    return yes, no

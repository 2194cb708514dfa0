# SPDX-License-Identifier: Apache-2.0
"""The echo service's bytes, for Python peers: the same as in grpc_echo.c."""
import struct

CAP = 4 << 20


def fill(length, index):
    """Message number `index`: byte i is i * 7 + index + i // 256, in 8 bits."""
    out = bytearray(length)
    for block in range(0, length, 256):
        start = block * 7 + index + (block >> 8)
        piece = bytes((start + 7 * i) & 255 for i in range(min(256, length - block)))
        out[block:block + len(piece)] = piece
    return bytes(out)


def ask(num, length):
    return struct.pack("!II", num, length)

# SPDX-License-Identifier: Apache-2.0
"""Looks for a private key in another process's memory, in each form that it could lie there. Needs root."""
import base64
import hashlib
import os
import re
from pathlib import Path

CHUNK = 1 << 20
OVERLAP = 256  # longer than any form
PAGE = os.sysconf("SC_PAGE_SIZE")
P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551


def _halves(name, secret):
    """A copy of which a part is left is found, too."""
    middle = len(secret) // 2
    return {f"{name}, first half": secret[:middle], f"{name}, second half": secret[middle:]}


def _p256(secret):
    scalar = int.from_bytes(secret, "big")
    montgomery = (scalar << 256) % P256_ORDER
    return {**_halves("scalar, big endian", secret),
            **_halves("scalar, as limbs", secret[::-1]),
            **_halves("scalar in Montgomery's form", montgomery.to_bytes(32, "little"))}


def _ed25519(seed):
    expanded = bytearray(hashlib.sha512(seed).digest())
    expanded[0] &= 248
    expanded[31] = expanded[31] & 63 | 64
    return {**_halves("seed", seed), **_halves("scalar made of it", bytes(expanded[:32])),
            **_halves("prefix made of it", bytes(expanded[32:]))}


def _ml_dsa(rows, columns):
    def forms(seed):  # FIPS 204, algorithm 6
        made = hashlib.shake_256(seed + bytes([rows, columns])).digest(128)
        return {**_halves("seed", seed), **_halves("rho'", made[32:96]), **_halves("K", made[96:])}
    return forms


# A key's OID in DER, what stands before its 32 secret bytes in PKCS#8, and their forms beside those of the file's text.
KINDS = {
    "p256": (bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("0201010420"), _p256),
    "ed25519": (bytes.fromhex("06032b6570"), bytes.fromhex("0420"), _ed25519),
    "ml-dsa-44": (bytes.fromhex("0609608648016503040311"), bytes.fromhex("8020"), _ml_dsa(4, 4)),
    "ml-dsa-65": (bytes.fromhex("0609608648016503040312"), bytes.fromhex("8020"), _ml_dsa(6, 5)),
}


def _pem_forms(text, der, at):
    """Of each line the part that says nothing but secret bytes, and the same across its line's end."""
    body = base64.b64encode(der)
    start, end = -(-at // 3) * 4, (at + 32) // 3 * 4
    cuts = [start, *(cut for cut in range(0, len(body), 64) if start < cut < end), end]
    pieces = [body[a:b] for a, b in zip(cuts, cuts[1:]) if b - a >= 12]
    assert pieces and all(piece in text for piece in pieces), "the file is not wrapped at 64 characters"
    return {f"PEM, piece {number}": piece for number, piece in enumerate(pieces)}


def forms(key_file):
    """What would give the key in a PEM file (PKCS#8) away, by name."""
    text = Path(key_file).read_bytes()
    der = base64.b64decode(re.sub(rb"-----[^-]+-----|\s", b"", text))
    (oid, before, derived), = [kind for kind in KINDS.values() if kind[0] in der]
    at = der.index(before, der.index(oid)) + len(before)
    secret = der[at:at + 32]
    return {"PKCS#8": der[at - len(before):at + 32], **derived(secret), **_pem_forms(text, der, at)}


def _regions(pid):
    """(start, end, flags) of every mapping; the flags as /proc/PID/smaps has them."""
    span = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            span = int(match[1], 16), int(match[2], 16)
        elif line.startswith("VmFlags:"):
            yield *span, set(line.split()[1:])


def _is_there(pagemap, at, length):
    """Whether the kernel has a page of that range, in memory or swapped out: /proc/PID/pagemap, an int64 for each page."""
    pagemap.seek(at // PAGE * 8)
    entries = pagemap.read(length // PAGE * 8)
    return any(byte & 0xc0 for byte in entries[7::8])


def find(pid, wanted):
    """{name: [flags of each mapping that holds it]} of the forms that are anywhere in the process's memory."""
    found = {}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory, open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for start, end, flags in _regions(pid):
            if end - start > 1 << 32:
                continue  # a sanitizer's shadow
            for at in range(start, end, CHUNK):
                if not _is_there(pagemap, at, min(CHUNK + PAGE, end - at)):
                    continue  # a sanitizer asks for much more than it uses
                try:
                    memory.seek(at)
                    data = memory.read(min(CHUNK + OVERLAP, end - at))
                except (OSError, ValueError, OverflowError):
                    continue  # of the kernel's own, or never written to
                for name, form in wanted.items():
                    if form in data:
                        found.setdefault(name, []).append(flags)
    return found


def assert_locked(found):
    for name, places in found.items():
        for flags in places:
            assert {"lo", "dd", "wf"} <= flags, f"{name} lies in memory that is not locked, dumped or inherited: {flags}"

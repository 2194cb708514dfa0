# SPDX-License-Identifier: Apache-2.0
"""Asks policyd for a certificate with a token that somebody chose, and says as a line of JSON what became of it. With `hold` it
stays, asks again with each further token that a line of its input names, and says how the stream ends. It runs on the node."""
import json
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "interop")]

from policyd import Refused, Sidecar, csr, pem_of  # noqa: E402


def say(**fields):
    print(json.dumps(fields), flush=True)


def tell(response):
    say(certificate=pem_of(response.certificate.chain).decode() if response.certificate.chain else "",
        error=response.certificate_error)


def main():
    host, port, folder, token, wanted, hold = sys.argv[1:]
    policyd = SimpleNamespace(tcp=(host, int(port)), folder=Path(folder))
    with Sidecar(policyd, "asks", account=token, request=csr()[0], spiffe_id=wanted, tcp=True) as sidecar:
        try:
            tell(sidecar.take(seconds=30))
            for line in sys.stdin if hold == "hold" else ():
                if line == "\n":
                    break
                sidecar.ask(csr()[0], account=line.strip())
                while not (response := sidecar.take()).certificate.chain and not response.certificate_error:
                    pass
                tell(response)
            while hold == "hold":
                sidecar.take(seconds=60)
        except Refused as error:
            say(code=error.code.name, text=error.text)


main()

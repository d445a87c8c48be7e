"""Tell Docker whether the service in this container is ready: exit code 0, or 1 and a line that says why not.

python healthcheck.py [PATH]

It needs nothing but Python, and asks where the service's own settings say that it listens.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection

_PATIENCE = 3.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not listened on


def main(path: str = "/readyz") -> int:
    """Ask once; say on standard output what came back, for `docker inspect` shows it."""
    try:
        status, body = ask(path, os.environ)
    except (OSError, HTTPException, ValueError) as error:
        print(f"no answer: {error or type(error).__name__}")
        return 1
    print(summary(status, body))
    return 0 if status == 200 else 1


def ask(path: str, environment: Mapping[str, str]) -> tuple[int, bytes]:
    """Give the status and the body of a page of the service that runs with this environment."""
    host = environment.get("SEGSERVE_HOST") or "127.0.0.1"
    port = int(environment.get("SEGSERVE_PORT") or 8000)
    address = _EVERYWHERE.get(host, host)
    connection = HTTPConnection(address, port, timeout=_PATIENCE)
    if environment.get("SEGSERVE_TLS_CERTIFICATE_FILE"):
        # To itself, by an address that is in no certificate.
        trusting = ssl._create_unverified_context()  # noqa: SLF001, S323  # nosec B323
        connection = HTTPSConnection(address, port, timeout=_PATIENCE, context=trusting)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 20)
    finally:
        connection.close()


def summary(status: int, body: bytes) -> str:
    """Say in a line what the answer says: what is wrong with the devices or with which model."""
    try:
        readiness = json.loads(body)
        states = {name: model.get("problem") or model["state"] for name, model in readiness.get("models", {}).items()}
    except (ValueError, AttributeError, KeyError, TypeError):
        return f"{status}"
    told = [str(readiness["problem"])] if readiness.get("problem") else []
    told += ["draining"] if readiness.get("draining") else []
    told += [f"{name}: {state}" for name, state in states.items()]
    return f"{status} " + "; ".join(told)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

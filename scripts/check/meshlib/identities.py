"""Who gets to the service: one identity of one authority, and nobody else."""

import socket
import ssl

from crashlib.table import Table
from meshlib import certificates
from meshlib.envoys import Mesh
from meshlib.scene import Scene

TITLE = "mTLS: who gets through to the service"
ASKED = b"GET /v1/orders HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n"


def run(table: Table, scene: Scene) -> dict:
    mesh = scene.mesh
    certificates.authority(mesh.work, "stranger")
    certificates.identity(mesh.work, "other", account="other", by="authority")
    certificates.identity(mesh.work, "forged", account="till", by="stranger")
    for who, answered in (("till", True), ("other", False), ("forged", False), (None, False)):
        # Whoever is let through meets the service, which wants a key.
        answer = said(mesh, who)
        table.claim(f"answers to {who or 'nobody in particular'}", int(answered), int(answer != b""), [str(answer)])
    table.claim("answers to plain text", 0, int(plain(mesh) != b""))
    return {}


def said(mesh: Mesh, who: str | None) -> bytes:
    """The beginning of the answer that a caller with this certificate gets; nothing when it gets none."""
    try:
        with socket.create_connection(("127.0.0.1", mesh.far), 10) as raw, context(mesh, who).wrap_socket(raw) as tls:
            tls.sendall(ASKED)
            return tls.recv(12)
    except (ConnectionError, ssl.SSLError):
        return b""


def context(mesh: Mesh, who: str | None) -> ssl.SSLContext:
    """How a caller with this certificate speaks to the service's side."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The service is named by a URI, which this library does not look at.
    made.check_hostname = False
    made.load_verify_locations(mesh.work / "authority.pem")
    if who:
        made.load_cert_chain(mesh.work / f"{who}.pem", mesh.work / f"{who}.key")
    return made


def plain(mesh: Mesh) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", mesh.far), 10) as connection:
            connection.sendall(ASKED)
            return connection.recv(12)
    except ConnectionError:
        return b""

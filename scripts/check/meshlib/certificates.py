"""Certificates of a mesh, made anew for each run: an authority, and identities as SPIFFE URIs."""

import subprocess
from pathlib import Path

DOMAIN = "spiffe://mesh.test/ns/shop/sa"
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def authority(folder: Path, name: str) -> None:
    """NAME.pem and NAME.key of whom the mesh trusts."""
    openssl(folder, "req", "-x509", *CURVE, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", 2, "-subj", f"/CN={name}")


def identity(folder: Path, name: str, *, account: str, by: str) -> None:
    """NAME.pem and NAME.key of a service account, signed by an authority of this folder."""
    openssl(folder, "req", "-new", *CURVE, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/O=mesh")
    lines = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
    # Critical, as the subject names nobody.
    lines.append(f"subjectAltName=critical,URI:{DOMAIN}/{account}")
    (folder / f"{name}.ext").write_text("\n".join(lines) + "\n")
    signer = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial"]
    signed = ["-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext"]
    openssl(folder, "x509", "-req", "-days", 2, *signer, *signed)


def openssl(folder: Path, *words: object) -> None:
    done = subprocess.run(["openssl", *map(str, words)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"openssl {words[0]}: {done.stderr.strip()}")

"""Private PostgreSQL servers for the checks: with settings, standbys, a PgBouncer in front.

Each listens on a free port of 127.0.0.1 and keeps its files in a folder of its own, which is removed when it is
closed. PostgreSQL refuses to be root; then it runs as the user `postgres`, or `nobody`. It knows two roles and asks
neither for a password: `postgres`, the superuser, and `orderly`, who owns the databases made here.
"""

import ctypes
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

SETTINGS = {"listen_addresses": "127.0.0.1", "shared_buffers": "32MB", "max_connections": "200"}
BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path())
PATIENCE = 60.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
TURNS = itertools.count()


class Server:
    """A program with a folder and a port."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"orderly-{name}-"))
        self.port = free_port()
        self.process = None
        if account():
            shutil.chown(self.folder, account().pw_uid, account().pw_gid)

    def run(self, *command: object) -> str:
        """What a program prints that must succeed, run as the server's account in its folder."""
        done = subprocess.run([*map(str, command)], cwd=self.folder, capture_output=True, text=True, **identity())
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        if account():
            shutil.chown(path, account().pw_uid, account().pw_gid)

    def launch(self, *command: object) -> None:
        """Starts the program and returns once it takes connections. It ends with the thread that starts it."""
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*map(str, command)], cwd=self.folder, stdout=log, stderr=log, preexec_fn=end_with_us, **identity()
            )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: int) -> None:
        """Ends the program by this signal; nothing happens when it has ended."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)

    def close(self) -> None:
        """Ends the program and removes its files."""
        self.signal(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Postgres(Server):
    """A PostgreSQL: durable, empty, and the caller's alone. `settings` stand beside those of all checks."""

    def __init__(self, settings: dict | None = None, follows: "Postgres | None" = None) -> None:
        super().__init__("postgres")
        if follows:
            self.run(program("pg_basebackup"), "-R", "-c", "fast", "-D", "data", "-d", follows.admin_url())
        else:
            self.run(program("initdb"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D", "data")
            with (self.folder / "data" / "postgresql.conf").open("a") as file:
                for name, value in {**SETTINGS, **(settings or {})}.items():
                    file.write(f"{name} = '{value}'\n")
        self.start()
        if not follows:
            self.sql("CREATE ROLE orderly LOGIN NOSUPERUSER NOBYPASSRLS")

    def start(self) -> None:
        """Starts it, on its port and with its data as they were left."""
        self.launch(program("postgres"), "-D", "data", "-p", self.port, "-k", self.folder)

    def stop(self) -> None:
        """Stops it in order; open transactions are rolled back."""
        self.signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it as a crash would: the next start recovers from the log."""
        self.signal(signal.SIGQUIT)

    def answers(self) -> bool:
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready).returncode == 0

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What a statement gives as superuser, one row a line, fields parted by `|`."""
        return self.run(program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.admin_url(database), "-c", statement)

    def set(self, name: str, value: str) -> None:
        """Sets a parameter of the running server."""
        self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t_{uuid.uuid4().hex}"
        self.sql(f"CREATE DATABASE {name} OWNER orderly TEMPLATE template0")
        return f"postgres://orderly@127.0.0.1:{self.port}/{name}"

    def admin_url(self, database: str = "postgres") -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def standby(self) -> "Postgres":
        """A server that follows this one by streaming. `set("synchronous_standby_names", "*")` makes this one wait for it."""
        return Postgres(follows=self)

    def promote(self) -> None:
        """Makes a standby the primary."""
        if self.sql("SELECT pg_promote(true, 60)") != "t":
            raise SystemExit("the standby was not promoted within a minute")


class PgBouncer(Server):
    """A pool of few connections in front of a PostgreSQL, each handed out for one transaction."""

    def __init__(self, before: Postgres, pool_size: int = 20) -> None:
        super().__init__("pgbouncer")
        self.write("users", '"orderly" ""\n"postgres" ""\n')
        self.write(
            "pgbouncer.ini",
            f"[databases]\n* = host=127.0.0.1 port={before.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = trust\nauth_file = users\n"
            f"pool_mode = transaction\ndefault_pool_size = {pool_size}\nmax_client_conn = 1000\n"
            "ignore_startup_parameters = extra_float_digits\n",
        )
        self.start()

    def start(self) -> None:
        debian = Path("/usr/sbin/pgbouncer")
        self.launch(debian if debian.exists() else "pgbouncer", "pgbouncer.ini")

    def url(self, database: str) -> str:
        """The URL of the same database through this."""
        user, _, rest = database.partition("@")
        return f"{user}@127.0.0.1:{self.port}/{rest.partition('/')[2]}"


def program(name: str) -> str:
    """A program of the newest PostgreSQL in Debian's place, or else in PATH."""
    return str(BINARIES / name) if (BINARIES / name).exists() else name


def account() -> pwd.struct_passwd | None:
    """Who runs the servers when we are root."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name: user for user in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def identity() -> dict:
    return {"user": account().pw_uid, "group": account().pw_gid, "extra_groups": []} if account() else {}


def end_with_us() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def free_port() -> int:
    """A port on which nothing listens, below those that outgoing connections get."""
    for turn in itertools.islice(TURNS, 20_000):
        port = 12_000 + (os.getpid() * 211 + turn) % 20_000
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise SystemExit("there is no free port")

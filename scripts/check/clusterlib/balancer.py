"""A balancer of TCP connections that learns of a replica's readiness two seconds late, as real ones do.

    balancer.py PORT LATE_SECONDS API_PORT:ADMIN_PORT...

New connections go in turn to those replicas that it believes ready. It never tries another one: who is sent to a
replica that does not accept is cut off, as the price of believing too long.
"""

import asyncio
import itertools
import sys
import time

ASK_EVERY = 0.1


class Backend:
    """A replica, and what was told of its readiness: instants and answers, the late view of which counts."""

    def __init__(self, api: int, admin: int) -> None:
        self.api, self.admin, self.told = api, admin, [(0.0, False)]

    def believed(self, late: float) -> bool:
        then = time.monotonic() - late
        while len(self.told) > 1 and self.told[1][0] <= then:
            self.told.pop(0)
        return self.told[0][1]

    async def watch(self) -> None:
        while True:
            ready = False
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.admin)
                writer.write(b"GET /readyz HTTP/1.1\r\nhost: balancer\r\nconnection: close\r\n\r\n")
                head = await asyncio.wait_for(reader.readline(), 2)
                ready = head.startswith(b"HTTP/1.1 200")
                writer.close()
            except (OSError, asyncio.TimeoutError):
                pass
            if ready != self.told[-1][1]:
                self.told.append((time.monotonic(), ready))
            await asyncio.sleep(ASK_EVERY)


async def main() -> None:
    port, late, *addresses = sys.argv[1:]
    backends = [Backend(*map(int, address.split(":"))) for address in addresses]
    turns = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = [backend for backend in backends if backend.believed(float(late))]
        try:
            if ready:
                backend = ready[next(turns) % len(ready)]
                answers, requests = await asyncio.open_connection("127.0.0.1", backend.api)
                await asyncio.gather(carry(reader, requests), carry(answers, writer))
        except OSError:
            pass
        finally:
            writer.close()

    watching = [asyncio.create_task(backend.watch()) for backend in backends]
    server = await asyncio.start_server(serve, "127.0.0.1", int(port), backlog=1024)
    await asyncio.gather(server.serve_forever(), *watching)


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hands on what comes, and then the end of it."""
    try:
        while got := await reader.read(65536):
            writer.write(got)
            await writer.drain()
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main())

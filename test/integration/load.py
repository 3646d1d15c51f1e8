"""
Visitors of the example site, at a steady pace, each of whose answers is looked at.

    python -m test.integration.load ADDRESS REPORT MINIMUM [LEISURE [NAME]]

Runs until SIGTERM and MINIMUM requests, at most ten minutes, and then writes what was seen to the
file REPORT, as JSON: ``requests``, ``failed`` (kind, moment and reason), ``mixed`` (answers whose
code is not of the release that they name), ``releases`` that answered, ``posted`` names, ``kinds``
with the number of requests and the longest wait (s) of each, ``reopened``: how many idle
connections the site had closed by the time that they were used again. Nginx does so when it is
reloaded; browsers open another then, and so do these visitors.
With LEISURE (int) visitors leave that many times as long between two requests. NAME is the site's,
which is else known by its address.
"""

import asyncio
import json
import re
import signal
import sys
import time
import urllib.parse
import uuid

LONGEST = 600
TIMEOUT = 30
# kind: how many visitors, and how many seconds each leaves between two requests
VISITORS = {"keep-alive": (14, 0.02), "new connection": (4, 0.05), "post": (2, 0.4), "slow": (4, 0)}


class Site:
    """The site, and what visitors got of it."""

    def __init__(self, address, minimum, name):
        self.address, self.name = address, name
        self.minimum = minimum
        self.told = False  # to stop
        self.over = False
        self.requests = 0
        self.report = {"failed": [], "mixed": [], "releases": [], "posted": [], "kinds": {}}
        self.report["reopened"] = 0

    def seen(self, kind, started, problem=None):
        """Count a request."""
        self.requests += 1
        self.over = self.over or (self.told and self.requests >= self.minimum)
        count, longest = self.report["kinds"].get(kind, (0, 0))
        self.report["kinds"][kind] = (count + 1, max(longest, time.monotonic() - started))
        if problem:
            self.report["failed"].append([kind, time.strftime("%X"), problem])

    def look(self, body):
        """Note which release answered, and whether its code is that release's."""
        answer = json.loads(body)
        if answer["release"] not in self.report["releases"]:
            self.report["releases"].append(answer["release"])
        if answer["release"] not in answer["code_directory"]:
            self.report["mixed"].append(answer)


class Connection:
    """A connection of HTTP/1.1."""

    def __init__(self, site):
        self.address, self.name, self.report = site.address, site.name, site.report
        self.reader = self.writer = None
        self.heard = False  # the head of an answer

    async def ask(self, method, path, headers=(), body=b"", keep=False):
        """A request and its answer: status, headers (list of pairs), body (bytes)."""
        if self.writer is not None and method == "GET":
            try:
                return await self._ask(method, path, headers, body, keep)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if self.heard or getattr(error, "partial", b""):
                    raise
                self.report["reopened"] += 1
                self.close()
        return await self._ask(method, path, headers, body, keep)

    async def _ask(self, method, path, headers, body, keep):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.address, 80)
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.name}",
            f"Connection: {'keep-alive' if keep else 'close'}",
            *(f"{name}: {value}" for name, value in headers),
            *([f"Content-Length: {len(body)}"] if body else []),
        ]
        self.heard = False
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.heard = True
        found = [line.split(": ", 1) for line in head[1:] if line]
        names = {name.lower(): value for name, value in found}
        if "content-length" in names:
            text = await self.reader.readexactly(int(names["content-length"]))
        elif names.get("transfer-encoding") == "chunked":
            text = await self._chunks()
        else:
            text = await self.reader.read()
        if not keep or names.get("connection") == "close":
            self.close()
        return int(head[0].split()[1]), found, text

    async def _chunks(self):
        text = b""
        while size := int(await self.reader.readline(), 16):
            text += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return text

    def close(self):
        """End the connection; the next request opens another."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def visit(site, kind, pause):
    """A visitor of a kind, until the end."""
    connection = Connection(site)
    while not site.over:
        started = time.monotonic()
        try:
            await asyncio.wait_for(REQUESTS[kind](site, connection), TIMEOUT)
            problem = None
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            connection.close()
            problem = repr(error)
        site.seen(kind, started, problem)
        await asyncio.sleep(pause)


async def look_again(site, connection):
    """GET over a connection that stays."""
    _, _, body = expect(200, await connection.ask("GET", "/whoami/", keep=True))
    site.look(body)


async def look_once(site, connection):
    """GET over a connection of its own."""
    _, _, body = expect(200, await connection.ask("GET", "/whoami/"))
    site.look(body)


async def take_time(site, connection):
    """GET that takes the site two seconds."""
    expect(200, await connection.ask("GET", "/slow/?seconds=2"))


async def write(site, connection):
    """Fill in the form: a row in the database."""
    _, headers, body = expect(200, await connection.ask("GET", "/"))
    token = re.search(rb'csrfmiddlewaretoken"? value="(\w+)"', body).group(1).decode()
    cookie = next(value for name, value in headers if name.lower() == "set-cookie")
    name = f"load {uuid.uuid4().hex}"
    fields = {"csrfmiddlewaretoken": token, "name": name, "message": "Under load."}
    form = urllib.parse.urlencode(fields).encode()
    extra = [
        ("Cookie", cookie.partition(";")[0]),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", f"http://{site.name}"),
    ]
    expect(302, await connection.ask("POST", "/", extra, form))
    site.report["posted"].append(name)


def expect(status, answer):
    """``answer``, when it has this status."""
    if answer[0] != status:
        raise ValueError(f"status {answer[0]}: {answer[2][:300]!r}")
    return answer


REQUESTS = {"keep-alive": look_again, "new connection": look_once, "post": write, "slow": take_time}


async def main(address, report, minimum, leisure=1, name=None):
    """Let all visitors come, and write the report when they have gone."""
    site = Site(address, int(minimum), name or address)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, setattr, site, "told", True)
    loop.call_later(LONGEST, setattr, site, "over", True)
    await asyncio.gather(
        *(
            visit(site, kind, pause * int(leisure))
            for kind, (count, pause) in VISITORS.items()
            for _ in range(count)
        )
    )
    site.report["requests"] = site.requests
    with open(report, "w", encoding="utf-8") as file:
        json.dump(site.report, file)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

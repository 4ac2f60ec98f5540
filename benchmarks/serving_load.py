"""A load like wrk's, for machines without it: `serving_load.py PORT CONNECTIONS SECONDS FILE PATH`.

Each connection sends the next body as soon as its answer is whole. It prints the same line of JSON as serving.lua.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import cycle
from pathlib import Path


async def one(port: int, requests: cycle[bytes], until: float, taken: list[float]) -> int:
    """One connection until the end; appends the seconds of each request, returns how many failed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    failed = 0
    while (began := time.perf_counter()) < until:
        writer.write(next(requests))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        taken.append(time.perf_counter() - began)
        failed += not head.startswith(b"http/1.1 200")
    writer.close()
    return failed


async def main(port: int, connections: int, seconds: float, file: str, path: str) -> None:
    """All connections."""
    bodies = Path(file).read_bytes().splitlines()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    requests = cycle([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
    taken: list[float] = []
    began = time.perf_counter()
    failed = sum(await asyncio.gather(*(one(port, requests, began + seconds, taken) for _ in range(connections))))
    wall = time.perf_counter() - began
    taken.sort()
    p50, p99 = taken[len(taken) // 2] * 1e3, taken[len(taken) * 99 // 100] * 1e3
    print(json.dumps({"requests": len(taken), "seconds": wall, "p50_ms": p50, "p99_ms": p99, "failed": failed}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]))

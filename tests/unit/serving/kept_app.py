"""An application that is slow, hangs, leaks and dies when it is told to; it runs under a keeper in other processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuseline.errors import FuselineError, SettingsError
from fuseline.server import listening
from fuseline.serving.child import Child
from fuseline.serving.keeper import keep

MB = 2**20


@dataclass(frozen=True)
class Wanted:
    """What the keeper is told; files in a folder tell the application what to do."""

    folder: str
    memory: int | None = None
    patience: float = 10.0
    silence: float = 60.0
    total: int | None = None

    def there(self, name: str) -> bool:
        return (Path(self.folder) / name).exists()


@dataclass
class App:
    child: Child
    wanted: Wanted
    held: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            print("over", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        body = str(await self.answer(scope["path"].strip("/").split("/"))).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, path: list[str]) -> Any:
        match path:
            case ["modules"]:
                return " ".join(sys.modules)
            case ["wait", name]:
                print("waiting", flush=True)
                while not self.wanted.there(name):
                    await asyncio.sleep(0.005)
            case ["replace"]:
                self.child.replace("it was asked to")
                self.child.replace("it was asked again")
            case ["die"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["leak", size]:
                self.held.append(b"x" * (int(size) * MB))
            case ["hang"]:  # a search that never ends, and lets no other thread run
                re.match(r"(a+)+$", "a" * 60 + "b")
            case ["sleep"]:
                await asyncio.sleep(0.02)
            case ["sleep", seconds]:  # the whole process waits, though other threads run
                print("sleeping", flush=True)
                time.sleep(float(seconds))
        return os.getpid()


def start(child: Child, wanted: Wanted) -> None:
    """What a child does."""
    print("starting", flush=True)
    if wanted.there("refuse"):
        raise SettingsError("the model <m> is not there: train it")
    if wanted.there("crash"):
        os._exit(7)
    threading.Thread(target=report, args=(child,), daemon=True).start()
    child.serve(App(child, wanted), threading.Thread(target=get_ready, args=(child, wanted), daemon=True).start)


def get_ready(child: Child, wanted: Wanted) -> None:
    """A model is loaded in a thread; it is not ready as long as there is a file `unready`."""
    while wanted.there("unready"):
        time.sleep(0.005)
    if wanted.there("unfit"):
        child.failed(SettingsError("the model <m> is unfit"))
    else:
        child.ready()


def report(child: Child) -> None:
    """Print that it was told to stop."""
    child.stopping.wait()
    print("leaving", flush=True)


def main() -> None:
    """The keeper: prints its port, and `ready`."""
    wanted = Wanted(**json.loads(sys.argv[1]))
    with listening("127.0.0.1", 0) as opened:
        print(opened.getsockname()[1], flush=True)
        try:
            code = keep(
                start,
                (wanted,),
                opened,
                wanted.memory,
                wanted.patience,
                silence=wanted.silence,
                total=wanted.total,
                ready=lambda: print("ready", flush=True),
            )
        except FuselineError as error:
            print(error, file=sys.stderr)
            code = error.exit_code
    sys.exit(code)

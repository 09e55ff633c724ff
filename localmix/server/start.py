"""Starts the server: a socket, the worker, uvicorn, and the end of all of them."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn

from localmix.answer.scheduler import Scheduler
from localmix.engine.batch import Batch
from localmix.errors import LocalmixError
from localmix.model import Model
from localmix.server import app
from localmix.server.limits import QUEUE
from localmix.server.metrics import Metrics
from localmix.server.service import Service
from localmix.server.worker import Worker
from localmix.stream import memory

_BACKLOG = 512
_LEAST_MEMORY = 256 << 20  # bytes
_KEEP_ALIVE = 75  # seconds that a connection may rest
# Seconds after a pass in which its tokens are sent: the next one is under way then. Sent at once, they would keep
# Python from the thread that computes, and the processors would wait.
_LATER = 0.002
_LOOK = 0.02  # seconds between two looks whether the model is ready
_WARM = 40  # tokens: enough for the kernels of prompts


@dataclass(frozen=True)
class Settings:
    """What a server is started with. `drain`: seconds that answers have once it is to end."""

    host: str = "127.0.0.1"
    port: int = 8080
    keys: Sequence[str] = ()
    origins: Sequence[str] = ()
    hosts: Sequence[str] = ()
    name: str | None = None
    parallel: int = 16
    context: int | None = None
    gap: float | None = 0.5
    memory: int | None = None  # bytes of keys and values; None: half of what is free beside the weights; 0: any
    queue: int = QUEUE
    drain: int = 30


def service(model: Model, settings: Settings) -> Service:
    """The model behind a worker, which is not started. LocalmixError: no room for such a context."""
    size = model.engine.cache(settings.context).context
    metrics, budget = Metrics(), _budget(model) if settings.memory is None else settings.memory

    def make() -> Scheduler:
        return Scheduler(model.engine, parallel=settings.parallel, context=size, gap=settings.gap, budget=budget)

    worker = Worker(make, lambda: _warm(model), settings.queue, metrics)
    name = settings.name or model.file.path.name.removesuffix(".gguf")
    return Service(model, worker, name, size, settings.parallel, settings.gap, budget, metrics)


def _budget(model: Model) -> int:
    """Bytes for keys and values: half of the memory that weights leave free; beside streamed experts what was left."""
    if model.place.pool is not None:
        return max(model.place.cache, _LEAST_MEMORY)
    weights = sum(tensor.data.nbytes for tensor in model.file.tensors.values())
    return max((memory.here().available - weights) // 2, _LEAST_MEMORY)


def listen(settings: Settings) -> socket.socket:
    """A socket. LocalmixError: the address is not to be had."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((settings.host, settings.port))
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise LocalmixError(f"{place}: {error.strerror}: name another --port, or another --host") from None
    return found


def serve(found: Service, settings: Settings, listening: socket.socket, ready: Callable[[], None]) -> bool:
    """Answer requests until Ctrl-C, then those that are here; a second one ends. False: the engine failed.

    `ready` is called once requests are answered: until then they hear that the model is being loaded.
    """
    server = Server(found, settings, ready)

    def failed() -> None:
        server.should_exit = True

    found.worker.on_failed = failed
    found.worker.start()
    gc.collect()
    gc.freeze()  # the model's vocabulary stays: looked through again and again, it would hold up passes
    try:
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has ended
            server.run(sockets=[listening])
    finally:
        gc.unfreeze()  # or a process that goes on would keep what refers to itself, models and their threads, for good
    return found.worker.state != "failed"


class Server(uvicorn.Server):
    def __init__(self, found: Service, settings: Settings, ready: Callable[[], None]) -> None:
        made = app.make(found, settings.keys, settings.origins, settings.hosts)
        super().__init__(
            uvicorn.Config(
                made,
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=settings.drain,
                lifespan="off",
            )
        )
        self._worker, self._ready = found.worker, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()

        def call(tell: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(loop.call_later, _LATER, tell)

        self._worker.call = call
        await super().startup(sockets)
        self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._worker.state == "loading":
            await asyncio.sleep(_LOOK)
        if self._worker.state == "ready":
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._worker.drain()
        await super().shutdown(sockets)


def _warm(model: Model) -> None:
    """Compile what the first request would have to wait for."""
    count = min(_WARM, model.engine.network.context)
    cache = model.engine.cache(count)
    one = cache.new()
    model.engine.forward(Batch.of([(one, 0, [0] * max(count - 1, 1))]), cache)
    if count > 1:
        model.engine.forward(Batch.of([(one, count - 1, [0])]), cache)

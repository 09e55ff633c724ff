"""What every endpoint shares: the model, the worker, and what the server was started with."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

import localmix
from localmix.model import Model
from localmix.server.metrics import Metrics
from localmix.server.worker import Worker


@dataclass
class Service:
    """`name` is the model's, as clients see it; `context` the tokens of one sequence."""

    model: Model
    worker: Worker
    name: str
    context: int
    parallel: int
    gap: float | None
    budget: int  # bytes of keys and values; 0: any
    metrics: Metrics
    started: int = field(default_factory=lambda: int(time.time()))

    @property
    def fingerprint(self) -> str:
        return f"localmix-{localmix.__version__}-{self.model.backend.name}"

    def head(self, kind: str, prefix: str) -> dict[str, Any]:
        """What every object about one answer begins with."""
        return {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self.name,
            "system_fingerprint": self.fingerprint,
        }


def service_of(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def owner_of(request: Request) -> str:
    """Whose prompts may share what is computed: the client's key, or nobody's."""
    return str(request.scope.get("localmix.owner", ""))

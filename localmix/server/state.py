"""`/health`, `/v1/models`, `/metrics`, `/props`, `/slots`: what the server is and how it does."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from localmix.server.choices import settings
from localmix.server.errors import ApiError
from localmix.server.metrics import CONTENT_TYPE
from localmix.server.page import page
from localmix.server.service import Service, service_of
from localmix.server.wire import json

_RETRY = 5


async def health(request: Request) -> Response:
    state = service_of(request).worker.state
    if state != "ready":
        raise ApiError(503, f"the server is {state}", retry=_RETRY)
    return json({"status": "ok"})


async def home(request: Request) -> Response:
    """The page, packed where the browser says it can unpack."""
    found = page()
    packs = "gzip" in request.headers.get("accept-encoding", "")
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": found.policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "vary": "accept-encoding",
        **({"content-encoding": "gzip"} if packs else {}),
    }
    return Response(found.packed if packs else found.plain, headers=headers)


async def models(request: Request) -> Response:
    service = service_of(request)
    one = _model(service)
    return json({"object": "list", "data": [one], "models": [{"name": one["id"], "model": one["id"]}]})


async def model(request: Request) -> Response:
    service = service_of(request)
    if (name := request.path_params["name"]) not in (service.name, service.model.file.path.name):
        raise ApiError(404, f"no model is named {name!r}: expected {service.name!r}", param="model")
    return json(_model(service))


async def metrics(request: Request) -> Response:
    service = service_of(request)
    m, worker = service.metrics, service.worker
    m.running.set(worker.running)
    m.waiting.set(worker.waiting)
    used, kept = worker.scheduler.memory
    m.used.set(used / service.budget if service.budget else 0)
    m.kept.set(kept)
    return Response(m.text(), headers={"content-type": CONTENT_TYPE})


async def slots(request: Request) -> Response:
    """A place each, without any text."""
    service = service_of(request)
    rows = list(service.worker.scheduler.rows)
    busy = [
        {
            "id": place,
            "n_ctx": service.context,
            "is_processing": True,
            "n_prompt_tokens": len(ticket.request.prompt),
            "n_decoded": len(ticket.ids),
            "reading": ticket.reading,
        }
        for place, ticket in enumerate(rows)
    ]
    free = [
        {"id": place, "n_ctx": service.context, "is_processing": False} for place in range(len(busy), service.parallel)
    ]
    return json([*busy, *free])


async def props(request: Request) -> Response:
    service = service_of(request)
    template = service.model.template
    return json(
        {
            "default_generation_settings": {
                "n_ctx": service.context,
                "params": settings(service.model.defaults.options({})),
            },
            "total_slots": service.parallel,
            "model_path": service.model.file.path.name,
            "model_alias": service.name,
            "chat_template": "" if template is None else template.source,
            "bos_token": _text(service, service.model.tokenizer.bos),
            "eos_token": _text(service, service.model.tokenizer.eos),
            "build_info": service.fingerprint,
            "max_gap": service.gap,
        }
    )


def _text(service: Service, id: int | None) -> str:
    return "" if id is None else service.model.tokenizer.text(id)


def _model(service: Service) -> dict[str, Any]:
    found = service.model
    return {
        "id": service.name,
        "object": "model",
        "created": service.started,
        "owned_by": "localmix",
        "meta": {
            "n_vocab": found.network.vocabulary,
            "n_ctx_train": found.network.context,
            "n_ctx": service.context,
            "n_layer": len(found.network.layers),
            "n_expert": found.network.experts,
            "n_expert_used": found.network.active,
            "n_embd": found.network.width,
            "size": sum(tensor.data.nbytes for tensor in found.file.tensors.values()),
        },
    }

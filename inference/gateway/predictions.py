"""/v1/predictions: text and image classification, answered at once or fetched later, in Replicate's shape."""

import asyncio
import re
from typing import TYPE_CHECKING, Any

from django.conf import settings
from starlette.requests import Request
from starlette.responses import Response

from inference.gateway import calls, ending
from inference.gateway.answering import json_response
from inference.gateway.call import Call, Ending
from inference.gateway.calls import Work
from inference.gateway.embeddings import tokenise
from inference.gateway.errors import NoSuchPrediction
from inference.gateway.lookup import Caller, Route
from inference.gateway.reading import IMAGES_LIMIT_BYTES, read_json
from inference.gateway.records import Record, Records
from inference.gateway.responses import usage
from inference.gateway.schemas import PredictionRequest, parse
from inference.gateway.schemas.predictions import ImageInput, TextInput
from inference.gateway.tasks import require_task
from portal.kit import clock, ids

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

ENDPOINT = "predictions"
PREFIX = "pred"
WAIT_LIMIT_SECONDS = 60
_PREFER = re.compile(r"\bwait(?:=(\d{1,4}))?\b")


async def create(process: "GatewayProcess", request: Request) -> Response:
    """201 with the finished prediction if `Prefer: wait[=n]` saw its end, else 202 with where to look."""
    authorization = request.headers.get("authorization")
    await process.identifier.caller(authorization)
    asked = parse(PredictionRequest, await read_json(request, limit=IMAGES_LIMIT_BYTES))
    single = False

    async def prepare(route: Route) -> Work:
        nonlocal single
        work, single = await _prepare(process, route, asked)
        return work

    call = await calls.begin(process, authorization, asked.name, prepare=prepare, endpoint=ENDPOINT)
    records = Records(process.redis, process.kept)
    record = Record.begun(call, model=asked.name, reply=process.relay.stream)
    try:
        await records.keep(record)
    except BaseException:
        # Nobody will ever hear of its answer.
        ending.refuse(process, call)
        raise
    finished = asyncio.Event()
    process.spawn(_follow(process, call, records, record, single=single, finished=finished))
    seconds = _seconds_to_wait(request.headers.get("prefer", ""))
    if seconds:
        await _wait(finished, seconds)
    status = 201 if record.is_over else 202
    return json_response(_body(record), status=status, headers=_headers(call, record))


async def retrieve(process: "GatewayProcess", request: Request) -> Response:
    """How a prediction stands, for the organisation that made it."""
    caller = await process.identifier.fresh_caller(request.headers.get("authorization"))
    return json_response(_body(await _find(process, caller, str(request.path_params["id"]))))


async def cancel(process: "GatewayProcess", request: Request) -> Response:
    """Ask a prediction to stop. One that has ended stays as it is."""
    caller = await process.identifier.fresh_caller(request.headers.get("authorization"))
    record = await _find(process, caller, str(request.path_params["id"]))
    call = process.relay.calls.get(record.request)
    if call is not None:
        await ending.abandon(process, call)
    elif not record.is_over:
        await ending.cancel_elsewhere(process, record.request, reply=record.reply)
    return json_response(_body(record), status=202)


async def _prepare(process: "GatewayProcess", route: Route, asked: PredictionRequest) -> tuple[Work, bool]:
    """The engine's request, and whether the input was a single item."""
    require_task(route, "text-classification", "image-classification")
    if route.task == "text-classification":
        texts = parse(TextInput, asked.input, at="input")
        items = await tokenise(process, route, list(texts.items()))
        worst = {"input_tokens": sum(map(len, items))}
        return _classify(items, worst, top_k=texts.top_k), isinstance(texts.text, str)
    images = parse(ImageInput, asked.input, at="input")
    pictures = images.items()
    return _classify(pictures, {"images": len(pictures)}, top_k=images.top_k), isinstance(images.image, str)


def _classify(items: Any, worst: dict[str, int], *, top_k: int | None) -> Work:
    parameters = {} if top_k is None else {"top_k": top_k}
    return Work(kind="batch", body={"items": items, "parameters": parameters}, worst=worst)


async def _follow(
    process: "GatewayProcess",
    call: Call,
    records: Records,
    record: Record,
    *,
    single: bool,
    finished: asyncio.Event,
) -> None:
    """Complete the record when the call ends, whether or not anybody waits."""
    await call.wait_end()
    record.completed_at = clock.now().isoformat()
    if call.ending is not None:
        _complete(record, call, call.ending, single=single)
    else:
        record.status, record.error = "failed", str(call.failure)
    await records.keep_surely(record)
    process.deliveries.note(call)
    finished.set()


def _complete(record: Record, call: Call, end: Ending, *, single: bool) -> None:
    record.status = "canceled" if end.outcome == "cancelled" else "succeeded"
    labels = (end.output or {}).get("labels")
    record.output = labels[0] if single and labels else labels
    record.metrics = {
        "predict_time": round(call.age, 4), "usage": end.quantities, "cost": usage.cost_text(end, call.facts.currency),
        "cost_micro": end.charge, "currency": call.facts.currency,
    }  # fmt: skip


async def _wait(finished: asyncio.Event, seconds: int) -> None:
    try:
        async with asyncio.timeout(seconds):
            await finished.wait()
    except TimeoutError:
        return


def _seconds_to_wait(prefer: str) -> int:
    found = _PREFER.search(prefer)
    if found is None:
        return 0
    return min(int(found[1]), WAIT_LIMIT_SECONDS) if found[1] else WAIT_LIMIT_SECONDS


async def _find(process: "GatewayProcess", caller: Caller, name: str) -> Record:
    try:
        request = ids.parse(PREFIX, name)
    except ValueError:
        raise NoSuchPrediction(id=name) from None
    record = await Records(process.redis, process.kept).find(request.hex)
    if record is None or record.organisation != caller.organisation_id.hex:
        raise NoSuchPrediction(id=name)
    if caller.listing_id is not None and record.listing != caller.listing_id.hex:
        raise NoSuchPrediction(id=name)
    return record


def _body(record: Record) -> dict[str, Any]:
    """Replicate's prediction; the input is not kept, so it is not repeated."""
    url = f"{settings.PUBLIC_URL}/v1/predictions/{record.public_id(PREFIX)}"
    return {
        "id": record.public_id(PREFIX), "object": "prediction", "model": record.model, "version": record.version,
        "status": record.status, "output": record.output, "error": record.error, "metrics": record.metrics,
        "created_at": record.created_at, "completed_at": record.completed_at,
        "urls": {"get": url, "cancel": f"{url}/cancel"},
    }  # fmt: skip


def _headers(call: Call, record: Record) -> dict[str, str]:
    headers = usage.headers(call)
    if call.ending is not None and record.is_over:
        headers.update(usage.cost_headers(call, call.ending))
    return headers

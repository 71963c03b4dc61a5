"""POST /v1/embeddings."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from inference.gateway import answering, calls
from inference.gateway.calls import Work
from inference.gateway.errors import InputTooLong, InvalidRequest, about
from inference.gateway.lookup import Route
from inference.gateway.reading import read_json
from inference.gateway.remote import asking
from inference.gateway.remote.asking import RemoteWork
from inference.gateway.responses import embeddings as shapes
from inference.gateway.schemas import EmbeddingRequest, parse
from inference.gateway.tasks import require_task

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

ENDPOINT = "embeddings"


async def embed(process: "GatewayProcess", request: Request) -> Response:
    """A vector for each input."""
    authorization = request.headers.get("authorization")
    await process.identifier.caller(authorization)
    asked = parse(EmbeddingRequest, await read_json(request))

    async def prepare(route: Route) -> Work | RemoteWork:
        require_task(route, "feature-extraction")
        if route.endpoint is not None:
            return asking.embed(route, asked)
        items = await tokenise(process, route, asked.input)
        total = sum(map(len, items))
        parameters = {} if asked.dimensions is None else {"dimensions": asked.dimensions}
        return Work(
            kind="batch",
            body={"items": items, "parameters": parameters},
            worst={"input_tokens": total, "cached_tokens": 0},
        )

    call = await calls.begin(process, authorization, asked.model, prepare=prepare, endpoint=ENDPOINT)
    encoding_format = asked.encoding_format or "float"
    # Of what the engine checks, the gateway does not know beforehand to which lengths vectors can be cut.
    with about("dimensions" if asked.dimensions else "input"):
        return await answering.answer_whole(
            process, call, request,
            lambda ending: shapes.whole(call, ending, model=asked.model, encoding_format=encoding_format),
        )  # fmt: skip


async def tokenise(
    process: "GatewayProcess", route: Route, inputs: "list[str | list[int]]"
) -> list[list[int]]:
    """Token ids of every input, in order; inputs that are token ids already are checked and kept.

    Raises `InputTooLong` with exact numbers, or `InvalidRequest` for ids that the model does not have.
    """
    assert route.directory is not None
    texts = [item for item in inputs if isinstance(item, str)]
    encoded: Iterator[list[int]] = iter(())
    if texts:
        caller, most = route.facts.organisation_id.hex, route.context_length
        with about("input"):
            encoded = iter(
                await process.prompter.encode(route.directory, texts, caller=caller, most_tokens=most)
            )
    items = [next(encoded) if isinstance(item, str) else item for item in inputs]
    vocabulary = route.tokenizer.vocabulary if route.tokenizer else 0
    for index, ids in enumerate(items):
        if len(ids) > route.context_length:
            raise InputTooLong(limit=route.context_length, index=index, prompt=len(ids), param="input")
        if not ids or max(ids) >= vocabulary:
            reason = f"input[{index}] has no tokens, or a token id that is not below {vocabulary}."
            raise InvalidRequest(reason, param="input")
    return items

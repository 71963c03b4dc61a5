"""POST /v1/chat/completions and /v1/completions."""

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from inference.gateway import answering, calls
from inference.gateway.calls import Work
from inference.gateway.errors import ContextLengthExceeded, InvalidRequest, about
from inference.gateway.lookup import Route
from inference.gateway.reading import read_json
from inference.gateway.remote import asking
from inference.gateway.remote.asking import RemoteWork
from inference.gateway.responses.chat import ChatShape
from inference.gateway.responses.completions import CompletionShape
from inference.gateway.schemas import ChatRequest, CompletionRequest, parse
from inference.gateway.tasks import require_task

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

CHAT = "chat/completions"
COMPLETIONS = "completions"


async def chat(process: "GatewayProcess", request: Request) -> Response:
    """Answer a conversation."""
    authorization = request.headers.get("authorization")
    await process.identifier.caller(authorization)
    asked = parse(ChatRequest, await read_json(request))

    async def prepare(route: Route) -> Work | RemoteWork:
        require_task(route, "text-generation")
        if route.endpoint is not None:
            return asking.chat(route, asked)
        assert route.directory is not None
        messages = [message.for_template() for message in asked.messages]
        caller = route.facts.organisation_id.hex
        with about("messages"):
            ids = await process.prompter.chat(
                route.directory, messages, caller=caller, most_tokens=route.context_length
            )
        work = _work(route, asked, ids, logprobs=asked.alternatives, what="messages")
        # An answer in a chat is a text by itself, and ends where the template ends a turn.
        work.body["sampling"] |= {
            "fresh": True,
            "end_ids": route.tokenizer.turn_ends if route.tokenizer else (),
        }
        return work

    call = await calls.begin(
        process, authorization, asked.model, prepare=prepare, endpoint=CHAT, streamed=bool(asked.stream)
    )
    shape = ChatShape(
        call, model=asked.model, with_logprobs=bool(asked.logprobs), with_usage=asked.wants_usage_chunk
    )
    if asked.stream:
        return answering.EventStream(process, call, shape)
    return await answering.answer_whole(process, call, request, shape.whole)


async def complete(process: "GatewayProcess", request: Request) -> Response:
    """Continue a text, or token ids."""
    authorization = request.headers.get("authorization")
    await process.identifier.caller(authorization)
    asked = parse(CompletionRequest, await read_json(request))
    echo = ""

    async def prepare(route: Route) -> Work | RemoteWork:
        nonlocal echo
        require_task(route, "text-generation")
        if route.endpoint is not None:
            echo = asked.prompt if asked.echo and isinstance(asked.prompt, str) else ""
            return asking.complete(route, asked)
        assert route.directory is not None
        caller = route.facts.organisation_id.hex
        if isinstance(asked.prompt, str):
            with about("prompt"):
                (ids,) = await process.prompter.encode(
                    route.directory, [asked.prompt], caller=caller, most_tokens=route.context_length
                )
        else:
            ids = asked.prompt
            _check_ids(route, ids, name="prompt")
        work = _work(route, asked, ids, logprobs=asked.logprobs, what="prompt")
        if asked.echo and isinstance(asked.prompt, str):
            echo = asked.prompt
        elif asked.echo:
            echo = await process.prompter.decode(route.directory, ids, caller=caller)
        return work

    call = await calls.begin(
        process,
        authorization,
        asked.model,
        prepare=prepare,
        endpoint=COMPLETIONS,
        streamed=bool(asked.stream),
    )
    shape = CompletionShape(
        call,
        model=asked.model,
        with_logprobs=asked.logprobs is not None,
        with_usage=asked.wants_usage_chunk,
        echo=echo,
    )
    if asked.stream:
        return answering.EventStream(process, call, shape)
    return await answering.answer_whole(process, call, request, shape.whole)


def _work(
    route: Route, asked: ChatRequest | CompletionRequest, ids: list[int], *, logprobs: int | None, what: str
) -> Work:
    """The engine's request. Without a limit the answer may fill the rest of the context, and so may the hold."""
    if not ids:
        raise InvalidRequest(f"'{what}' comes to no tokens. Send some text.", param=what)
    rest, wanted = route.context_length - len(ids), asked.token_limit
    max_tokens = rest if wanted is None else wanted
    if max_tokens > rest or max_tokens < 1:
        raise ContextLengthExceeded(
            limit=route.context_length, prompt=len(ids), completion=max(1, max_tokens), what=what,
            wanted_by=asked.token_limit_name,
        )  # fmt: skip
    sampling = asked.sampling(max_tokens=max_tokens, logprobs=logprobs)
    _check_ids(route, sampling.get("logit_bias", ()), name="logit_bias")
    # One organisation never shares another's prompt prefixes, whose reuse it could time.
    scope = route.facts.organisation_id.hex
    return Work(
        kind="generate",
        body={"prompt_ids": ids, "sampling": sampling, "cache_scope": scope},
        worst={"input_tokens": len(ids), "cached_tokens": len(ids), "output_tokens": max_tokens},
    )


def _check_ids(route: Route, ids: "dict[int, float] | list[int] | tuple[()]", *, name: str) -> None:
    vocabulary = route.tokenizer.vocabulary if route.tokenizer else 0
    if ids and max(ids) >= vocabulary:
        raise InvalidRequest(
            f"'{name}' has the token id {max(ids)}; this model's are below {vocabulary}.", param=name
        )

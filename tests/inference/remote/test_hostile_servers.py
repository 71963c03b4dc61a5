"""Whatever nonsense a server speaks: the caller gets an answer or an error of ours, and the call ends once."""

import json
import logging
from typing import Any

import openai
import pytest

from billing.credit import keys
from inference.remote import trial
from portal.kit import redis
from tests.inference.gateway.test_calls import usage_events
from tests.inference.remote.conftest import Remotes
from tests.inference.remote.speaker import Asked, Speaker
from tests.inference.remote.test_limits import facts_of
from tests.inference.remote.test_relayed_calls import Clients, ask, only_event, read

OK = b"HTTP/1.1 200 OK\r\n"


def body(data: bytes, *headers: bytes) -> bytes:
    return (
        OK
        + b"".join(header + b"\r\n" for header in headers)
        + b"Content-Length: %d\r\n\r\n" % len(data)
        + data
    )


def whole(**choice: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, **choice}], "usage": {"prompt_tokens": 7}}).encode()


def message(content: Any, **more: Any) -> bytes:
    return whole(message={"role": "assistant", "content": content, **more}, finish_reason="stop")


DEEP = b"[" * 100_000 + b"]" * 100_000
BROKEN_HTTP = {
    "nothing": b"", "half a head": b"HTTP/1.1 200 OK\r\nContent-Le", "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n{}", "a huge length": OK + b"Content-Length: 9" + b"9" * 30 + b"\r\n\r\n{",
    "a huge chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}", "no chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "less than it said": OK + b"Content-Length: 200\r\n\r\n{}", "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a part": b"HTTP/1.1 206 Partial\r\nContent-Length: 2\r\n\r\n{}", "status 999": b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "gzip": body(b"\x1f\x8b\x08" * 99, b"Content-Encoding: gzip"), "gzip unsaid": body(b"\x1f\x8b\x08" * 99),
    "nul in a header": OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
}  # fmt: skip
BROKEN_BODIES = {
    "empty": b"", "html": b"<html>", "invalid utf-8": b'{"choices": "\xff\xfe"}', "deep": DEEP, "a list": b"[]", "nan": b"NaN",
    "a lone surrogate": b'{"choices":[{"message":{"content":"\\ud800"}}]}', "no choices": b'{"choices": []}',
    "choices of another kind": b'{"choices": {"0": 1}}', "choices of nothing": b'{"choices": [null, 1, "x"]}',
    "another choice": whole(message={"content": "x"}).replace(b'"index": 0', b'"index": 1e30'),
    "message a text": whole(message="x"), "content a number": message(7), "content an object": message({"text": "x"}),
    "no message": whole(finish_reason="stop"),
}  # fmt: skip
DEEP_PARTS: Any = "x"
for _ in range(200):
    DEEP_PARTS = [DEEP_PARTS]
ODD_ANSWERS = {
    "a finish reason of another kind": whole(message={"content": "Hello"}, finish_reason={"a": 1}),
    "control characters": message("\0\x1b[31m\r\n\r\ndata: [DONE]\n\n\u2028\U0010ffff"),
    "parts without end": message(DEEP_PARTS), "parts of parts": message([{"type": "thinking", "thinking": DEEP_PARTS}]),
    "reasoning of another kind": message("Hello", reasoning_content=[[[1]]], reasoning={"x": []}, refusal=7),
    "logprobs of another kind": message("Hello").replace(b'"index": 0', b'"index": 0, "logprobs": [1, {"content": 3}]'),
    "usage of another kind": message("Hello").replace(b'{"prompt_tokens": 7}', b'[{"prompt_tokens": 1e308}]'),
    "usage of huge numbers": message("Hello").replace(b"7}", b"1" + b"0" * 300 + b"}"),
    "details of another kind": message("Hello").replace(
        b"7}", b'7, "prompt_tokens_details": [9], "completion_tokens_details": {"reasoning_tokens": {}}}'
    ),
}  # fmt: skip


def send(data: bytes) -> Any:
    async def behave(server: Speaker, asked: Asked, writer: Any) -> str:
        writer.write(data)
        await writer.drain()
        return "close"

    return behave


def hear(ask: Any, *given: Any, stream: bool) -> None:
    """The whole answer, in either form."""
    answer = ask(*given, stream=stream)
    if stream:
        read(answer)


def check_quiet(caplog: pytest.LogCaptureFixture) -> None:
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_answer_is_a_failure_of_the_server_at_no_cost(
    remote: Remotes, client: Clients, speaker: Speaker, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    far = remote()
    stock = client(far)
    cases = BROKEN_HTTP | {name: body(data) for name, data in BROKEN_BODIES.items()}
    for name, data in cases.items():
        speaker.behave = send(data)
        redis.client().delete(keys.USAGE_STREAM)
        with pytest.raises(openai.APIError) as failed:
            hear(ask, stock, far, stream=stream)
        assert getattr(failed.value, "status_code", 502) == 502, name
        found = only_event()
        assert (found[b"o"], int(found[b"c"])) == (b"failed", 0), name
        speaker.behave = None
        ask(stock, far)
    check_quiet(caplog)


def test_what_is_odd_about_an_answer_is_left_out(
    remote: Remotes, client: Clients, speaker: Speaker, caplog: pytest.LogCaptureFixture
) -> None:
    far = remote()
    stock = client(far)
    for name, data in ODD_ANSWERS.items():
        speaker.behave = send(body(data))
        redis.client().delete(keys.USAGE_STREAM)
        answer = ask(stock, far, max_tokens=50)
        assert answer.choices[0].finish_reason == "stop", name
        found = only_event()
        assert (found[b"o"], int(found[b"c"])) == (b"succeeded", answer.usage.cost_micro), name
    check_quiet(caplog)


def events(*lines: bytes, end: bytes = b"\n\n") -> bytes:
    data = b"".join(line + end for line in lines)
    return (
        OK
        + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(data), data)
    )


def piece(text: Any, **more: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}, **more}]}).encode()


END = piece("", finish_reason="stop")
STREAMS = {
    "other line ends": events(piece("Hello"), END, b"data: [DONE]", end=b"\r\n\r\n"),
    "other fields": events(b"event: x\nid: 1\nretry: 1\n: hi\ndata:", b"data", piece("Hello"), END),
    "behind the end": events(piece("Hello"), END, b"data: [DONE]", piece("more"), b"data: {", b"data: [DONE]"),
    "many ends": events(piece("Hello"), END, END, piece("more", finish_reason="length"), b"data: [DONE]"),
    "odd deltas": events(piece("Hello"), *(b'data: {"choices": [{"delta": %b}]}' % odd for odd in (b"null", b"[]", b'"x"', b"7", b"{}")), END),
    "odd choices": events(piece("Hello"), *(b'data: {"choices": %b}' % odd for odd in (b"null", b"[]", b'"x"', b"7", b"{}")), END),
    "errors that are none": events(b'data: {"error": null, "object": 7}', piece("Hello"), END),
    "usage of many kinds": events(piece("Hello"), *(b'data: {"choices": [], "usage": %b}' % odd for odd in (
        b"null", b"[]", b"{}", b'"x"', b'{"prompt_tokens": -5, "completion_tokens": 1e30}', b'{"completion_tokens": "9"}')), END),
}  # fmt: skip


def test_streams_of_every_make_are_read(
    remote: Remotes, client: Clients, speaker: Speaker, caplog: pytest.LogCaptureFixture
) -> None:
    far = remote()
    stock = client(far)
    for name, data in STREAMS.items():
        speaker.behave = send(data)
        redis.client().delete(keys.USAGE_STREAM)
        text, last = read(ask(stock, far, stream=True))
        assert (text, last.choices[0].finish_reason) == ("Hello", "stop"), name
        assert only_event()[b"o"] == b"succeeded", name
    check_quiet(caplog)
    assert len(usage_events()) == 1


@pytest.mark.parametrize(
    ("answer", "ok", "shown", "counts"),
    [
        (message([{"type": "text", "text": "Hello"}]), True, "Hello", "7 in, 0 out"),
        (message(None, reasoning_content="Hm."), True, "Hm.", "7 in, 0 out"),
        (message("x" * 5000).replace(b"7}", b'7, "completion_tokens": "' + b"9" * 999 + b'"}'), True, "x" * 200, "7 in, 0 out"),
        (whole(message="x"), False, "", ""), (b'{"choices": [{"message": {"content": 7}}]}', False, "", ""), (DEEP, False, "", ""),
    ],
)  # fmt: skip
def test_a_trial_says_what_came_back_whatever_it_was(
    speaker: Speaker, answer: bytes, ok: bool, shown: str, counts: str
) -> None:
    speaker.behave = send(body(answer))
    seen = trial.run(facts_of(speaker), task="text-generation")
    assert (seen.ok, seen.shown, seen.counts) == (ok, shown, counts)

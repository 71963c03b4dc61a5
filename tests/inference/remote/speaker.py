"""A server that speaks OpenAI's protocol over a real socket, and misbehaves as it is told."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

KEY = "sk-upstream-zanzibar-0123456789"
REPORTED = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
PIECES = ("Hello", ", ", "world")


@dataclass
class Asked:
    """One request as it arrived. `left` is set once the client has hung up on it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    left: threading.Event = field(default_factory=threading.Event)


@dataclass
class Speaker:
    """`behave` may take over an answer: a coroutine function of the request, a writer and this server."""

    pieces: Sequence[str] = PIECES
    usage: dict[str, Any] | None = field(default_factory=lambda: dict(REPORTED))
    finish_reason: str = "stop"
    behave: Callable[..., Any] | None = None
    # The server waits for this before each piece of a stream after the first `free_pieces`.
    gate: threading.Event | None = None
    free_pieces: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> "Speaker":
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def stop(self) -> None:
        loop, thread = self._loop, self._thread
        assert loop is not None
        assert thread is not None
        if self.gate is not None:
            self.gate.set()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)

    def _serve(self, ready: threading.Event) -> None:
        loop = self._loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        asked = None
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                watching = asyncio.ensure_future(_watch(reader, asked))
                try:
                    if await (self.behave or Speaker.answer)(self, asked, writer) == "close":
                        return
                finally:
                    watching.cancel()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if asked is not None:
                asked.left.set()
        finally:
            writer.close()

    async def answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        """As a well-behaved server does."""
        if asked.path.endswith("/embeddings"):
            await send_json(writer, self.vectors(asked))
        elif asked.body.get("stream"):
            await self.stream(asked, writer)
        else:
            await send_json(writer, self.whole(asked))

    def vectors(self, asked: Asked) -> dict[str, Any]:
        inputs = asked.body["input"]
        data = [
            {"object": "embedding", "index": index, "embedding": [0.5, float(index)]}
            for index in reversed(range(len(inputs)))
        ]
        return {"object": "list", "data": data, "model": "up", "usage": self.usage}

    def whole(self, asked: Asked) -> dict[str, Any]:
        text = "".join(self.pieces)
        content = {"message": {"role": "assistant", "content": text}} if is_chat(asked) else {"text": text}
        choice = {"index": 0, **content, "finish_reason": self.finish_reason}
        return {"id": "theirs-1", "model": "up", "choices": [choice], "usage": self.usage}

    async def stream(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await self.begin_stream(writer)
        for index, piece in enumerate(self.pieces):
            if self.gate is not None and index >= self.free_pieces:
                await self.wait_at_gate(asked)
            await self.piece(asked, writer, piece)
        await self.end_stream(asked, writer)

    async def begin_stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await writer.drain()

    async def piece(self, asked: Asked, writer: asyncio.StreamWriter, text: str) -> None:
        content = {"delta": {"content": text}} if is_chat(asked) else {"text": text}
        await event(writer, {"choices": [{"index": 0, **content, "finish_reason": None}]})

    async def end_stream(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        content = {"delta": {}} if is_chat(asked) else {"text": ""}
        await event(writer, {"choices": [{"index": 0, **content, "finish_reason": self.finish_reason}]})
        if self.usage is not None:
            await event(writer, {"choices": [], "usage": self.usage})
        await chunk(writer, b"data: [DONE]\n\n")
        await chunk(writer, b"")

    async def wait_a_moment(self) -> None:
        await asyncio.sleep(0.01)

    async def wait_at_gate(self, asked: Asked) -> None:
        gate = self.gate
        while gate is not None and not gate.is_set():
            if asked.left.is_set():
                raise ConnectionError("the client has left")
            await asyncio.sleep(0.01)


def is_chat(asked: Asked) -> bool:
    return asked.path.endswith("/chat/completions")


async def send_json(
    writer: asyncio.StreamWriter, body: Any, *, status: str = "200 OK", headers: Sequence[str] = ()
) -> None:
    data = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
    writer.write("\r\n".join([*lines, "", ""]).encode() + data)
    await writer.drain()


async def event(writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
    head = {"id": "theirs-1", "object": "chat.completion.chunk", "model": "up"}
    await chunk(writer, b"data: " + json.dumps(head | body).encode() + b"\n\n")


async def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(start.split(" ")[1], headers, json.loads(body or b"{}"))


async def _watch(reader: asyncio.StreamReader, asked: Asked) -> None:
    # A client that never pipelines sends nothing during an answer, so anything here is its leaving.
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.01)
    asked.left.set()

"""The child process: one job after the other from standard input, each under the kernel's own timer.

A frame is a 4-byte little-endian length and a msgpack body. A job that runs too long is ended by the
kernel together with this process (SIGPROF counts its processor time, SIGALRM the wall clock), which
also stops native code that no exception could; the parent sees the end of the stream, and starts another
one. Loading a tokenizer may take long; after that a job may take what its length explains, and little more.
"""

import gc
import os
import resource
import signal
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import jinja2
import msgpack

from inference.gateway.prompting.templates import TemplateTooLong
from inference.gateway.prompting.tokenizing import TextCodec, read_codec

CODECS_KEPT = 16
# With so much memory and more than one tokenizer this process ends, and the next one loads what is used.
RESIDENT_BYTES = 2**30
# The first job with a tokenizer is what makes it build its tables.
FIRST_SECONDS = 1.0
SECONDS_PER_BYTE = 2e-6
# A loaded machine may run this process rarely, so the wall clock gets much more room.
WALL_FACTOR, WALL_SECONDS = 10, 5.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LENGTH = struct.Struct("<I")


class Codecs:
    """The tokenizers in use, least recently used first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, TextCodec] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, directory: str) -> bool:
        return directory in self._kept

    def get(self, directory: str) -> TextCodec:
        codec = self._kept.get(directory)
        if codec is None:
            codec = self._kept[directory] = read_codec(Path(directory))
            if len(self._kept) > CODECS_KEPT:
                self._kept.popitem(last=False)
            # What is loaded stays: keeping it out of collections keeps every later job quick.
            gc.freeze()
        self._kept.move_to_end(directory)
        return codec


def serve(
    source: BinaryIO, sink: BinaryIO, *, cpu_seconds: float, quick_seconds: float, memory_bytes: int
) -> None:
    """Answer jobs until the parent closes the stream, or this process has grown too large."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    codecs = Codecs()
    while head := source.read(_LENGTH.size):
        (size,) = _LENGTH.unpack(head)
        job = msgpack.unpackb(source.read(size), strict_map_key=False)
        is_new = job["directory"] not in codecs
        begun = time.process_time()
        loading = 0.0
        if is_new:
            _set_timers(cpu_seconds)
            answer = _answer(codecs, job, _load)
            loading = time.process_time() - begun
        if not is_new or "ok" in answer:
            usual = (FIRST_SECONDS if is_new else quick_seconds) + size * SECONDS_PER_BYTE
            _set_timers(min(cpu_seconds, usual))
            answer = _answer(codecs, job, _WORK[job["work"]])
        _set_timers(0)
        answer |= {"seconds": time.process_time() - begun, "loading": loading}
        packed = msgpack.packb(answer)
        sink.write(_LENGTH.pack(len(packed)) + packed)
        sink.flush()
        if is_new and len(codecs) > 1 and _resident_bytes() > RESIDENT_BYTES:
            return


def _set_timers(cpu_seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, max(cpu_seconds * WALL_FACTOR, WALL_SECONDS) if cpu_seconds else 0)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def _answer(codecs: Codecs, job: dict[str, Any], work: Callable[..., Any]) -> dict[str, Any]:
    try:
        codec = codecs.get(job["directory"])
        return {"ok": work(codec, job)}
    except FileNotFoundError as error:
        return {"error": "missing", "reason": str(error)[:500]}
    except TemplateTooLong:
        return {"error": "expensive", "reason": "the template wrote too much"}
    except MemoryError:
        return {"error": "expensive", "reason": "out of memory"}
    except TooLong as error:
        return {"error": "too_long", "reason": error.least}
    except NoTemplate:
        return {"error": "no_template", "reason": ""}
    except (
        jinja2.TemplateError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        return {"error": "refused", "reason": str(error)[:500]}
    except RecursionError:
        return {"error": "refused", "reason": "the template recurses too deeply"}
    except BaseException as error:
        # `tokenizers` raises plain Exception for a file that it cannot read, and may panic at what it has read.
        return {"error": "unreadable", "reason": str(error)[:500]}


class NoTemplate(Exception):
    """The version has no chat template."""


class TooLong(Exception):
    """A text has at least so many tokens, which are too many."""

    def __init__(self, least: int) -> None:
        super().__init__(least)
        self.least = least


def _refuse_too_long(codec: TextCodec, job: dict[str, Any], text: str) -> None:
    # Cheap, where counting the tokens would keep everybody waiting.
    if codec.longest_token and job["most_tokens"]:
        least = -(-len(text) // codec.longest_token)
        if least > job["most_tokens"]:
            raise TooLong(least)


def _load(codec: TextCodec, job: dict[str, Any]) -> None:
    """Nothing more: the codec is there."""


def _facts(codec: TextCodec, job: dict[str, Any]) -> dict[str, Any]:
    return {
        "vocabulary": codec.vocabulary, "has_template": codec.render is not None, "turn_ends": codec.turn_ends(),
    }  # fmt: skip


def _chat(codec: TextCodec, job: dict[str, Any]) -> list[int]:
    if codec.render is None:
        raise NoTemplate
    text = codec.render(job["messages"], codec.special_tokens, job["character_limit"])
    _refuse_too_long(codec, job, text)
    ids: list[int] = codec.tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _encode(codec: TextCodec, job: dict[str, Any]) -> list[list[int]]:
    texts = [codec.prompt + text for text in job["texts"]] if codec.prompt else job["texts"]
    for text in texts:
        _refuse_too_long(codec, job, text)
    return [encoding.ids for encoding in codec.tokenizer.encode_batch_fast(texts, add_special_tokens=True)]


def _decode(codec: TextCodec, job: dict[str, Any]) -> str:
    text: str = codec.tokenizer.decode(job["ids"], skip_special_tokens=True)
    return text


_WORK = {"facts": _facts, "chat": _chat, "encode": _encode, "decode": _decode}


if __name__ == "__main__":
    # Ctrl-C reaches the whole group; the parent decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Nothing that a library prints may land among the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(
        sys.stdin.buffer,
        answers,
        cpu_seconds=float(sys.argv[1]),
        quick_seconds=float(sys.argv[2]),
        memory_bytes=int(sys.argv[3]),
    )

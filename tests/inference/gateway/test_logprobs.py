"""Log-probabilities of tokens that are parts of characters: none is lost, and each has its place."""

from types import SimpleNamespace
from typing import Any, cast

from inference.gateway.call import Call, Piece
from inference.gateway.responses import logprobs
from inference.gateway.responses.completions import CompletionShape


def entry(raw: bytes, logprob: float = -0.1, **more: Any) -> dict[str, Any]:
    token = raw.decode("utf-8", "replace")
    return {"token": token, "bytes": tuple(raw), "logprob": logprob, "top": (), **more}


PARTS = [entry(bytes([byte]), -1.0 - byte / 1000) for byte in (0xE2, 0xE3, 0xE4)]


def test_alternatives_that_are_parts_of_characters_keep_their_own_names() -> None:
    found, _ = logprobs.of_completion([entry(b"\xe2", top=PARTS)], start=0, echoed=0)
    (top,) = found["top_logprobs"]
    assert top == {f"bytes:\\x{part['bytes'][0]:02x}": part["logprob"] for part in PARTS}
    assert found["tokens"] == ["bytes:\\xe2"]


def test_of_alternatives_of_one_text_both_stay_and_the_likelier_has_the_name() -> None:
    twins = [entry(b"A", -0.5), entry(b"A", -3.0), entry(b"B", -4.0)]
    found, _ = logprobs.of_completion([entry(b"A", top=twins)], start=0, echoed=0)
    assert found["top_logprobs"] == [{"A": -0.5, "bytes:\\x41": -3.0, "B": -4.0}]


def test_in_a_chat_a_part_is_spelt_and_keeps_its_bytes() -> None:
    (content,) = logprobs.of_chat([entry(b"\xf0\x9f", top=PARTS)])["content"]
    assert (content["token"], content["bytes"]) == ("\\xf0\\x9f", [0xF0, 0x9F])
    assert [other["token"] for other in content["top_logprobs"]] == ["\\xe2", "\\xe3", "\\xe4"]
    (whole,) = logprobs.of_chat([entry("é".encode())])["content"]
    assert (whole["token"], whole["bytes"]) == ("é", [0xC3, 0xA9])


def test_offsets_are_the_engine_s_behind_what_is_echoed() -> None:
    call = cast(Call, SimpleNamespace(code="x", version="v" * 32))
    shape = CompletionShape(call, model="m", with_logprobs=True, with_usage=False, echo="Zürich")
    first = [entry(b"\xf0\x9f", offset=0), entry(b"\x99\x82", offset=0)]
    later = [entry(b"B", offset=1), entry(b"<end>", offset=2), entry(b"C", offset=2)]
    pieces = [shape.piece(Piece("🙂", first)), shape.piece(Piece("BC", later))]
    assert [piece["choices"][0]["logprobs"]["text_offset"] for piece in pieces] == [[6, 6], [7, 8, 8]]


def test_entries_without_an_offset_follow_each_other() -> None:
    found, end = logprobs.of_completion([entry(b"ab"), entry(b"c")], start=3, echoed=3)
    assert (found["text_offset"], end) == ([3, 5], 6)

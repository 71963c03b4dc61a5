"""Text comes out whole: no broken character, nothing of a stop string, nothing lost between chunks."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from inference.engines.base import TokenLogprob, UnloadableVersion
from inference.engines.text.detokenizer import TextStream, TokenBytes
from tests.inference.engines.text.models import write_tokenizer


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TokenBytes:
    directory = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(directory)
    return TokenBytes(directory)


def encode(table: TokenBytes, text: str) -> list[int]:
    """One token per byte: every multi-byte character is spread over several tokens."""
    byte_tokens = {table.raw(token): token for token in range(table.vocab_size)}
    return [byte_tokens[bytes([byte])] for byte in text.encode()]


def stream(table: TokenBytes, tokens: list[int], *stop: str) -> tuple[list[str], bool]:
    """What each push and the finish returned, and whether a stop string was met."""
    text = TextStream(table, stop)
    parts = []
    for token in tokens:
        parts.append(text.push(token))
        if text.stopped:
            break
    return [*parts, text.finish()], text.stopped


def test_a_character_comes_only_when_all_its_bytes_have(table: TokenBytes) -> None:
    parts, _ = stream(table, encode(table, "a日🙂b"))
    assert parts == ["a", "", "", "日", "", "", "", "🙂", "b", ""]


def test_an_incomplete_character_at_the_end_is_replaced(table: TokenBytes) -> None:
    parts, _ = stream(table, encode(table, "x🙂")[:-1])
    assert parts == ["x", "", "", "", "\ufffd"]


def test_invalid_bytes_hold_nothing_back(table: TokenBytes) -> None:
    tokens = [t for t in range(table.vocab_size) if table.raw(t) in (b"\xff", b"\x80", b"z")]
    assert "".join(stream(table, tokens * 3)[0]).count("z") == 3


def test_the_start_of_a_stop_string_waits_until_it_is_known_not_to_be_one(table: TokenBytes) -> None:
    parts, stopped = stream(table, encode(table, "aENx"), "END")
    assert parts == ["a", "", "", "ENx", ""]
    assert not stopped


def test_a_stop_string_across_tokens_ends_the_text_before_it(table: TokenBytes) -> None:
    assert stream(table, encode(table, "one ENDtwo"), "END", "two") == (
        ["o", "n", "e", " ", "", "", "", ""],
        True,
    )


def test_what_looked_like_a_stop_string_is_shown_at_the_end(table: TokenBytes) -> None:
    assert "".join(stream(table, encode(table, "aEN"), "END")[0]) == "aEN"


def test_the_earliest_of_several_stop_strings_wins(table: TokenBytes) -> None:
    assert "".join(stream(table, encode(table, "abcd"), "cd", "bcd")[0]) == "a"


@given(text=st.text(max_size=40), stop=st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_shown_text_is_the_text_before_the_first_stop_string(
    table: TokenBytes, text: str, stop: list[str]
) -> None:
    parts, stopped = stream(table, encode(table, text), *stop)
    shown = "".join(parts)
    assert text.startswith(shown)
    assert stopped == any(s in text for s in stop)
    if stopped:
        assert any(text[len(shown) :].startswith(s) for s in stop)
        assert not any(s in shown for s in stop)
    else:
        assert shown == text


def test_text_equals_the_tokenizers_own_decoding(table: TokenBytes, tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path)
    ids = tokenizer.encode("the quick über naïve 日本語 fox — ¿qué? 🙂").ids
    assert "".join(stream(table, ids)[0]) == tokenizer.decode(ids)


def test_special_tokens_say_nothing(table: TokenBytes) -> None:
    assert stream(table, [0])[0] == ["", ""]
    assert table.raw(0) == b"<end>"


def test_ids_beyond_the_tokenizer_say_nothing(table: TokenBytes) -> None:
    assert stream(table, [10**6])[0] == ["", ""]


def test_logprobs_of_a_stop_string_are_not_reported(table: TokenBytes) -> None:
    text = TextStream(table, ["END"])
    seen: list[str] = []
    for token in encode(table, "abEND"):
        piece = table.raw(token)
        text.push(token, TokenLogprob(token=piece.decode(), bytes=tuple(piece), logprob=0.0))
        seen += [entry.token for entry in text.take_logprobs()]
    text.finish()
    assert seen + [entry.token for entry in text.take_logprobs()] == ["a", "b"]


def write(directory: Path, tokenizer: Tokenizer) -> TokenBytes:
    tokenizer.save(str(directory / "tokenizer.json"))
    return TokenBytes(directory)


def test_sentencepiece_spaces_and_byte_tokens(tmp_path: Path) -> None:
    pieces = ["<unk>", "▁Hello", "▁w", "orld", "<0xE6>", "<0x97>", "<0xA5>", "▁"]
    tokenizer = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    parts, _ = stream(write(tmp_path, tokenizer), [1, 2, 3, 4, 5, 6])
    # The answer goes on in mid-text, so the space before its first word is part of it.
    assert parts == [" Hello", " w", "orld", "", "", "日", ""]


@pytest.mark.parametrize(
    ("decoder", "expected"),
    [(decoders.WordPiece(), [" play", "ing", " games", ""]), (None, [" play", " ##ing", " games", ""])],
)
def test_other_decoders_join_words_as_they_do_themselves(
    tmp_path: Path, decoder: decoders.Decoder | None, expected: list[str]
) -> None:
    vocabulary = {"play": 0, "##ing": 1, "games": 2, "[UNK]": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if decoder:
        tokenizer.decoder = decoder
    assert stream(write(tmp_path, tokenizer), [0, 1, 2])[0] == expected


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"model": {"type": "Nonsense"}})])
def test_a_broken_tokenizer_is_the_providers_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(UnloadableVersion, match=r"tokenizer\.json"):
        TokenBytes(tmp_path)

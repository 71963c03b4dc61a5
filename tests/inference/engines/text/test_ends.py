"""Where an answer begins and ends, on models whose every next token is certain."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from inference.engines.base import Chunk
from tests.inference.engines.text.conftest import Start
from tests.inference.engines.text.models import Collector, answer, ask

SMILE = "🙂".encode()


def write_chain(
    directory: Path, tokenizer: Tokenizer, steps: dict[int, int], *, rows: int, **ends: Any
) -> Path:
    """A Llama of one layer that says after each token of `steps` the one it leads to, for certain."""
    config = LlamaConfig(
        vocab_size=rows, hidden_size=rows, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=128, tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, **ends,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for module in (model.model.norm, model.model.layers[0].input_layernorm):
            module.weight.fill_(1)
        model.model.layers[0].post_attention_layernorm.weight.fill_(1)
        model.model.embed_tokens.weight.copy_(torch.eye(rows))
        for before, after in steps.items():
            model.lm_head.weight[after, before] = 2.0
    model.save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def byte_tokens() -> Tokenizer:
    """Token n stands for byte n; 256 and 257 are special."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {b: chr(256 + n) for n, b in enumerate(others)}
    tokenizer = Tokenizer(models.BPE(vocab={letters[byte]: byte for byte in range(256)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<eos>", special=True), AddedToken("<turn>", special=True)])
    return tokenizer


def pieces() -> tuple[Tokenizer, dict[str, int]]:
    """A tokenizer of SentencePiece's manner, whose decoder drops one space at the start."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += ["▁", "▁Hello", "▁world", "▁▁", "a", "b", "A"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer, vocabulary


def chain(*ids: int) -> dict[int, int]:
    return dict(pairwise(ids))


def said(start: Start, sink: Collector, directory: Path, prompt: list[int], **sampling: Any) -> list[Chunk]:
    engine = start(directory, context=128)
    answer(engine, sink, [ask("r", prompt, max_tokens=sampling.pop("max_tokens", 8), **sampling)])
    return sink.chunks["r"]


def test_the_end_of_a_turn_ends_a_chat_and_not_a_completion(
    tmp_path: Path, start: Start, sink: Collector
) -> None:
    directory = write_chain(tmp_path, byte_tokens(), chain(*b"Qxy", 257, *b"zw", 256), rows=258)
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": 256}))
    chat = said(start, sink, directory, [*b"Q"], end_ids=(257,))
    assert "".join(chunk.text for chunk in chat) == "xy"
    assert (chat[-1].finish_reason, chat[-1].usage["output_tokens"]) == ("stop", 3)  # type: ignore[index]
    sink.chunks.clear()
    completion = said(start, sink, directory, [*b"Q"])
    assert "".join(chunk.text for chunk in completion) == "xyzw"
    assert completion[-1].usage["output_tokens"] == 6  # type: ignore[index]


def test_generation_s_end_stands_before_the_config_s(tmp_path: Path, start: Start, sink: Collector) -> None:
    directory = write_chain(tmp_path, byte_tokens(), chain(*b"Qx", 257, *b"y", 256), rows=258)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"eos_token_id": 257}))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": 256}))
    assert "".join(chunk.text for chunk in said(start, sink, directory, [*b"Q"])) == "xy"


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(
    "words", [["▁Hello", "▁world"], ["▁", "a"], ["▁▁", "b"], ["</s>", "▁Hello"], ["a", "▁world"]]
)
def test_an_answer_in_a_chat_is_decoded_by_itself(
    tmp_path: Path, start: Start, sink: Collector, words: list[str], fresh: bool
) -> None:
    tokenizer, vocabulary = pieces()
    ids = [vocabulary[word] for word in words]
    directory = write_chain(
        tmp_path, tokenizer, chain(vocabulary["A"], *ids), rows=len(vocabulary) + len(vocabulary) % 2
    )
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    theirs = AutoTokenizer.from_pretrained(str(directory))
    alone = theirs.decode(ids, skip_special_tokens=True)
    behind = theirs.decode([vocabulary["A"], *ids], skip_special_tokens=True).removeprefix("A")
    chunks = said(start, sink, directory, [vocabulary["A"]], max_tokens=len(ids), fresh=fresh)
    assert "".join(chunk.text for chunk in chunks) == (alone if fresh else behind)


def test_offsets_count_the_characters_before_a_token(tmp_path: Path, start: Start, sink: Collector) -> None:
    directory = write_chain(tmp_path, byte_tokens(), chain(*b"A", *SMILE, *b"B", 257, *b"C"), rows=258)
    chunks = said(start, sink, directory, [*b"A"], max_tokens=7, logprobs=2)
    assert "".join(chunk.text for chunk in chunks) == "🙂BC"
    entries = [entry for chunk in chunks for entry in chunk.logprobs]
    assert [bytes(entry.bytes) for entry in entries[:4]] == [bytes([byte]) for byte in SMILE]
    assert [entry.offset for entry in entries] == [0, 0, 0, 0, 1, 2, 2]
    assert all(other.offset is None for entry in entries for other in entry.top)


def test_a_row_without_a_token_says_nothing(tmp_path: Path, start: Start, sink: Collector) -> None:
    directory = write_chain(tmp_path, byte_tokens(), chain(*b"A", 299, *b"B"), rows=300)
    chunks = said(start, sink, directory, [*b"A"], max_tokens=2, logprobs=1)
    assert "".join(chunk.text for chunk in chunks) == "B"
    assert chunks[-1].usage["output_tokens"] == 2  # type: ignore[index]
    assert [entry.bytes for chunk in chunks for entry in chunk.logprobs] == [(), (66,)]

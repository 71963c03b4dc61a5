"""A version whose texts would become other tokens than in transformers is found when it is published."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from inference import tokenizer_agreement, trial
from inference.tokenizer_agreement import compare
from marketplace import examining, folders, publishing
from tests.conftest import Cast
from tests.tiny_models import write_bert

NAMED = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
ODD = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "naive", "naïve", "Café", "cafe", "東京", "東", "京"]


def write_words(directory: Path, *, lowers: bool, settings: dict[str, Any]) -> Path:
    """A tokenizer of word pieces that knows some words in two cases."""
    vocabulary = [*ODD, "hello", "Hello", "world", "World", ",", "a", "def", "add", "!", "##s"]
    tokenizer = Tokenizer(models.WordPiece({w: n for n, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowers)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(vocabulary[:4])
    tokenizer.save(str(directory / "tokenizer.json"))
    return write_settings(directory, "bert", {**NAMED, **settings})


def write_settings(directory: Path, model_type: str, settings: dict[str, Any]) -> Path:
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "config.json").write_text(json.dumps({"model_type": model_type, "vocab_size": 300}))
    return directory


@pytest.mark.parametrize("lowers", [True, False])
@pytest.mark.parametrize("kind", ["BertTokenizerFast", "MPNetTokenizer", "PreTrainedTokenizerFast", None])
def test_settings_of_word_pieces_are_followed_as_transformers_follows_them(
    tmp_path: Path, kind: str | None, lowers: bool
) -> None:
    keys = ("do_lower_case", "tokenize_chinese_chars", "strip_accents")
    for values in itertools.product([True, False, None], [False, None], [True, False, None]):
        settings = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        named = {} if kind is None else {"tokenizer_class": kind}
        assert compare(write_words(tmp_path, lowers=lowers, settings={**named, **settings})) is None, settings


def write_bytes(directory: Path, settings: dict[str, Any], *, model_type: str = "roberta") -> Path:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    named = {
        "cls_token": "<s>",
        "sep_token": "</s>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    return write_settings(directory, model_type, {**named, **settings})


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("kind", ["RobertaTokenizerFast", "PreTrainedTokenizerFast"])
def test_a_space_before_the_first_word_is_put_as_transformers_puts_it(
    tmp_path: Path, kind: str, prefix: bool
) -> None:
    settings = {"tokenizer_class": kind, "add_prefix_space": prefix}
    assert compare(write_bytes(tmp_path, settings)) is None


def write_other(directory: Path) -> Path:
    """A tokenizer that lowers texts in a way of its own, under a class that does not."""
    write_words(
        directory, lowers=False, settings={"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    )
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase()])
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def test_other_ids_of_ordinary_texts_are_an_error_with_the_way_out(tmp_path: Path) -> None:
    found = compare(write_other(tmp_path))
    assert found is not None
    assert (found.severity, found.file) == ("error", "tokenizer_config.json")
    assert "Hello World" in found.message
    assert "PreTrainedTokenizerFast" in found.remedy


def test_other_ids_of_odd_texts_alone_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_agreement, "TEXTS", ())
    monkeypatch.setattr(tokenizer_agreement, "ODD_TEXTS", ("Hello World",))
    found = compare(write_other(tmp_path))
    assert found is not None
    assert found.severity == "warning"


def test_a_trial_refuses_what_is_read_otherwise(cast: Cast, tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "other")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "tokenizer_class": "GPT2Tokenizer"})
    )
    listing = publishing.create_listing(
        cast.acme, by=cast.owner, slug="other", name="Other", task="feature-extraction"
    )
    report = folders.examine(folder, task=listing.task)
    version = examining.examine(folders.release(folder, report, listing=listing, by=cast.owner))
    refused = trial.run(version)
    assert not refused.ok
    assert "tokenizer-differs" in {finding.rule for finding in refused.findings}


def test_where_transformers_reads_no_tokenizer_there_is_nothing_to_compare(tmp_path: Path) -> None:
    write_bytes(tmp_path, {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"})
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.E"}})
    )
    assert compare(tmp_path) is None

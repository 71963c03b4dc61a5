"""A sentence-transformers directory gives the vectors that sentence-transformers gives, from text to number."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from inference.engines.base import UnloadableVersion
from inference.engines.batch.sentences import ACTIVATIONS, read_sentences
from inference.gateway.prompting import child, tokenizing
from marketplace.validation import examine, local_file
from tests.inference.engines.batch.models import edit_json

TASK = "feature-extraction"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world", "query", ":", "Hello", "the", "is", "paris"]
TEXTS = ["Hello world", "the paris is Hello world", "query: hello", "is"]
OLD_MODULES = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights that knows a dozen words, some in two cases."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = Tokenizer(models.WordPiece({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(WORDS[:4])
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32, **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(1)
    model = BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        )
    )
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(8)
    model.save_pretrained(folder)
    return folder


def link(source: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for path in source.iterdir():
        os.link(path, folder / path.name)
    return folder


def write_old_layout(
    folder: Path, *, transformer: Any = None, settings: Any = None, pooling: Any = None
) -> None:
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(OLD_MODULES)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, **(pooling or {})})
    )
    (folder / "sentence_bert_config.json").write_text(json.dumps(transformer or {"max_seq_length": 32}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings or {"__version__": {}}))


def compare(load: Callable[..., Any], folder: Path) -> None:
    """Our way of text, from the gateway's tokenizer to the engine's vectors, beside the reference."""
    files = {p.relative_to(folder).as_posix(): local_file(p) for p in folder.rglob("*") if p.is_file()}
    report = examine(files, task=TASK)
    assert report.ok, report.findings
    (folder / "kept").mkdir()
    for name in report.kept:
        (folder / "kept" / name).parent.mkdir(exist_ok=True)
        os.link(folder / name, folder / "kept" / name)
    ids = child._encode(tokenizing.read_codec(folder / "kept"), {"texts": TEXTS, "most_tokens": 0})
    answer = load(folder / "kept", TASK).ask("r", ids)
    found = np.stack([np.frombuffer(each, dtype="<f4") for each in answer.output["embeddings"]])
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


PROMPTS = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}


@pytest.mark.parametrize(
    "files",
    [
        {"transformer": {"max_seq_length": 32, "do_lower_case": True}},
        {"transformer": {"max_seq_length": 32, "do_lower_case": False}},
        {"settings": PROMPTS},
        {"settings": PROMPTS, "transformer": {"do_lower_case": True}},
        {"settings": {**PROMPTS, "default_prompt_name": None}},
        {"settings": {"truncate_dim": 7, "similarity_fn_name": "dot"}},
        {"pooling": {"include_prompt": False, "pooling_mode_cls_token": True}},
    ],
    ids=str,
)
def test_old_layouts_give_the_reference_s_vectors(load, encoder, tmp_path, files):
    write_old_layout(link(encoder, tmp_path / "model"), **files)
    compare(load, tmp_path / "model")


def test_without_a_list_of_modules_the_other_files_have_no_effect(load, encoder, tmp_path):
    folder = link(encoder, tmp_path / "model")
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    (folder / "config_sentence_transformers.json").write_text(json.dumps(PROMPTS))
    compare(load, folder)


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
def test_layouts_of_today_give_the_reference_s_vectors(load, encoder, tmp_path, mode):
    link(encoder, tmp_path / "encoder")
    torch.manual_seed(2)
    parts = [
        Transformer(str(tmp_path / "encoder")),
        Pooling(16, mode),
        Dense(16, 24, activation_function=torch.nn.GELU()),
        Normalize(),
        Dense(24, 8, bias=False, activation_function=torch.nn.Identity(), use_residual=True),
        Dense(8, 8, use_residual=True),
    ]
    settings = {
        "prompts": {"query": "query: "},
        "default_prompt_name": "query",
        "truncate_dim": 3 if mode == "cls" else None,
    }
    SentenceTransformer(modules=parts, device="cpu", **settings).save(str(tmp_path / "model"))
    compare(load, tmp_path / "model")


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_of_a_dense_layer_is_the_reference_s(load, encoder, tmp_path, name):
    link(encoder, tmp_path / "encoder")
    torch.manual_seed(3)
    dense = Dense(16, 8, activation_function=getattr(torch.nn, name)())
    parts = [Transformer(str(tmp_path / "encoder")), Pooling(16), dense]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "model"))
    compare(load, tmp_path / "model")


@pytest.mark.parametrize(
    "changes",
    [
        {"activation_function": "os.system"},
        {"activation_function": "torch.nn.modules.linear.Bilinear"},
        {"in_features": 17},
        {"out_features": 10**9},
        {"module_input_name": "token_embeddings"},
    ],
    ids=str,
)
def test_a_dense_layer_that_we_cannot_run_is_refused(encoder, tmp_path, changes):
    link(encoder, tmp_path / "encoder")
    parts = [Transformer(str(tmp_path / "encoder")), Pooling(16), Dense(16, 8)]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "model"))
    edit_json(tmp_path / "model" / "2_Dense" / "config.json", **changes)
    with pytest.raises(UnloadableVersion, match="2_Dense"):
        read_sentences(tmp_path / "model", width=16, device="cpu")

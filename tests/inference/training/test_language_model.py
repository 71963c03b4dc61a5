"""The docstring writer: corpus, tokenizer and chat data are real, the training is cut to seconds."""

import json
import sys
from dataclasses import replace

import jinja2
import pytest
import torch
import yaml
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from inference.engines.checkpoint import find_weights, load_state, read_json
from inference.engines.configuration import rebuild_config
from inference.training import chat_data, documentation, language_model
from inference.training.byte_bpe import CHAT_TEMPLATE, train_tokenizer
from inference.training.documentation import Description
from inference.training.progress import TrainingCancelled
from tests.inference.training.conftest import never


@pytest.fixture(scope="module")
def descriptions() -> list[Description]:
    return documentation.collect()


@pytest.fixture(scope="module")
def tokenizer(descriptions) -> Tokenizer:
    return train_tokenizer((each.text for each in descriptions[:500]), vocabulary=600)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    directory, reports = tmp_path_factory.mktemp("writer"), []
    settings = replace(language_model.SETTINGS, steps=16, report_every=2)
    language_model.build(directory, progress=reports.append, cancelled=never, settings=settings)
    return directory, reports


def test_the_corpus_is_large_clean_and_says_each_thing_once(descriptions):
    by_name = {each.name: each for each in descriptions}
    assert len(descriptions) > 4000
    assert len({each.text for each in descriptions}) == len(descriptions)
    assert by_name["json.dumps"].text.startswith("Serialize ``obj`` to a JSON formatted ``str``.")
    assert by_name["json.dumps"].signature.startswith("dumps(obj, ")
    assert by_name["len"].text == "Return the number of items in a container."
    assert by_name["dict.get"].signature == "get(key, default=None, /)"
    assert not any(">>>" in each.text for each in descriptions)


def test_the_corpus_is_read_without_running_it(descriptions):
    assert any(each.name.startswith("tkinter.") for each in descriptions)
    assert "tkinter" not in sys.modules
    assert "antigravity" not in sys.modules


def test_prose_loses_its_hard_breaks_but_lists_keep_them():
    assert documentation._clean("One line\nand the next.\n\n- a\n- b") == "One line and the next.\n\n- a\n- b"
    assert documentation._clean("Words.\n\n>>> f()\n1\n\nMore.") == "Words.\n\nMore."


@pytest.mark.parametrize("text", ["plain", "Grüße, 世界 🙂", "\tdef f(x):\n    return x\r\n", "", "\x00\x7f"])
def test_every_text_survives_the_tokenizer(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == text
    assert ids[0] == tokenizer.token_to_id("<|begin|>")


def test_prompts_carry_no_loss_and_every_answer_ends(tokenizer):
    document = chat_data.Document(prompt="<|begin|><|user|>Hi<|end|><|assistant|>", answer="Yes.<|end|>")
    ((ids, labels),) = chat_data.encode([document], tokenizer)
    learnt = [label for label in labels if label != chat_data.IGNORED]
    assert tokenizer.decode(learnt, skip_special_tokens=False) == "Yes.<|end|>"
    assert ids[len(ids) - len(learnt) :] == learnt


def test_training_documents_have_the_shape_that_the_chat_template_renders(descriptions):
    documents = chat_data.write_documents(descriptions[:300], {"lists": ["About lists.", "More."]}, seed=1)
    template = jinja2.Environment(autoescape=False).from_string(CHAT_TEMPLATE)
    asked = next(each for each in documents if "<|system|>" not in each.prompt and "<|user|>" in each.prompt)
    question = asked.prompt.removeprefix("<|begin|><|user|>").removesuffix("<|end|><|assistant|>")
    rendered = template.render(
        messages=[{"role": "user", "content": question}],
        bos_token="<|begin|>",
        eos_token="<|end|>",
        add_generation_prompt=True,
    )
    assert rendered == asked.prompt
    assert sum("<|system|>" in each.prompt for each in documents) > 10
    assert chat_data.write_documents(descriptions[:300], {}, seed=1) != documents
    assert documents == chat_data.write_documents(
        descriptions[:300], {"lists": ["About lists.", "More."]}, seed=1
    )


def test_batches_mix_short_and_long_windows_of_the_same_documents(tokenizer):
    encoded = [([index] * 40, [index] * 40) for index in range(64)]
    stream = chat_data.mix_windows(encoded, longest=128, tokens=256, seed=0)
    shapes = [tuple(ids.shape) for ids, _ in (next(stream) for _ in range(4))]
    assert shapes == [(8, 33)] * 3 + [(2, 129)]


def test_loss_falls_within_a_few_steps(trained):
    directory, reports = trained
    record = json.loads((directory / "training.json").read_text())
    losses = [point["loss"] for point in record["curve"]]
    assert losses[-1] < losses[0] - 0.5
    assert record["metrics"]["perplexity"] < language_model.VOCABULARY / 2
    assert record["steps"] <= 16
    assert reports[0].stage == "reading documentation"
    assert reports[-1].metrics["perplexity"] == record["metrics"]["perplexity"]


def test_the_version_is_complete_and_loads_with_plain_transformers(trained):
    directory, _ = trained
    model = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    chat = [{"role": "user", "content": "Describe json.dumps"}]
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert tokenizer.decode(ids["input_ids"][0]) == "<|begin|><|user|>Describe json.dumps<|end|><|assistant|>"
    written = model.generate(**ids, max_new_tokens=8)
    assert written.shape[1] > ids["input_ids"].shape[1]
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|end|>")
    assert model.config.max_position_embeddings == language_model.CONTEXT


def test_the_version_passes_our_own_checks(trained):
    directory, _ = trained
    config = rebuild_config(read_json(directory / "config.json"), model_types={"llama"})
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    loaded = load_state(empty, find_weights(directory), "cpu")
    reference = AutoModelForCausalLM.from_pretrained(directory)
    ids = torch.tensor([[1, 4, 50, 60]])
    with torch.inference_mode():
        assert torch.equal(loaded(ids).logits, reference(ids).logits)
    assert AutoConfig.from_pretrained(directory).model_type == "llama"


def test_the_card_says_what_it_is_and_how_well_it_does(trained):
    directory, _ = trained
    _, head, body = (directory / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["pipeline_tag"] == "text-generation"
    (metric,) = card["model-index"][0]["results"][0]["metrics"]
    measured = json.loads((directory / "training.json").read_text())["metrics"]["perplexity"]
    assert metric == {"type": "perplexity", "value": round(measured, 4)}
    assert f"{measured:.1f}" in body


def test_a_cancelled_build_writes_nothing(tmp_path):
    with pytest.raises(TrainingCancelled):
        language_model.build(tmp_path / "never", progress=lambda _: None, cancelled=lambda: True)
    assert not (tmp_path / "never").exists()


def test_roles_that_the_model_never_met_are_refused():
    environment = jinja2.Environment(autoescape=False)

    def refuse(message: str) -> None:
        raise ValueError(message)

    template = environment.from_string(CHAT_TEMPLATE)
    with pytest.raises(ValueError, match="tool"):
        template.render(messages=[{"role": "tool", "content": "x"}], raise_exception=refuse)

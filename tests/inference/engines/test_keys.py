"""Every key of a config.json is honoured, known to change nothing, or refused by its name."""

import pytest
from transformers import CONFIG_MAPPING, BertConfig, GPT2Config, LlamaConfig

from inference.engines import keys
from inference.engines.base import UnloadableVersion
from inference.engines.batch.loading import IMAGE_MODEL_TYPES, TEXT_MODEL_TYPES
from inference.engines.configuration import REQUIRED_VALUES, honoured_keys, rebuild_config
from inference.engines.text.configuration import _REFUSED_WHEN_TRUE, ARCHITECTURES

BATCH = sorted(TEXT_MODEL_TYPES | IMAGE_MODEL_TYPES)


def decided(key: str) -> bool:
    return keys.is_idle(key) or key in keys.LOOKED_FOR or key in REQUIRED_VALUES or key in _REFUSED_WHEN_TRUE


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_every_key_that_transformers_reads_of_a_generator_is_decided(model_type):
    read = keys.known_keys(CONFIG_MAPPING[model_type])
    assert {key for key in read - ARCHITECTURES[model_type].keys if not decided(key)} == set()


@pytest.mark.parametrize("model_type", BATCH)
def test_every_key_that_transformers_reads_of_an_encoder_is_decided(model_type):
    config_class = CONFIG_MAPPING[model_type]
    read = keys.known_keys(config_class)
    assert {key for key in read - honoured_keys(config_class) if not decided(key)} == set()


def test_what_no_model_of_the_type_reads_is_told_by_name():
    raw = {"model_type": "llama", "unsloth_fixed": True, "use_cache": False, "attention_dropout": 0.1}
    (note,) = keys.judge(raw, config_class=LlamaConfig, honoured=ARCHITECTURES["llama"].keys)
    assert note.file == "config.json"
    assert note.message.endswith("LlamaConfig of transformers does not know them: unsloth_fixed.")


@pytest.mark.parametrize(
    ("config_class", "honoured", "raw"),
    [
        (LlamaConfig, ARCHITECTURES["llama"].keys, {"sliding_window": 16}),
        (LlamaConfig, ARCHITECTURES["llama"].keys, {"layer_types": ["sliding_attention"]}),
        (LlamaConfig, ARCHITECTURES["llama"].keys, {"is_causal": 0.5}),
        (GPT2Config, ARCHITECTURES["gpt2"].keys, {"head_dim": 7}),
        (BertConfig, honoured_keys(BertConfig), {"is_causal": True}),
    ],
    ids=str,
)
def test_what_the_model_would_look_for_is_refused_by_name(config_class, honoured, raw):
    (name,) = raw
    with pytest.raises(UnloadableVersion, match=name):
        keys.judge(raw, config_class=config_class, honoured=honoured)
    assert keys.judge({name: None}, config_class=config_class, honoured=honoured) == ()


def test_a_number_of_labels_without_names_is_honoured():
    raw = {"model_type": "bert", "num_labels": 5}
    assert len(rebuild_config(raw, model_types=["bert"]).id2label) == 5

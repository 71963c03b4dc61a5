"""What each key of a version's small files means here: honoured, without effect on an answer, or refused by name.

One table per file. A key in none of its lists is refused where the reference library would fail on it too, or
where what it does cannot be known; elsewhere that library ignores it, and so do we, but we say so. The keys of
config.json depend on the model's class, which only the engines know: see `inference.engines.keys`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marketplace.validation.report import Finding, Refusal, error, warning

MOST_NAMED = 12
# What stands for "not set" in JSON files of these libraries.
UNSET: tuple[Any, ...] = (None, False, "", [], {})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTable:
    """`honoured` keys are read, `idle` ones change no answer, and `fixed` ones must have one of these values, all
    of which change nothing. `names` says which of the honoured ones must hold an object, a list and so on.
    With `strict`, other keys are refused; without, their effect is none in the reference library either.
    """

    honoured: frozenset[str]
    idle: frozenset[str] = frozenset()
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    strict: bool = False

    @property
    def known(self) -> frozenset[str]:
        return self.honoured | self.idle | self.fixed.keys()


def check_keys(file: str, values: Mapping[str, Any], table: KeyTable) -> list[Finding]:
    """What to tell of the keys in `values`. Raises `Refusal` for one that we cannot honour."""
    for key, allowed in table.fixed.items():
        if key in values and not any(values[key] == same for same in allowed):
            message = f"{key} {_shown(values[key])} is not supported."
            raise Refusal(error(file, "unsupported-key", message, "Save the model without it."))
    unknown = sorted(key for key in values if key not in table.known and not key.startswith("_"))
    if not unknown:
        return []
    listed = ", ".join(key[:60] for key in unknown[:MOST_NAMED])
    if len(unknown) > MOST_NAMED:
        listed += f" and {len(unknown) - MOST_NAMED} more"
    if table.strict:
        message = f"Nobody knows what these keys mean: {listed}."
        raise Refusal(error(file, "unknown-key", message, "Remove them, or save the model again."))
    return [warning(file, "unknown-key", f"Without effect, here as in transformers: {listed}.")]


def tell_defaults(file: str, values: Mapping[str, Any]) -> list[Finding]:
    """Sampling that the file suggests, and that only callers who ask for it get."""
    names = [
        key
        for key, same in DEFAULTS_OF_CALLERS.items()
        if key in values and not any(values[key] == each for each in same)
    ]
    if not names:
        return []
    listed = ", ".join(f"{name} {_shown(values[name])}" for name in names)
    return [
        warning(
            file, "callers-choose", f"Callers choose these, and OpenAI's defaults hold without: {listed}."
        )
    ]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


GENERATION = KeyTable(
    honoured=frozenset({"eos_token_id"}),
    idle=frozenset({
        "bos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version", "use_cache", "do_sample",
        "max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time", "cache_implementation", "cache_config",
        "return_dict_in_generate", "output_attentions", "output_hidden_states", "output_scores", "output_logits",
        "num_return_sequences", "trust_remote_code", "chat_format", "is_assistant", "num_assistant_tokens",
        "num_assistant_tokens_schedule", "assistant_confidence_threshold", "prompt_lookup_num_tokens",
        "max_matching_ngram_size", "return_legacy_cache", "prefill_chunk_size", "compile_config", "disable_compile",
        "generation_kwargs", "token_healing", "early_stopping", "num_beams", "num_beam_groups", "length_penalty",
        "user_token_id", "assistant_token_id", "remove_invalid_values", "renormalize_logits", "use_mtp", "max_cache_len",
        "assistant_early_exit", "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight",
        "speculation_type", "continuous_batching_config",
        # What a caller sends; see `DEFAULTS_OF_CALLERS`.
        "temperature", "top_p", "top_k", "repetition_penalty",
    }),
    fixed={
        "min_p": (None, 0, 0.0), "typical_p": (None, 1, 1.0), "epsilon_cutoff": (None, 0, 0.0), "eta_cutoff": (None, 0, 0.0),
        "top_h": (None,), "no_repeat_ngram_size": (None, 0), "encoder_no_repeat_ngram_size": (None, 0),
        "encoder_repetition_penalty": (None, 1, 1.0), "bad_words_ids": (None, []), "force_words_ids": (None, []),
        "sequence_bias": (None, []), "suppress_tokens": (None, []), "begin_suppress_tokens": (None, []),
        "forced_bos_token_id": (None,), "forced_eos_token_id": (None,), "forced_decoder_ids": (None, []),
        "exponential_decay_length_penalty": (None,), "constraints": (None, []), "guidance_scale": (None, 1, 1.0),
        "penalty_alpha": (None, 0, 0.0), "diversity_penalty": (None, 0, 0.0), "watermarking_config": (None,),
        "dola_layers": (None,), "stop_strings": (None, []), "low_memory": (None, False),
    },
)  # fmt: skip
# transformers' generate() takes these from the file; here callers send them, and OpenAI's defaults hold otherwise.
DEFAULTS_OF_CALLERS: Mapping[str, tuple[Any, ...]] = {
    "temperature": (None, 1, 1.0), "top_p": (None, 1, 1.0), "top_k": (None, 0, 50), "repetition_penalty": (None, 1, 1.0),
}  # fmt: skip

_SPECIAL = frozenset(
    {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}
)
TOKENIZER = KeyTable(
    honoured=_SPECIAL | {"chat_template", "model_max_length"},
    idle=frozenset({
        # tokenizer.json holds these, and is what both sides read.
        "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "tokenizer_class", "tokenizer_file",
        "add_bos_token", "add_eos_token", "add_prefix_space", "do_lower_case", "do_basic_tokenize", "strip_accents",
        "tokenize_chinese_chars", "never_split", "lowercase", "keep_accents", "legacy", "sp_model_kwargs", "vocab_file",
        "vocab_size", "merges_file", "trim_offsets", "errors", "sep_token_box", "wordpieces_prefix", "from_slow",
        # Lengths and sides of batches, which are the engines' own affair.
        "padding_side", "truncation_side", "padding", "truncation", "max_length", "stride", "pad_to_multiple_of",
        "pad_token_type_id", "truncation_strategy", "model_input_names", "return_token_type_ids",
        # Where the file comes from.
        "backend", "is_local", "local_files_only", "name_or_path", "special_tokens_map_file", "processor_class", "auto_map",
        "use_fast", "slow_tokenizer_class", "response_schema", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id",
        "clean_up_tokenization_spaces", "spaces_between_special_tokens", "use_default_system_prompt",
        "fix_mistral_regex", "device_map", "max_len", "full_tokenizer_file", "add_special_tokens", "model_specific_special_tokens",
    }),
    fixed={"split_special_tokens": UNSET},
)  # fmt: skip
SPECIAL_TOKENS = KeyTable(
    honoured=_SPECIAL, idle=frozenset({"additional_special_tokens", "extra_special_tokens"})
)

PREPROCESSOR = KeyTable(
    honoured=frozenset({
        "image_processor_type", "feature_extractor_type", "do_resize", "size", "default_to_square", "resample", "do_center_crop",
        "crop_size", "crop_pct", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std",
        "do_flip_channel_order",
    }),
    idle=frozenset({
        "do_convert_rgb", "return_tensors", "device", "disable_grouping", "processor_class", "auto_map", "do_reduce_labels",
        "reduce_labels", "input_data_format", "model_input_names", "image_seq_length",
    }),
    fixed={
        "do_pad": UNSET, "pad_size": UNSET, "data_format": (None, "channels_first"), "rescale_offset": UNSET,
        "do_thumbnail": UNSET, "do_align_long_axis": UNSET, "size_divisor": UNSET, "max_size": UNSET,
        "do_color_quantize": UNSET, "do_split_image": UNSET, "do_image_splitting": UNSET,
    },
)  # fmt: skip

MODULE = KeyTable(honoured=frozenset({"idx", "name", "path", "type"}), fixed={"kwargs": UNSET}, strict=True)
SENTENCE_BERT = KeyTable(
    honoured=frozenset({"max_seq_length", "do_lower_case"}),
    idle=frozenset({"unpad_inputs", "document_length", "query_length"}),
    fixed={
        "transformer_task": (None, "feature-extraction"),
        "modality_config": (
            None, {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            {"text": {"method": "forward", "method_output_name": ["last_hidden_state"]}},
        ),
        "module_output_name": (None, "token_embeddings"),
        "query_expansion": UNSET, "processing_kwargs": UNSET, "model_args": UNSET, "model_kwargs": UNSET,
        "tokenizer_args": UNSET, "processor_kwargs": UNSET, "config_args": UNSET, "config_kwargs": UNSET,
        "tokenizer_name_or_path": UNSET, "cache_dir": UNSET, "backend": (None, "torch"),
    },
    strict=True,
)  # fmt: skip
SENTENCE_SETTINGS = KeyTable(
    honoured=frozenset({"prompts", "default_prompt_name", "truncate_dim"}),
    idle=frozenset({"__version__", "similarity_fn_name", "requirements"}),
    fixed={"model_type": (None, "SentenceTransformer")},
)
_FLAGS = frozenset(
    f"pooling_mode_{mode}"
    for mode in (
        "cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken",
    )
)  # fmt: skip
POOLING = KeyTable(
    honoured=_FLAGS | {"pooling_mode", "include_prompt"},
    idle=frozenset({"word_embedding_dimension", "embedding_dimension"}),
    strict=True,
)
_OF_SENTENCES = (None, "sentence_embedding")
DENSE = KeyTable(
    honoured=frozenset({"in_features", "out_features", "bias", "activation_function", "use_residual"}),
    fixed={"module_input_name": _OF_SENTENCES, "module_output_name": _OF_SENTENCES},
    strict=True,
)
NORMALIZE = KeyTable(
    honoured=frozenset(),
    fixed={"module_input_name": _OF_SENTENCES, "module_output_name": _OF_SENTENCES},
    strict=True,
)

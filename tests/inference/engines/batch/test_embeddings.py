"""Embeddings equal those of the model's own libraries, alone and among others."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling as ReferencePooling
from transformers import AutoModel

from inference.engines.base import RequestRefused, UnloadableVersion
from inference.engines.batch.pooling import MODES, pool
from inference.engines.batch.sentences import Sentences, read_sentences
from tests.inference.engines.batch.conftest import MINILM
from tests.inference.engines.batch.models import edit_json, write_model, write_sentence_files

TASK = "feature-extraction"


def vectors(chunk) -> np.ndarray:
    assert chunk.finish_reason == "stop", chunk.error
    return np.stack([np.frombuffer(each, dtype="<f4") for each in chunk.output["embeddings"]])


def texts(count: int, *, longest: int = 200, vocabulary: int = 30_000, seed: int = 1) -> list[list[int]]:
    randomness = random.Random(seed)
    return [
        [randomness.randrange(2, vocabulary) for _ in range(randomness.randint(1, longest))]
        for _ in range(count)
    ]


@torch.inference_mode()
def reference_minilm(items: list[list[int]]) -> np.ndarray:
    model = AutoModel.from_pretrained(MINILM).eval()
    hidden = [model(input_ids=torch.tensor([ids])).last_hidden_state.mean(dim=1) for ids in items]
    return torch.nn.functional.normalize(torch.cat(hidden), dim=-1).numpy()


def test_minilm_equals_plain_transformers_alone_and_in_mixed_batches(load, hold):
    items = texts(24)
    expected = reference_minilm(items)
    bench = load(MINILM, TASK)
    alone = np.concatenate([vectors(bench.ask(f"alone-{i}", [ids])) for i, ids in enumerate(items[:6])])
    np.testing.assert_allclose(alone, expected[:6], atol=1e-5)

    gate = hold(bench)
    requests = {f"mixed-{start}": items[start : start + 5] for start in range(0, 24, 5)}
    for request_id, part in requests.items():
        bench.submit(request_id, part)
    gate.open.set()
    together = np.concatenate([vectors(bench.sink.last(request_id)) for request_id in requests])
    np.testing.assert_allclose(together, expected, atol=1e-5)
    assert bench.engine.stats().steps < 6 + len(items), "nothing was batched"


def test_usage_counts_the_tokens_that_were_sent_without_padding(load):
    items = [[101, 2023, 102], [101] * 40]
    chunk = load(MINILM, TASK).ask("r", items)
    assert chunk.usage["input_tokens"] == 43
    assert chunk.usage["requests"] == 1
    assert 1 <= chunk.usage["compute_ms"] < 10_000


def test_items_of_many_requests_share_a_forward_pass(load, hold):
    bench = load(MINILM, TASK)
    gate = hold(bench)
    bench.submit("first", [[101, 102]])
    assert gate.reached.wait(10)
    for index in range(8):
        bench.submit(f"r{index}", [[101, 2000 + index, 102]])
    gate.open.set()
    for index in range(8):
        bench.sink.last(f"r{index}")
    assert bench.engine.stats().steps == 2


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "mpnet", "roberta", "xlm-roberta"])
def test_every_allowed_text_model_ignores_its_neighbours_in_a_batch(load, tmp_path, model_type):
    model = write_model(tmp_path, model_type, "Model")
    write_sentence_files(tmp_path, modes=["mean"], normalize=False)
    items = texts(9, longest=70, vocabulary=120)
    with torch.inference_mode():
        expected = [model(input_ids=torch.tensor([ids])).last_hidden_state.mean(dim=1)[0] for ids in items]
    found = vectors(load(tmp_path, TASK).ask("r", items))
    np.testing.assert_allclose(found, torch.stack(expected).numpy(), atol=1e-5)


@pytest.mark.parametrize("mode", [*sorted(MODES), "cls+max"])
def test_pooling_equals_sentence_transformers(mode, device):
    modes = mode.split("+")
    torch.manual_seed(0)
    hidden, mask = torch.randn(3, 7, 4), torch.tensor([[1] * 7, [1] * 3 + [0] * 4, [1] + [0] * 6])
    features = {"token_embeddings": hidden, "attention_mask": mask}
    expected = ReferencePooling(4, pooling_mode=modes)(features)["sentence_embedding"]
    found = pool(hidden.to(device), mask.to(device), modes)
    torch.testing.assert_close(found.cpu(), expected)


def test_old_and_new_files_name_the_same_pooling(tmp_path):
    old = read_sentences(MINILM, width=384, device="cpu")
    assert (old.modes, old.scales) == (("mean",), True)
    assert read_sentences(tmp_path, width=32, device="cpu") == Sentences(width=32, modes=("mean",))
    write_sentence_files(tmp_path, modes=["cls"], normalize=False)
    assert read_sentences(tmp_path, width=32, device="cpu") == Sentences(width=32, modes=("cls",))


@pytest.mark.parametrize(
    "modules",
    [
        '[{"type": "x.Transformer"}, {"type": "x.Pooling", "path": "../elsewhere"}]',
        '[{"type": "x.Transformer"}, {"type": "x.Pooling", "path": ".."}]',
        '[{"type": "x.Transformer"}, {"type": "x.Dense", "path": "2_Dense"}]',
        '[{"type": "x.Transformer", "path": "0_Transformer"}, {"type": "x.Pooling", "path": "1_Pooling"}]',
        '[{"type": "evil.module.Loader"}]',
        '{"a": 1}',
        "[",
    ],
)
def test_modules_that_we_cannot_honour_are_refused(tmp_path, modules):
    (tmp_path / "modules.json").write_text(modules)
    with pytest.raises(UnloadableVersion):
        read_sentences(tmp_path, width=32, device="cpu")


def test_dimensions_is_refused_where_the_model_was_not_trained_for_it(load):
    bench = load(MINILM, TASK)
    with pytest.raises(RequestRefused, match="dimensions"):
        bench.submit("r", [[101, 102]], dimensions=128)


def test_dimensions_cuts_and_rescales_where_the_model_allows_it(load, tmp_path: Path):
    write_model(tmp_path, "bert", "Model")
    write_sentence_files(tmp_path, modes=["mean"], normalize=True)
    edit_json(tmp_path / "config.json", matryoshka_dimensions=[8, 16, 32])
    bench = load(tmp_path, TASK)
    whole = vectors(bench.ask("whole", [[5, 6, 7]]))[0]
    cut = vectors(bench.ask("cut", [[5, 6, 7]], dimensions=8))[0]
    np.testing.assert_allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
    with pytest.raises(RequestRefused, match="8, 16, 32"):
        bench.submit("odd", [[5]], dimensions=9)


@pytest.mark.parametrize("modes", [["mean"], ["mean", "max"]])
def test_the_length_that_vectors_have_anyway_may_be_asked_for(load, tmp_path: Path, modes):
    write_model(tmp_path, "bert", "Model")
    write_sentence_files(tmp_path, modes=modes, normalize=True)
    bench = load(tmp_path, TASK)
    whole = vectors(bench.ask("whole", [[5, 6, 7]]))
    np.testing.assert_array_equal(vectors(bench.ask("same", [[5, 6, 7]], dimensions=whole.shape[1])), whole)


@pytest.mark.parametrize(
    "items",
    [[], [[]], [[120]], [[-1]], [[1.5]], [["a"]], [b"bytes"], [[5] * 81]],
    ids=["none", "empty", "too-big", "negative", "float", "text", "image", "too-long"],
)
def test_senseless_items_are_refused_before_they_are_queued(load, tmp_path, items):
    write_model(tmp_path, "bert", "Model")
    bench = load(tmp_path, TASK)
    with pytest.raises(RequestRefused):
        bench.submit("r", items)
    assert bench.engine.capacity().busy == 0


@pytest.mark.parametrize("model_type", ["bert", "roberta", "mpnet"])
def test_the_longest_text_that_is_admitted_really_runs(load, tmp_path, model_type):
    write_model(tmp_path, model_type, "Model")
    bench = load(tmp_path, TASK)
    longest = 80 if model_type == "bert" else 78
    assert bench.ask("fits", [[5] * longest]).finish_reason == "stop"
    with pytest.raises(RequestRefused, match=str(longest)):
        bench.submit("over", [[5] * (longest + 1)])


def test_weights_may_be_split_over_files_named_by_an_index(load, tmp_path):
    model = write_model(tmp_path / "whole", "bert", "Model")
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    whole = load(tmp_path / "whole", TASK).ask("r", [[5, 6]])
    parts = load(tmp_path / "parts", TASK).ask("r", [[5, 6]])
    np.testing.assert_array_equal(vectors(whole), vectors(parts))


def test_a_version_without_a_pooler_head_loads(load, tmp_path):
    model = write_model(tmp_path, "bert", "Model")
    bare = type(model)(model.config, add_pooling_layer=False)
    bare.load_state_dict(model.state_dict(), strict=False)
    shutil.rmtree(tmp_path)
    bare.save_pretrained(tmp_path)
    assert load(tmp_path, TASK).ask("r", [[5, 6]]).finish_reason == "stop"

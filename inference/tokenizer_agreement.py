"""Whether texts become the same token ids here as in transformers, tried on a few texts when a version is published.

Here tokenizer.json is read as it is, with what we know of the settings beside it. transformers builds some classes of
tokenizers anew, from its own code and other settings; where that gives other ids, the model was trained on one of the
two, and answers from the other would be wrong in silence.
"""

import logging
from pathlib import Path

from inference.engines.pulse import is_panic
from inference.gateway.prompting.tokenizing import read_codec
from marketplace.validation.report import Finding, error, warning

log = logging.getLogger(__name__)

FILE = "tokenizer_config.json"
REMEDY = "If tokenizer.json is right, name PreTrainedTokenizerFast as tokenizer_class; otherwise save the tokenizer again."
TEXTS = (
    "Hello World, this is a Test of 1234 words!",
    "naïve Café ÜBER 東京 🙂",
    "def add(a, b): # it's\nreturn a + b",
    "a",
)
# Here even releases of transformers differ, for models that everybody uses; so it is told and not refused.
ODD_TEXTS = ("  two  spaces\n\n\tand lines ", " ")


def compare(directory: Path) -> Finding | None:
    """What to tell of the first text that has other ids, an error for an ordinary one.

    None where all agree, and where transformers reads no tokenizer.
    """
    ours = read_codec(directory)
    texts = [text.lower() if ours.lowers else text for text in (*TEXTS, *ODD_TEXTS)]
    try:
        kind, expected = _read_theirs(directory, texts)
    except (
        BaseException
    ) as problem:  # whatever it makes of a stranger's settings, a panic of native code included
        if not isinstance(problem, Exception) and not is_panic(problem):
            raise
        log.info("transformers reads no tokenizer in %s: %s", directory, problem)
        return None
    for place, (text, wanted) in enumerate(zip(texts, expected, strict=True)):
        found = ours.tokenizer.encode(text).ids
        if found != wanted:
            message = (
                f"{kind} of transformers reads {text[:40]!r} as {str(wanted[:12])[:80]}, but here it is "
                f"{str(found[:12])[:80]}."
            )
            tell = error if place < len(TEXTS) else warning
            return tell(FILE, "tokenizer-differs", message, REMEDY)
    return None


def _read_theirs(directory: Path, texts: list[str]) -> tuple[str, list[list[int]]]:
    """The name of the class that transformers takes, and its token ids of the texts."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(directory), trust_remote_code=False, local_files_only=True)
    return type(theirs).__name__, [list(theirs(text)["input_ids"]) for text in texts]

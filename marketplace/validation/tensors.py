"""The weights of a version: which files hold them, and whether they are of the shapes that the config says."""

from collections.abc import Mapping
from dataclasses import dataclass

from marketplace.validation.configs import Config
from marketplace.validation.documents import read_object
from marketplace.validation.files import WEIGHTS
from marketplace.validation.headers import Tensor, read_header
from marketplace.validation.report import Finding, LocalFile, Refusal, error, info

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """All tensors of a version by name, and what their files take in bytes. `unused` belong to no index."""

    tensors: Mapping[str, Tensor]
    files: tuple[str, ...]
    weight_bytes: int
    unused: tuple[str, ...] = ()

    @property
    def parameter_count(self) -> int:
        return sum(tensor.count for tensor in self.tensors.values() if tensor.dtype in FLOATS)

    @property
    def dtype(self) -> str:
        """The float type of most parameters."""
        totals: dict[str, int] = {}
        for tensor in self.tensors.values():
            if tensor.dtype in FLOATS:
                totals[tensor.dtype] = totals.get(tensor.dtype, 0) + tensor.count
        return max(totals, key=lambda dtype: totals[dtype], default="F32")


def read_weights(files: Mapping[str, LocalFile]) -> Weights:
    """The headers of all weight files together. Raises `Refusal`."""
    present = sorted(path for path in files if WEIGHTS.fullmatch(path))
    names = _read_index(files, present) if INDEX in files else _find_single(present)
    tensors: dict[str, Tensor] = {}
    for path in names:
        header = read_header(path, files[path])
        if twice := sorted(tensors.keys() & header.keys()):
            raise Refusal(error(path, "tensor-twice", f"Tensor {twice[0][:120]!r} is in another file too."))
        tensors |= header
    return Weights(
        tensors=tensors,
        files=tuple(names),
        weight_bytes=sum(files[path].size for path in names),
        unused=tuple(path for path in present if path not in names),
    )


def _find_single(present: list[str]) -> list[str]:
    if SINGLE in present:
        return [SINGLE]
    if present:
        message = f"There are {len(present)} weight files and no {INDEX} that joins them."
        raise Refusal(error(INDEX, "index-missing", message, "Send the index file too."))
    remedy = "Save the model with model.save_pretrained(folder, safe_serialization=True)."
    raise Refusal(error(SINGLE, "weights-missing", "There are no weights in safetensors format.", remedy))


def _read_index(files: Mapping[str, LocalFile], present: list[str]) -> list[str]:
    weight_map = read_object(INDEX, files[INDEX]).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise Refusal(error(INDEX, "index", "weight_map is missing or empty."))
    names = sorted({str(name) for name in weight_map.values()})
    if absent := [name for name in names if name not in present]:
        message = f"{absent[0][:120]} is named but was not sent."
        raise Refusal(error(INDEX, "index", message, "Send every file that the index names."))
    return names


def check_weights(weights: Weights, config: Config) -> list[Finding]:
    """Errors where the headers contradict the config, so that a loader would fail, hang or fill up memory."""
    findings = [
        info(path, "not-needed", "The index does not name it; it is not kept.") for path in weights.unused
    ]
    problem = _check_layers(weights, config) or _check_embedding(weights, config)
    if not problem and config.model_type == "mercato_convnet":
        problem = _check_convnet(weights, config)
    return [*findings, problem] if problem else findings


def _check_layers(weights: Weights, config: Config) -> Finding | None:
    wanted = config.shape.layers
    if not wanted:
        return None
    matches = (config.architecture.layer.match(name) for name in weights.tensors)
    found = {int(match[1]) for match in matches if match}
    if found != set(range(wanted)):
        message = f"config.json says {wanted} layers, the weights hold {len(found)}."
        return error(SINGLE, "layers", message, "Send the config that was saved with these weights.")
    return None


def _check_embedding(weights: Weights, config: Config) -> Finding | None:
    pattern = config.architecture.embedding
    if pattern is None:
        return None
    tensor = next((tensor for name, tensor in weights.tensors.items() if pattern.fullmatch(name)), None)
    if tensor is None:
        remedy = "Send the full model; adapters must be merged into it first."
        return error(SINGLE, "embedding", "The weights hold no token embedding.", remedy)
    wanted = (config.shape.vocab, config.shape.hidden)
    if tensor.shape != wanted:
        message = f"The token embedding is {list(tensor.shape)}, config.json says {list(wanted)}."
        return error(SINGLE, "embedding", message, "Send the config that was saved with these weights.")
    if tensor.dtype not in FLOATS:
        return error(SINGLE, "dtype", f"The token embedding is {tensor.dtype}, not floating point.")
    return None


def _check_convnet(weights: Weights, config: Config) -> Finding | None:
    labels = config.values.get("id2label")
    outputs = len(labels) if isinstance(labels, dict) else 0
    classifier = weights.tensors.get("classifier.weight")
    wanted = (outputs, config.shape.hidden)
    if classifier is None or classifier.shape != wanted:
        found = list(classifier.shape) if classifier else "missing"
        return error(SINGLE, "classifier", f"classifier.weight is {found}, config.json says {list(wanted)}.")
    return None

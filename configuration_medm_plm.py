"""Configuration of MedM-PLM: one note encoder, one code encoder, and the module that joins them.

The defaults are the values of Liu et al. (2022), section III-B; where the paper is silent the choice is
explained in `docs/design_decisions.md`. This file travels to the Hub and imports nothing but transformers
and huggingface_hub.
"""

import difflib
from dataclasses import fields
from typing import Any

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

# Encoders that read a note bidirectionally and whose layers can be counted and frozen. A closed list,
# because a nested configuration comes from a downloaded file and must never choose code to run.
TEXT_MODEL_TYPES = (
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "ernie",
    "megatron-bert",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
EMBEDDING_TYPES = ("ontology", "plain")
TEXT_POOLINGS = ("cls", "mean")
PRETRAINING_TARGETS = ("masked", "all")
TEMPERATURES = (0.01, 100.0)
CLASSIFIERS = ("mlp", "label_attention")
NOTE_FIELDS = ("note", "admission_note")
DEFAULT_CHUNK_LENGTH = 512
"""The paper's note length, which is also the most that BERT reads."""
COUNTS_FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""Encoders whose first position is numbered after their padding id, so that some of the numbers are lost."""
NUM_LIVE_TEXT_LAYERS = 2
"""The paper trains the last two of twelve layers; another encoder keeps two live layers as well."""

# Upper bounds: a configuration read from a file must not be able to ask for an absurd amount of memory.
MAX_VOCABULARY_SIZE = 2_000_000
MAX_WIDTH = 65_536
MAX_DEPTH = 256
MAX_CHUNKS = 256
MAX_LABELS = 200_000
"""The diagnoses and procedures of ICD-10 together are fewer."""
MAX_WEIGHTS = 2_000_000_000
"""8 GB in single precision; the largest encoder of these types has 1.3 billion."""

# What a file does not decide, be it the configuration of the whole or that of the text encoder: where code
# comes from (an attention such as "owner/kernel" is fetched and run), and how many numbers a layer has.
IGNORED_IN_FILES = (
    "attn_implementation",
    "chunk_size_feed_forward",
    "experts_implementation",
    "name_or_path",
    "return_dict",
    "transformers_weights",
)
REFUSED_IN_FILES = ("per_layer_config", "quantization_config")
PRECISIONS = ("float16", "bfloat16", "float32", "float64")


def refuse_upload(*args: Any, **kwargs: Any) -> None:
    """Stand in for the library's `push_to_hub`, which makes a public repository and looks at nothing."""
    raise PermissionError(
        "What has read patients' records is not uploaded from here. Save it into a folder and publish that "
        "by `python run_publishing.py FOLDER OWNER/NAME` of MedM-PLM, which looks it through first."
    )


def _refuse(field: str, value: Any, expected: str, remedy: str) -> None:
    raise ValueError(f"`{field}` is {repr(value)[:100]}, but {expected}. {remedy}")


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        _refuse(field, value, f"must be one of {', '.join(choices)}", f"Choose one of them for `{field}`.")


def _check_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        _refuse(field, value, f"must lie between {low} and {high}", f"Set `{field}` within these bounds.")


def _refuse_misspelt_fields(config_class: type, unknown: dict[str, Any]) -> None:
    """A near miss of a real field is a typing error, which transformers would store silently."""
    known = [field.name for field in fields(config_class)]
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if near:
            _refuse(
                name,
                unknown[name],
                f"{config_class.__name__} has no such field",
                f"Did you mean `{near[0]}`?",
            )


def _check_further_fields(config_class: Any, unknown: dict[str, Any]) -> None:
    """Refuse fields that no attribute is declared for and that would change the class or fill the memory."""
    declared = {field.name for field in fields(config_class)}
    declared |= {
        *config_class.attribute_map,
        "num_labels",
        "output_attentions",
        "torch_dtype",
        "name_or_path",
    }
    for name, value in unknown.items():
        if name in declared:
            continue
        if hasattr(config_class, name) and value != getattr(config_class, name):
            _refuse(name, value, f"{name} is part of {config_class.__name__} itself", "Leave it out.")
    labels = unknown.get("num_labels")
    if labels is not None:
        if type(labels) is not int:
            _refuse("num_labels", labels, "must be a whole number", "Write it without quotes.")
        _check_range("num_labels", labels, 0, MAX_LABELS)


def _check_precision(*given: Any) -> None:
    for dtype in given:
        if dtype is not None and str(dtype).removeprefix("torch.") not in PRECISIONS:
            _refuse("dtype", dtype, f"must be one of {', '.join(PRECISIONS)}", "Choose one of them.")


def _check_activation(field: str, name: Any) -> None:
    from transformers.activations import ACT2FN

    if not isinstance(name, str) or name not in ACT2FN:
        _refuse(field, name, "there is no such activation", "`gelu` is that of the paper.")


def _harmless(fields_of_file: dict[str, Any]) -> dict[str, Any]:
    """Leave out, or refuse, what a file must not decide."""
    for name in REFUSED_IN_FILES:
        if fields_of_file.get(name) is not None:
            _refuse(name, "set", "a file must not decide it", "Give it to `from_pretrained`.")
    for name in ("output_attentions", "output_hidden_states"):
        if not isinstance(fields_of_file.get(name), bool | None):
            _refuse(name, fields_of_file[name], "must be true or false", "Save the model again.")
    classes = fields_of_file.get("architectures") or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        _refuse("architectures", classes, "must be a list of names", "Save the model again.")
    for name in ("auto_map", "custom_pipelines"):
        if not isinstance(fields_of_file.get(name) or {}, dict):
            _refuse(name, fields_of_file[name], "must be a mapping", "Save the model again.")
    return {
        name: value
        for name, value in fields_of_file.items()
        if name not in IGNORED_IN_FILES and not name.startswith("_")
    }


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


class _GuardedConfig(PreTrainedConfig):
    """What both configurations refuse: upload past the gate, and what a file must not decide."""

    push_to_hub = refuse_upload

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As the library's, with one kind of error for whatever a file holds.

        Args:
            config_dict (`dict`): what stands in the file.
            kwargs: fields that the caller sets.

        Raises:
            ValueError: for values that cannot work.
        """
        try:
            return super().from_dict(_harmless(config_dict), **kwargs)
        except StrictDataclassError as error:
            raise ValueError(_one_line(error.__cause__ or error)) from error
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
            raise ValueError(
                f"The configuration cannot be used: {type(error).__name__}: {_one_line(error)}"
            ) from error

    @classmethod
    def from_json_file(cls, json_file: Any) -> Any:
        """As the library's, through `from_dict`."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Save as the library does; uploading is refused."""
        if push_to_hub:
            refuse_upload()
        super().save_pretrained(save_directory, **kwargs)


@strict
class MedMPLMCodeConfig(_GuardedConfig):
    r"""Shape of the encoder that reads the diagnosis and medication codes of a visit.

    Args:
        vocab_size (`int`, defaults to 6805): number of special tokens and codes that can be predicted. The
            paper has 6,646 diagnoses and 155 medications; four special tokens come first.
        num_ontology_nodes (`int`, *optional*): rows of the node table, the codes and then the inner nodes of
            the ontologies (categories, blocks, chapters, roots). Defaults to `vocab_size`, a vocabulary
            without inner nodes.
        max_ontology_depth (`int`, defaults to 4): largest number of ancestors of a code.
        embedding_type (`str`, defaults to `"ontology"`): `"ontology"` passes messages over the code hierarchy
            (equations 1 and 2); `"plain"` is an ordinary embedding, as in Med-BERT.
        ontology_embedding_size (`int`, defaults to 75): width of one head of the ontology attention; heads
            times this width must give `hidden_size`.
        ontology_num_attention_heads (`int`, defaults to 4): heads of the ontology attention, concatenated.
        ontology_negative_slope (`float`, defaults to 0.2): slope of the LeakyReLU that scores an edge.
        type_vocab_size (`int`, defaults to 3): kinds of code; 0 special, 1 diagnosis, 2 medication.
        hidden_size (`int`, defaults to 300), num_hidden_layers (`int`, defaults to 2), num_attention_heads
            (`int`, defaults to 2), intermediate_size (`int`, defaults to 300): shape of the Transformer over
                the codes.
        hidden_act (`str`, defaults to `"gelu"`): activation of the feed-forward layers.
        hidden_dropout_prob (`float`, defaults to 0.1), attention_probs_dropout_prob (`float`, defaults to
            0.1).
        max_code_length (`int`, defaults to 61): longest code sequence, its `[CLS]` included. Codes are a set
            and have no positions, so this bounds the tokenizer and not the model.
        initializer_range (`float`, defaults to 0.02), layer_norm_eps (`float`, defaults to 1e-12).
        pad_token_id (`int`, defaults to 0), cls_token_id (`int`, defaults to 1): ids of the code vocabulary.

    Raises:
        StrictDataclassError, ValueError: for values that cannot work; the message names field and remedy.
    """

    model_type = "medm_plm_code"
    base_config_key = "code_config"
    # Read by transformers' BertLayer; a set of codes is never decoded.
    is_decoder = False
    add_cross_attention = False

    vocab_size: int = 6805
    num_ontology_nodes: int | None = None
    max_ontology_depth: int = 4
    embedding_type: str = "ontology"
    ontology_embedding_size: int = 75
    ontology_num_attention_heads: int = 4
    ontology_negative_slope: float | int = 0.2
    type_vocab_size: int = 3
    hidden_size: int = 300
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    intermediate_size: int = 300
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    max_code_length: int = 61
    initializer_range: float | int = 0.02
    layer_norm_eps: float | int = 1e-12
    pad_token_id: int | None = 0
    cls_token_id: int = 1

    def __post_init__(self, **kwargs):
        _refuse_misspelt_fields(type(self), kwargs)
        _check_further_fields(type(self), kwargs)
        _check_precision(self.dtype, kwargs.get("torch_dtype"))
        if self.num_ontology_nodes is None:
            self.num_ontology_nodes = self.vocab_size
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        _check_range("vocab_size", self.vocab_size, 5, MAX_VOCABULARY_SIZE)
        _check_range("num_ontology_nodes", self.num_ontology_nodes, self.vocab_size, MAX_VOCABULARY_SIZE)
        _check_range("max_ontology_depth", self.max_ontology_depth, 0, MAX_DEPTH)
        _check_range("type_vocab_size", self.type_vocab_size, 1, MAX_WIDTH)
        _check_range("num_hidden_layers", self.num_hidden_layers, 1, MAX_DEPTH)
        _check_range("intermediate_size", self.intermediate_size, 1, MAX_WIDTH)
        _check_range("max_code_length", self.max_code_length, 2, MAX_WIDTH)
        _check_activation("hidden_act", self.hidden_act)
        for field in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            _check_range(field, getattr(self, field), 0.0, 1.0)

    def validate_heads(self):
        _check_range("hidden_size", self.hidden_size, 1, MAX_WIDTH)
        _check_range("num_attention_heads", self.num_attention_heads, 1, self.hidden_size)
        if self.hidden_size % self.num_attention_heads:
            _refuse(
                "hidden_size",
                self.hidden_size,
                f"must be a multiple of `num_attention_heads` ({self.num_attention_heads})",
                "Change one of the two.",
            )

    def validate_embedding(self):
        _check_choice("embedding_type", self.embedding_type, EMBEDDING_TYPES)
        width = self.ontology_num_attention_heads * self.ontology_embedding_size
        if self.embedding_type == "ontology" and width != self.hidden_size:
            _refuse(
                "ontology_embedding_size",
                self.ontology_embedding_size,
                f"times `ontology_num_attention_heads` ({self.ontology_num_attention_heads}) it must give "
                f"`hidden_size` ({self.hidden_size})",
                "Change one of the three, or set `embedding_type='plain'`.",
            )


@strict
class MedMPLMConfig(_GuardedConfig):
    r"""Configuration of every MedM-PLM model: a text encoder, a code encoder, the cross-modal module and the
    heads.

    Args:
        text_config (`PreTrainedConfig` or `dict`, *optional*): the note encoder, one of `TEXT_MODEL_TYPES`;
            BERT-base by default (12 layers, 768 wide, 12 heads, 512 tokens).
        code_config (`MedMPLMCodeConfig` or `dict`, *optional*): the code encoder.
        use_cross_modal (`bool`, defaults to `True`): `False` removes the cross-modal module, the paper's
            ablation: the augmented vectors are then the pooled ones.
        cross_modal_num_attention_heads (`int`, defaults to 1): heads of equations 6 and 7.
        text_pooling (`str`, defaults to `"cls"`): visit-level text state, the first token or the mean over
            tokens.
        normalize_text_states (`bool`, defaults to `True`): bring the text encoder's states to zero mean and
            unit variance before they are pooled and looked at. Encoders differ tenfold in the size of their
            states, and next to the codes' states small ones would be drowned in equations 6 and 7.
        max_note_chunks (`int`, defaults to 1): a note of up to this many chunks is read, each encoded by
            itself; the cross-modal module attends over all of them. The processor lays notes out this way
            (its `max_note_chunks` and `chunk_length` must be the same).
        chunk_length (`int`, *optional*): tokens of every chunk but the last, `[CLS]` and `[SEP]` included.
            Defaults to 512, or to what the text encoder can read if that is less. An encoder of long texts
            reads up to this many tokens in one chunk.
        num_frozen_text_layers (`int`, *optional*): the text embeddings and this many first layers are not
            trained and run in evaluation mode. Defaults to all but the last two (10 of 12); 0 trains
            everything.
        pretraining_target (`str`, defaults to `"masked"`): `"masked"` predicts the masked codes by
            cross-entropy (equations 8 and 9), `"all"` every code of the visit by binary cross-entropy.
        classifier (`str`, defaults to `"mlp"`): head of the tasks, the paper's perceptron over the visit
            vectors, or `"label_attention"`, in which each label also attends over the tokens of the note and
            over the codes (see `MedMPLMLabelWiseHead`).
        label_prior (`list[float]`, *optional*): share of the training examples that have each label, strictly
            between 0 and 1, from which a new label attention head starts; 0.5 by default.
        classifier_num_hidden_layers (`int`, defaults to 1): hidden layers of the task heads.
        classifier_hidden_size (`int`, *optional*): their width; defaults to the width of the head's input.
        classifier_dropout (`float`, defaults to 0.1): share of a task head's inputs that training leaves out.
        classifier_token_weights (`bool`, defaults to `False`): each label of a visit's head also has a weight
            for each word piece and code, `vocabularies x labels` more weights; not in the paper, and not for
            medication recommendation.
        use_current_note (`bool`, defaults to `False`): medication recommendation also reads a text of the
            visit whose medications are asked for, one that was known before them.
        note_field (`str`, *optional*): field of a visit that the model was trained to read as its text, where
            that is not the usual one of its task: `"note"` or `"admission_note"`. For medication
            recommendation this is the visit whose medications are asked for. Pipelines read it.
        temperature (`float`, defaults to 1.0): what logits are divided by on their way to probabilities, as
            fitted on validation data. Prediction files and pipelines apply it; the model's logits are as they
            were trained.
        decision_threshold (`float` or `list[float]`, defaults to 0.5): probability, after `temperature`, from
            which a label counts as predicted: one for all labels or one for each. Pipelines and metrics apply
            it.
        tagger_hidden_size (`int`, defaults to 256): width of either direction of the BiLSTM in token
            classification.
        tagger_use_text_encoder (`bool`, defaults to `True`): token classification reads the states of the
            text encoder; `False` gives it token embeddings of its own instead, the first row of the paper's
            comparison of taggers.
        hidden_act (`str`, defaults to `"gelu"`): activation of the pre-training and task heads.
        initializer_range (`float`, defaults to 0.02): standard deviation of new weights outside the two
            encoders.

    Raises:
        StrictDataclassError, ValueError: for values that cannot work; the message names field and remedy.

    Example:

    ```python
    >>> from configuration_medm_plm import MedMPLMConfig
    >>> config = MedMPLMConfig(code_config={"vocab_size": 1000})
    >>> config.num_frozen_text_layers, config.code_config.hidden_size
    (10, 300)

    ```
    """

    model_type = "medm_plm"
    sub_configs = {"text_config": AutoConfig, "code_config": MedMPLMCodeConfig}
    # Evaluation gathers every other output on every process; all but the scores would fill the memory.
    keys_to_ignore_at_inference = [
        "t2c_loss",
        "c2c_loss",
        "text_last_hidden_state",
        "code_last_hidden_state",
        "text_pooler_output",
        "code_pooler_output",
        "text_augmented_output",
        "code_augmented_output",
        "hidden_states",
        "attentions",
        "code_hidden_states",
        "code_attentions",
        "note_token_attentions",
        "code_token_attentions",
        "label_attentions",
        "label_code_attentions",
    ]

    text_config: PreTrainedConfig | dict | None = None
    code_config: PreTrainedConfig | dict | None = None
    use_cross_modal: bool = True
    cross_modal_num_attention_heads: int = 1
    text_pooling: str = "cls"
    normalize_text_states: bool = True
    max_note_chunks: int = 1
    chunk_length: int | None = None
    num_frozen_text_layers: int | None = None
    pretraining_target: str = "masked"
    classifier: str = "mlp"
    label_prior: list[float | int] | None = None
    classifier_num_hidden_layers: int = 1
    classifier_hidden_size: int | None = None
    classifier_dropout: float | int = 0.1
    classifier_token_weights: bool = False
    use_current_note: bool = False
    note_field: str | None = None
    temperature: float | int = 1.0
    decision_threshold: float | int | list[float | int] = 0.5
    tagger_hidden_size: int = 256
    tagger_use_text_encoder: bool = True
    hidden_act: str = "gelu"
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs):
        _refuse_misspelt_fields(type(self), kwargs)
        _check_further_fields(type(self), kwargs)
        _check_precision(self.dtype, kwargs.get("torch_dtype"))
        self.text_config = _as_text_config(self.text_config)
        if self.code_config is None:
            self.code_config = MedMPLMCodeConfig()
        elif isinstance(self.code_config, dict):
            self.code_config = MedMPLMCodeConfig(**_harmless(self.code_config))
        if self.num_frozen_text_layers is None:
            self.num_frozen_text_layers = max(0, self.text_config.num_hidden_layers - NUM_LIVE_TEXT_LAYERS)
        if self.chunk_length is None:
            self.chunk_length = min(DEFAULT_CHUNK_LENGTH, _longest_text(self.text_config))
        super().__post_init__(**kwargs)

    def to_dict(self):
        """As the library's, without the place on this machine that the text encoder was read from."""
        fields = super().to_dict()
        if "_name_or_path" in (fields.get("text_config") or {}):
            fields["text_config"]["_name_or_path"] = ""
        return fields

    def validate_choices(self):
        _check_choice("text_pooling", self.text_pooling, TEXT_POOLINGS)
        _check_choice("pretraining_target", self.pretraining_target, PRETRAINING_TARGETS)
        _check_choice("classifier", self.classifier, CLASSIFIERS)
        if self.note_field is not None:
            _check_choice("note_field", self.note_field, NOTE_FIELDS)
        _check_range(
            "num_frozen_text_layers", self.num_frozen_text_layers, 0, self.text_config.num_hidden_layers
        )
        _check_range("classifier_num_hidden_layers", self.classifier_num_hidden_layers, 0, MAX_DEPTH)
        _check_range("classifier_hidden_size", self.classifier_hidden_size or 1, 1, MAX_WIDTH)
        _check_range("classifier_dropout", self.classifier_dropout, 0.0, 1.0)
        for share in self.label_prior or ():
            if not 0.0 < share < 1.0:
                _refuse("label_prior", share, "must lie between 0 and 1", "Smooth the shares of rare labels.")
        _check_range("tagger_hidden_size", self.tagger_hidden_size, 1, MAX_WIDTH)
        _check_range("num_labels", self.num_labels, 0, MAX_LABELS)
        _check_activation("hidden_act", self.hidden_act)

    def validate_decision(self):
        _check_range("temperature", self.temperature, *TEMPERATURES)
        thresholds = self.decision_threshold
        if isinstance(thresholds, list) and len(thresholds) != self.num_labels:
            _refuse(
                "decision_threshold",
                thresholds,
                f"the model has {self.num_labels} labels",
                "Give one number for all labels, or one for each.",
            )
        for threshold in thresholds if isinstance(thresholds, list) else [thresholds]:
            _check_range("decision_threshold", threshold, 0.0, 1.0)

    def validate_text_sizes(self):
        for field in ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"):
            limit = {"num_hidden_layers": MAX_DEPTH, "hidden_size": MAX_WIDTH}.get(field, MAX_VOCABULARY_SIZE)
            _check_range(f"text_config.{field}", getattr(self.text_config, field), 1, limit)
        for field in ("intermediate_size", "hidden_dim", "embedding_size", "num_attention_heads"):
            _check_range(f"text_config.{field}", getattr(self.text_config, field, 1), 1, MAX_WIDTH)
        _check_range(
            "text_config.type_vocab_size", getattr(self.text_config, "type_vocab_size", 0), 0, MAX_WIDTH
        )
        for field in ("hidden_act", "hidden_activation", "activation"):
            if hasattr(self.text_config, field):
                _check_activation(f"text_config.{field}", getattr(self.text_config, field))

    def validate_weights(self):
        counts = _count_weights(self)
        if sum(counts.values()) > MAX_WEIGHTS:
            largest = max(counts, key=counts.get)
            raise ValueError(
                f"The configuration asks for {sum(counts.values()):,} weights, most of them in {largest}, "
                f"but at most {MAX_WEIGHTS:,} are built. Set smaller sizes."
            )

    def validate_chunks(self):
        _check_range("max_note_chunks", self.max_note_chunks, 1, MAX_CHUNKS)
        longest = _longest_text(self.text_config)
        if not 1 <= self.chunk_length <= longest:
            _refuse(
                "chunk_length",
                self.chunk_length,
                f"the text encoder ({self.text_config.model_type}) reads 1 to {longest} tokens at once",
                "Set `chunk_length` within these bounds, in the processor as well.",
            )

    def validate_cross_modal(self):
        widths = (self.text_config.hidden_size, self.code_config.hidden_size)
        if self.cross_modal_num_attention_heads < 1 or any(
            w % self.cross_modal_num_attention_heads for w in widths
        ):
            _refuse(
                "cross_modal_num_attention_heads",
                self.cross_modal_num_attention_heads,
                f"must divide the hidden sizes of the text and the code encoder {widths}",
                "Use 1, the paper's value.",
            )

    @classmethod
    def from_text_code_configs(
        cls, text_config: PreTrainedConfig, code_config: MedMPLMCodeConfig, **kwargs: Any
    ) -> "MedMPLMConfig":
        """Join the configurations of a note encoder and a code encoder.

        Args:
            text_config: configuration of a published text encoder.
            code_config: configuration of the code encoder.
            kwargs: further fields of this class.

        Returns:
            The joint configuration; the arguments are copied.
        """
        return cls(text_config=text_config.to_dict(), code_config=code_config.to_dict(), **kwargs)


def _longest_text(text_config: PreTrainedConfig) -> int:
    """Most tokens that a text encoder reads at once."""
    lost = 0
    if text_config.model_type in COUNTS_FROM_PADDING:
        lost = 1 + (1 if text_config.model_type == "mpnet" else text_config.pad_token_id or 0)
    return text_config.max_position_embeddings - lost


def _count_weights(config: MedMPLMConfig) -> dict[str, int]:
    """Estimate from above how many numbers a model of any head holds, by part."""
    text, code, labels = config.text_config, config.code_config, config.num_labels or 0
    inner = max(getattr(text, "intermediate_size", 1), getattr(text, "hidden_dim", 1))
    rows = text.vocab_size + text.max_position_embeddings + getattr(text, "type_vocab_size", 0)
    width = text.hidden_size
    ancestors = code.num_ontology_nodes * (code.max_ontology_depth + 1) * 2  # whole numbers of twice the size
    visit = 4 * (width + code.hidden_size)
    hidden = config.classifier_hidden_size or visit
    deep = config.classifier_num_hidden_layers * hidden * max(hidden, visit)
    of_tokens = config.classifier_token_weights * (text.vocab_size + code.num_ontology_nodes) * labels
    tagger = 8 * config.tagger_hidden_size * (width + config.tagger_hidden_size)
    return {
        "text_config": rows * width + text.num_hidden_layers * width * (4 * width + 3 * inner),
        "code_config": code.num_ontology_nodes * code.hidden_size
        + ancestors
        + code.num_hidden_layers * code.hidden_size * (4 * code.hidden_size + 2 * code.intermediate_size),
        "the heads": deep + of_tokens + tagger + labels * (hidden + visit) + code.vocab_size * visit,
    }


def _as_text_config(text_config: PreTrainedConfig | dict | None) -> PreTrainedConfig:
    """Build the note encoder's configuration from a closed list of classes, never from remote code."""
    text_config = {} if text_config is None else text_config
    if isinstance(text_config, PreTrainedConfig):
        _check_choice("text_config.model_type", text_config.model_type, TEXT_MODEL_TYPES)
        return text_config
    fields_of_text = {name: value for name, value in _harmless(text_config).items() if name != "auto_map"}
    model_type = fields_of_text.pop("model_type", "bert")
    _check_choice("text_config.model_type", model_type, TEXT_MODEL_TYPES)
    _check_further_fields(CONFIG_MAPPING[model_type], fields_of_text)
    _check_precision(fields_of_text.get("dtype"), fields_of_text.get("torch_dtype"))
    return AutoConfig.for_model(model_type, **fields_of_text)


MedMPLMCodeConfig.register_for_auto_class()
MedMPLMConfig.register_for_auto_class()

__all__ = ["MedMPLMCodeConfig", "MedMPLMConfig"]

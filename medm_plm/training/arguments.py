"""Options of `run_pretraining.py` and `run_finetuning.py`.

What the library's `TrainingArguments` already offers is not repeated here. The values of the paper stand in
`configs/*.yaml` and in the defaults of `MedMPLMConfig`.
"""

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments

from medm_plm.data.ner import FORMATS
from medm_plm.data.tasks import CURRENT_NOTES, MEDICATION_WINDOWS
from medm_plm.errors import InputError
from medm_plm.rivals.configuration import ARCHITECTURE_NAMES, OWN_ARCHITECTURE

CHECKPOINT_FOLDER = "checkpoints"
CACHE_DTYPES = ("float16", "bfloat16", "float32")

TEXT_SIZES = (
    *("text_vocab_size", "text_hidden_size", "text_num_hidden_layers"),
    *("text_num_attention_heads", "text_max_length"),
)
CODE_SIZES = ("code_hidden_size", "code_num_hidden_layers", "code_num_attention_heads")
_LEAST_SIZES = {"text_max_length": 8}  # [CLS], [SEP] and a few words


@dataclass
class RunArguments(TrainingArguments):
    """`TrainingArguments` with the defaults of this project and options of its own.

    Each epoch is evaluated and saved, the best one is kept, and progress bars are drawn on a terminal only.
    The folder given becomes the finished model (`run_dir`); the library's checkpoints lie in its folder
    `checkpoints`, which is what `output_dir` is for the library.

    A run started again goes on from its last intact checkpoint (`medm_plm.training.resuming`).

    Args:
        resume_from_checkpoint (`str`, defaults to `auto`): go on from the last intact checkpoint of the same
            run, if there is one (`auto`); there must be one (`last`); start afresh in an empty folder
            (`never`); or the folder of a checkpoint, whatever run it is from.
        text_learning_rate (`float`, *optional*): learning rate of the text encoder; `learning_rate` by
            default.
        token_weights_learning_rate (`float`, *optional*): learning rate of `--classifier_token_weights`,
            which begin at zero and want a larger one; `learning_rate` by default.
        early_stopping_patience (`int`, *optional*): stop after this many evaluations without a better one.
        frozen_text_cache (`str`, *optional*): folder in which the output of the frozen text layers is kept,
            so that no epoch and no later run computes it again.
        frozen_text_cache_dtype (`str`, defaults to `float16`): precision it is kept in, `float16`, `bfloat16`
            or `float32`.
        frozen_text_cache_gb (`float`, *optional*): largest size of that folder; notes beyond it are computed
            whenever they are used.
        push_to_hub (`bool`, defaults to False): publish the finished model, privately, when the run has ended
            (`medm_plm.publishing`). The library's Trainer never learns of it: it would upload its whole
            folder, and each checkpoint.
        hub_model_id (`str`, *optional*): `OWNER/NAME` of the repository, needed with `push_to_hub`.
    """

    output_dir: str = field(metadata={"help": "folder of the finished model, its metrics and predictions"})
    eval_strategy: str = field(default="epoch", metadata={"help": "when to evaluate: no, steps or epoch"})
    save_strategy: str = field(
        default="epoch", metadata={"help": "when to save a checkpoint: no, steps or epoch"}
    )
    save_total_limit: int | None = field(
        default=2, metadata={"help": "checkpoints kept, the best one among them"}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "end with the best evaluated weights"}
    )
    resume_from_checkpoint: str | None = field(
        default="auto",
        metadata={"help": "auto, last, never, or the folder of a checkpoint"},
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "keep the patience of early stopping in a resumed run"}
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "log another loss where it is not finite; a run stops there anyway"}
    )
    logging_strategy: str = field(default="epoch", metadata={"help": "when to log the training loss"})
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "must stay false: collators need all"}
    )
    text_learning_rate: float | None = field(
        default=None,
        metadata={"help": "learning rate of the text encoder, where it differs from --learning_rate"},
    )
    token_weights_learning_rate: float | None = field(
        default=None,
        metadata={"help": "learning rate of --classifier_token_weights, where it differs"},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "stop after this many evaluations without a better one"}
    )
    frozen_text_cache: str | None = field(
        default=None, metadata={"help": "folder that keeps the output of the frozen text layers"}
    )
    frozen_text_cache_dtype: str = field(
        default="float16", metadata={"help": "precision it is kept in", "choices": CACHE_DTYPES}
    )
    frozen_text_cache_gb: float | None = field(
        default=None, metadata={"help": "largest size of that folder in gigabytes"}
    )
    push_to_hub: bool = field(
        default=False, metadata={"help": "publish the finished model, privately, in --hub_model_id"}
    )
    hub_model_id: str | None = field(
        default=None, metadata={"help": "OWNER/NAME of the repository, for --push_to_hub"}
    )
    hub_strategy: str = field(
        default="end", metadata={"help": "must stay end: checkpoints are never uploaded"}
    )

    @property
    def uses_fsdp(self) -> bool:
        """Whether weights are divided among processes, by an option or by `accelerate launch`."""
        return bool(self.fsdp) or parse_flag_from_env("ACCELERATE_USE_FSDP")

    def __post_init__(self) -> None:
        self.publish_to = _destination(self)
        self.push_to_hub = False
        if self.remove_unused_columns:
            raise InputError("option --remove_unused_columns cannot be true", remedy="leave it out")
        if self.frozen_text_cache_dtype not in CACHE_DTYPES:
            received, expected = self.frozen_text_cache_dtype, " or ".join(CACHE_DTYPES)
            raise InputError("option --frozen_text_cache_dtype", received=received, expected=expected)
        if self.frozen_text_cache_gb is not None and not self.frozen_text_cache_gb >= 0:
            received = self.frozen_text_cache_gb
            raise InputError("option --frozen_text_cache_gb", received=received, expected="0 or more")
        self.run_dir = Path(self.output_dir)
        found = next((place for place in (self.run_dir, *self.run_dir.parents) if place.exists()), None)
        if found is not None and not found.is_dir():
            received = "a file" if found == self.run_dir else f"a place below the file {found}"
            raise InputError("option --output_dir", received=received, expected="a folder, which may be new")
        self.output_dir = str(self.run_dir / CHECKPOINT_FOLDER)
        if self.disable_tqdm is None:
            self.disable_tqdm = not sys.stderr.isatty()
        super().__post_init__()


def _destination(args: RunArguments) -> str | None:
    """Where the finished model is published; what would upload anything else is refused."""
    if not args.push_to_hub:
        return None
    name = args.hub_model_id
    if name is None or name.count("/") != 1 or "" in name.split("/"):
        received = "nothing" if name is None else name
        raise InputError("option --hub_model_id", received=received, expected="OWNER/NAME, for --push_to_hub")
    strategy = getattr(args.hub_strategy, "value", args.hub_strategy)
    if strategy != "end":
        raise InputError(
            "option --hub_strategy",
            received=strategy,
            expected="end",
            remedy="checkpoints are never uploaded; leave it out",
        )
    if args.hub_private_repo is False:
        raise InputError(
            "option --hub_private_repo cannot be false",
            remedy="read the card of the finished model first, then publish it by run_publishing.py --public",
        )
    return name


@dataclass
class ModelArguments:
    """How a model is built. Without a value, a loaded model keeps its own setting and a new one takes the
    paper's.

    Args:
        architecture (`str`, defaults to `medm_plm`): the model, or a rival of `medm_plm.rivals`.
        text_model (`str`, *optional*): folder or Hub id of a published text encoder with its tokenizer.
            Without it a small BERT starts from random weights and its WordPiece vocabulary is learnt from the
            training notes.
        text_vocab_size, text_hidden_size, text_num_hidden_layers, text_num_attention_heads, text_max_length
            (`int`): size of that small BERT.
        code_hidden_size, code_num_hidden_layers, code_num_attention_heads (`int`, *optional*): size of the
            code encoder.
        code_embedding_type (`str`, *optional*): `ontology` (equations 1 and 2) or `plain`.
        use_cross_modal (`bool`, *optional*): false removes the cross-modal module (an ablation of the paper).
        num_frozen_text_layers (`int`, *optional*): text layers, from the first, that are not trained, with
            the embeddings; 0 trains everything. A new text encoder is trained as a whole by default.
        text_pooling (`str`, *optional*): visit-level state of the note, `cls` or `mean`.
        max_note_chunks (`int`, *optional*): notes are read up to this many chunks, each of which the text
            encoder reads by itself; 1 by default.
        chunk_length (`int`, *optional*): tokens of a chunk; 512 by default, or what the text encoder reads if
            that is less. More for an encoder of long texts.
        classifier (`str`, *optional*): head of a task, `mlp` or `label_attention`, in which each label
            searches the words and the codes.
        classifier_dropout (`float`, *optional*): share of a head's inputs that training leaves out;
            0.1 by default.
        classifier_token_weights (`bool`, *optional*): each label also has a weight of its own for each word
            piece and code (tasks of one visit).
    """

    architecture: str = field(
        default=OWN_ARCHITECTURE, metadata={"help": "the model, or a rival", "choices": ARCHITECTURE_NAMES}
    )
    text_model: str | None = field(
        default=None, metadata={"help": "folder or Hub id of a published text encoder"}
    )
    text_vocab_size: int = field(
        default=8000, metadata={"help": "WordPiece vocabulary of a new text encoder"}
    )
    text_hidden_size: int = field(default=128, metadata={"help": "width of a new text encoder"})
    text_num_hidden_layers: int = field(default=2, metadata={"help": "layers of a new text encoder"})
    text_num_attention_heads: int = field(default=2, metadata={"help": "heads of a new text encoder"})
    text_max_length: int = field(
        default=512, metadata={"help": "longest note of a new text encoder, in tokens"}
    )
    code_hidden_size: int | None = field(default=None, metadata={"help": "width of the code encoder"})
    code_num_hidden_layers: int | None = field(default=None, metadata={"help": "layers of the code encoder"})
    code_num_attention_heads: int | None = field(default=None, metadata={"help": "heads of the code encoder"})
    code_embedding_type: str | None = field(default=None, metadata={"help": "ontology or plain"})
    use_cross_modal: bool | None = field(
        default=None, metadata={"help": "false removes the cross-modal module"}
    )
    num_frozen_text_layers: int | None = field(
        default=None, metadata={"help": "first text layers kept as they are"}
    )
    text_pooling: str | None = field(default=None, metadata={"help": "cls or mean"})
    max_note_chunks: int | None = field(
        default=None, metadata={"help": "chunks up to which a note is read, 1 by default"}
    )
    chunk_length: int | None = field(
        default=None, metadata={"help": "tokens of a chunk, at most 512 by default"}
    )
    classifier: str | None = field(default=None, metadata={"help": "head of a task: mlp or label_attention"})
    classifier_dropout: float | None = field(
        default=None, metadata={"help": "share of a head's inputs left out in training, 0.1 by default"}
    )
    classifier_token_weights: bool | None = field(
        default=None, metadata={"help": "true gives each label a weight for each word piece and code as well"}
    )

    def __post_init__(self) -> None:
        for name in (*TEXT_SIZES, *CODE_SIZES):
            least, value = _LEAST_SIZES.get(name, 1), getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"option --{name}", received=value, expected=f"at least {least}")


@dataclass
class PretrainingArguments:
    """What is pre-trained on, and how it is looked at.

    Args:
        data (`str`): folder written by `run_preparation.py`.
        mask_share (`float`, defaults to 0.15): share of a visit's codes that are hidden, at least one.
        pretraining_target (`str`, defaults to `masked`): predict the hidden codes or `all` codes of the
            visit.
        probe_shuffled_modalities (`bool`, defaults to False): at the end evaluate again with the notes, and
            then with the codes, exchanged among the visits.
    """

    data: str = field(metadata={"help": "folder written by run_preparation.py"})
    mask_share: float = field(default=0.15, metadata={"help": "share of a visit's codes that are hidden"})
    pretraining_target: str = field(
        default="masked", metadata={"help": "predict the masked codes or all codes"}
    )
    probe_shuffled_modalities: bool = field(
        default=False, metadata={"help": "evaluate again with notes, then codes, exchanged among visits"}
    )

    def __post_init__(self) -> None:
        if not 0.0 < self.mask_share <= 1.0:
            raise InputError("option --mask_share", received=self.mask_share, expected="a share in (0, 1]")


TASK_NAMES = ("medication_recommendation", "readmission", "icd_coding", "medication_prediction", "mortality")
NER_TASK = "ner"
"""Named entity recognition, which reads a corpus of sentences (`NerArguments`) and no prepared folder."""
NER_ENCODERS = ("text", "none")
TASKS_OF_OPTION = {
    "label_file": ("icd_coding",),
    "split_ids": ("icd_coding",),
    "medication_window": ("medication_recommendation", "medication_prediction"),
    "current_note": ("medication_recommendation",),
    "ddi_pairs": ("medication_recommendation",),
    "join_linear": tuple(task for task in TASK_NAMES if task != "medication_recommendation"),
    "tune_threshold": TASK_NAMES,
    "fit_temperature": TASK_NAMES,
}
"""The tasks for which an option means something; given for another task it is an error."""


@dataclass
class FinetuningArguments:
    """Which task is learnt, from what.

    Args:
        task (`str`): one of `TASK_NAMES`, or `ner`.
        data (`str`): folder written by `run_preparation.py`; every task needs it but `ner`, which has none.
        model (`str`, defaults to `none`): folder of a model written by `run_pretraining.py`; `none` builds a
            new one (fresh code encoder, text encoder by `--text_model`), to measure what pre-training gives.
        baseline (`str`, *optional*): run this baseline instead of MedM-PLM.
        training_ratio (`float`, defaults to 1.0): share of the training examples that is used, in (0, 1].
        top_k_labels (`int`, defaults to 50): how many of the most frequent diagnosis codes ICD coding
            predicts.
        label_file (`str`, *optional*): list of the codes that ICD coding predicts, one a line, in place of
            the most frequent ones.
        split_ids (`str`, *optional*): folder with published lists of admission ids, which give the split of
            ICD coding; the data must have been prepared with the same lists.
        medication_window (`str`, defaults to `whole_stay`): predict the medications of the whole stay, or
            those of the `first_day` (medication recommendation and prediction).
        current_note (`str`, defaults to `none`): what medication recommendation reads of the note of the
            visit itself: nothing, `admission_sections`, or `full`, which leaks the answer.
        max_visits (`int`, defaults to 10): longer patients are cut to their most recent visits (medication
            recommendation).
        join_linear (`bool`, defaults to False): after training, join a logistic regression on word pieces and
            codes to the head, in the share that is best on the validation split (`linear_part.py`); for tasks
            of one visit.
        tune_threshold (`bool`, defaults to False): choose the probability from which a label counts as
            predicted on the validation split, in place of the task's own (0.3, or 0.5 in coding).
        fit_temperature (`bool`, defaults to False): divide logits by a temperature fitted on the validation
            split before they become the probabilities of metrics and prediction files.
        ddi_pairs (`str`, *optional*): file with pairs of interacting medications, for `ddi_rate` (medication
            recommendation).
        pretrained_on_other_data (`bool`, defaults to False): go on with a model whose pre-training used
            another prepared folder; true only if none of the patients held out here can be in it.
    """

    task: str = field(metadata={"help": "the task", "choices": (*TASK_NAMES, NER_TASK)})
    data: str | None = field(
        default=None, metadata={"help": "folder written by run_preparation.py (every task but ner)"}
    )
    model: str = field(default="none", metadata={"help": "folder of a pre-trained model, or none"})
    baseline: str | None = field(
        default=None, metadata={"help": "frequency, linear_text, linear_codes or linear"}
    )
    training_ratio: float = field(default=1.0, metadata={"help": "share of the training examples, in (0, 1]"})
    top_k_labels: int = field(
        default=50, metadata={"help": "icd_coding: number of most frequent codes to predict"}
    )
    label_file: str | None = field(
        default=None, metadata={"help": "icd_coding: file with the codes to predict, one a line"}
    )
    split_ids: str | None = field(
        default=None, metadata={"help": "icd_coding: folder with published lists of admission ids"}
    )
    medication_window: str = field(
        default="whole_stay",
        metadata={
            "help": "medications to predict: of the whole stay or of its first day",
            "choices": MEDICATION_WINDOWS,
        },
    )
    current_note: str = field(
        default="none",
        metadata={
            "help": "medication_recommendation: what is read of the visit's own note; full leaks the answer",
            "choices": CURRENT_NOTES,
        },
    )
    max_visits: int = field(
        default=10, metadata={"help": "medication_recommendation: most recent visits kept"}
    )
    join_linear: bool = field(
        default=False,
        metadata={"help": "after training, join a logistic regression on word pieces and codes to the head"},
    )
    tune_threshold: bool = field(
        default=False, metadata={"help": "choose the decision threshold on the validation split"}
    )
    fit_temperature: bool = field(
        default=False, metadata={"help": "scale probabilities by a temperature fitted on validation"}
    )
    ddi_pairs: str | None = field(
        default=None,
        metadata={"help": "medication_recommendation: file with pairs of interacting ATC codes, one a line"},
    )
    pretrained_on_other_data: bool = field(
        default=False, metadata={"help": "the model has not seen these patients, though its data were others"}
    )

    def __post_init__(self) -> None:
        if (self.data is None) != (self.task == NER_TASK):
            raise InputError(
                f"option --data {'is missing' if self.data is None else 'has no place in task ner'}",
                expected="the folder that run_preparation.py wrote" if self.data is None else "--ner_train",
            )
        if not 0.0 < self.training_ratio <= 1.0:
            raise InputError(
                "option --training_ratio", received=self.training_ratio, expected="a share in (0, 1]"
            )
        for name, allowed in TASKS_OF_OPTION.items():
            default = type(self).__dataclass_fields__[name].default
            if getattr(self, name) != default and self.task not in allowed:
                raise InputError(
                    f"option --{name} has no place in task {self.task}", expected=" or ".join(allowed)
                )
        for name, least in (("top_k_labels", 1), ("max_visits", 2)):
            if getattr(self, name) < least:
                raise InputError(
                    f"option --{name}", received=getattr(self, name), expected=f"at least {least}"
                )


@dataclass
class NerArguments:
    """Which corpus named entity recognition learns from, and what reads it.

    Args:
        ner_train (`list[str]`, *optional*), ner_validation (`list[str]`, *optional*), ner_test (`list[str]`,
            *optional*): files or folders of labelled sentences. Without `ner_validation` a tenth of the
            training documents is split off.
        ner_format (`str`, defaults to `auto`): `iob2` (a word and its label a line), `i2b2` (`.txt` and
            `.con` files), or `auto`.
        ner_encoder (`str`, defaults to `text`): the BiLSTM reads the states of the `text` encoder, or with
            `none` token embeddings of its own; `--text_model` then gives the tokenizer alone.
        ner_hidden_size (`int`, *optional*): width of either direction of the BiLSTM.
        ner_max_length (`int`, *optional*): longest sentence in tokens, longer ones are cut into windows; the
            limit of the text encoder by default.
    """

    ner_train: list[str] | None = field(default=None, metadata={"help": "ner: training files or folders"})
    ner_validation: list[str] | None = field(
        default=None, metadata={"help": "ner: validation files or folders; else a tenth of the training data"}
    )
    ner_test: list[str] | None = field(default=None, metadata={"help": "ner: test files or folders"})
    ner_format: str = field(default="auto", metadata={"help": "ner: form of the files", "choices": FORMATS})
    ner_encoder: str = field(
        default="text",
        metadata={"help": "ner: what the BiLSTM reads, the text encoder or none", "choices": NER_ENCODERS},
    )
    ner_hidden_size: int | None = field(
        default=None, metadata={"help": "ner: width of either direction of the BiLSTM"}
    )
    ner_max_length: int | None = field(
        default=None, metadata={"help": "ner: longest sentence in tokens; longer ones are cut into windows"}
    )

    def __post_init__(self) -> None:
        for name in ("ner_hidden_size", "ner_max_length"):
            if getattr(self, name) is not None and getattr(self, name) < 3:
                raise InputError(f"option --{name}", received=getattr(self, name), expected="at least 3")

    def refuse_for(self, task: str) -> None:
        """Refuse every option of this class for a task that does not read it.

        Args:
            task (`str`): another task than `ner`.

        Raises:
            InputError: naming the first option that was given.
        """
        for name, default in ((option.name, option.default) for option in fields(self)):
            if getattr(self, name) != default:
                raise InputError(f"option --{name} has no place in task {task}", expected=NER_TASK)

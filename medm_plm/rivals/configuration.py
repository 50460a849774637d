"""Which rivals there are, what each reads, and the configuration they share."""

from __future__ import annotations

from dataclasses import dataclass

from huggingface_hub.dataclasses import strict

from configuration_medm_plm import MedMPLMConfig

VISIT_TASKS = ("readmission", "mortality", "icd_coding", "medication_prediction")
RECOMMENDATION = "medication_recommendation"
OWN_ARCHITECTURE = "medm_plm"


@dataclass(frozen=True)
class Architecture:
    """What a rival is made of.

    Args:
        text_encoder (`str`, *optional*): `bert` (a published or new encoder, frozen layers as in MedM-PLM),
            `convolution`, or None for a rival that reads codes only.
        code_encoder (`str`, *optional*): `gbert`, `med_bert`, `retain`, or None for a rival that reads notes
            only.
        tasks (`tuple`): names of the tasks it can learn.
    """

    text_encoder: str | None
    code_encoder: str | None
    tasks: tuple[str, ...] = (RECOMMENDATION, *VISIT_TASKS)

    @property
    def can_be_pretrained(self) -> bool:
        """Whether its code encoder has a pre-training of its own."""
        return self.code_encoder in ("gbert", "med_bert")

    @property
    def has_frozen_text(self) -> bool:
        """Whether its text encoder is one whose first layers may be frozen."""
        return self.text_encoder == "bert"


ARCHITECTURES: dict[str, Architecture] = {
    "rnn": Architecture(None, "retain"),
    "cnn": Architecture("convolution", None),
    "caml": Architecture("convolution", None, VISIT_TASKS),
    "gbert": Architecture(None, "gbert"),
    "med_bert": Architecture(None, "med_bert"),
    "clinical_bert": Architecture("bert", None),
    "gbert_clinical_bert": Architecture("bert", "gbert"),
    "med_bert_clinical_bert": Architecture("bert", "med_bert"),
}
ARCHITECTURE_NAMES = (OWN_ARCHITECTURE, *ARCHITECTURES)

# Mullenbach et al. (2018), the settings of their top-50 runs: feature maps, and words that one map sees.
CONVOLUTIONS = {"cnn": (500, 4), "caml": (50, 10)}


@strict
class RivalConfig(MedMPLMConfig):
    r"""Configuration of every rival: the fields of MedM-PLM that it uses, and the published sizes of its own.

    Args:
        architecture (`str`, defaults to `"gbert"`): a name of `ARCHITECTURES`.
        word_embedding_size (`int`, defaults to 100): width of the word pieces of `cnn` and `caml`.
        num_filters (`int`, *optional*): feature maps of `cnn` (500) and `caml` (50).
        filter_width (`int`, *optional*): word pieces that a feature map sees at once, 4 and 10.
        word_dropout (`float`, defaults to 0.2): dropout on the word pieces of `cnn` and `caml`.
        recurrent_dropout (`float`, defaults to 0.5): dropout of `rnn` on visits and on its context vector.

    The other fields are those of `MedMPLMConfig`; there is no cross-modal module.

    Raises:
        StrictDataclassError, ValueError: for values that cannot work; the message names field and remedy.
    """

    model_type = "medm_plm_rival"
    _auto_class = None

    architecture: str = "gbert"
    use_cross_modal: bool = False
    word_embedding_size: int = 100
    num_filters: int | None = None
    filter_width: int | None = None
    word_dropout: float | int = 0.2
    recurrent_dropout: float | int = 0.5

    def __post_init__(self, **kwargs):
        filters, width = CONVOLUTIONS.get(self.architecture, CONVOLUTIONS["caml"])
        self.num_filters = self.num_filters or filters
        self.filter_width = self.filter_width or width
        super().__post_init__(**kwargs)

    def validate_rival(self):
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"`architecture` is {self.architecture!r}, but must be one of {', '.join(ARCHITECTURES)}."
            )
        if self.use_cross_modal:
            raise ValueError(
                "`use_cross_modal` is True, but a rival has no cross-modal module. Leave it out."
            )
        for name in ("word_embedding_size", "num_filters", "filter_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}, but must be at least 1.")
        for name in ("word_dropout", "recurrent_dropout"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"`{name}` is {getattr(self, name)}, but must lie between 0 and 1.")

    @property
    def parts(self) -> Architecture:
        """What the rival is made of."""
        return ARCHITECTURES[self.architecture]

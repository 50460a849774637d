"""MedM-PLM (Liu et al. 2022): a language model over the notes and the codes of hospital visits.

Axes: batch (visits, or patients where a visits axis follows), visits, words, codes, nodes (of the code
hierarchies), heads, hidden, labels. Equation numbers are those of the paper; deviations are argued in
`docs/design_decisions.md`. This file travels to the Hub and imports nothing but torch and transformers.
"""

import inspect
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.bert.modeling_bert import BertLayer, BertSelfAttention
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, logging
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

try:
    from .configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig, refuse_upload
except ImportError:  # imported as a top-level module (checkout, wheel), not from the Hub
    if __package__:
        raise
    from configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig, refuse_upload


logger = logging.get_logger(__name__)

AUTO_MAP = {
    "AutoConfig": "configuration_medm_plm.MedMPLMConfig",
    "AutoModel": "modeling_medm_plm.MedMPLMModel",
    "AutoModelForPreTraining": "modeling_medm_plm.MedMPLMForPreTraining",
    "AutoModelForSequenceClassification": "modeling_medm_plm.MedMPLMForICDCoding",
    "AutoModelForTokenClassification": "modeling_medm_plm.MedMPLMForTokenClassification",
}
"""Every saved folder names all of these, whichever class was saved, so that any Auto class can open it."""

PIPELINES_MODULE = "pipeline_medm_plm"
"""The file of the pipelines, which lies beside this one and travels with fine-tuned models."""


TEXT_PREFIX_MODEL_TYPES = (
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "ernie",
    "modernbert",
    "roberta",
    "xlm-roberta",
)
"""Text encoders whose layers can be run one by one from outside, so that a run can start in the middle. The
layers of MPNet take a bias, and those of Megatron-BERT give tuples; both are always run as a whole."""

NOTE_INPUTS = ("input_ids", "inputs_embeds", "text_prefix_states")
"""The ways to give a note."""

VISIT_VECTORS = ("text_pooler_output", "code_pooler_output", "text_augmented_output", "code_augmented_output")
"""The fields of the outputs that hold one vector per visit."""


@dataclass
class MedMPLMModelOutput(ModelOutput):
    """What the encoders and the cross-modal module say about a visit; a missing modality leaves None.

    Args:
        text_last_hidden_state (`torch.FloatTensor` of shape `(batch, words, hidden)`): token states of the
            note, Z_W.
        code_last_hidden_state (`torch.FloatTensor` of shape `(batch, codes, hidden)`): states of the codes,
            Z_C.
        text_pooler_output (`torch.FloatTensor` of shape `(batch, hidden)`): visit-level text state, z_W.
        code_pooler_output (`torch.FloatTensor` of shape `(batch, hidden)`): visit-level code state, z_C.
        text_augmented_output (`torch.FloatTensor` of shape `(batch, hidden)`): R_Text of equation 7.
        code_augmented_output (`torch.FloatTensor` of shape `(batch, hidden)`): R_Code of equation 6.
        hidden_states, attentions: of the text encoder, one per layer, on request. Where notes have several
            chunks, attentions have one row per chunk with tokens instead of one per note.
        code_hidden_states, code_attentions: of the code encoder, one per layer, on request.
        note_token_attentions (`torch.FloatTensor` of shape `(batch, heads, words)`): weights with which the
            codes look at the note (equation 6), with `output_attentions=True`.
        code_token_attentions (`torch.FloatTensor` of shape `(batch, heads, codes)`): weights with which the
            note looks at the codes (equation 7), with `output_attentions=True`.
    """

    text_last_hidden_state: torch.FloatTensor | None = None
    code_last_hidden_state: torch.FloatTensor | None = None
    text_pooler_output: torch.FloatTensor | None = None
    code_pooler_output: torch.FloatTensor | None = None
    text_augmented_output: torch.FloatTensor | None = None
    code_augmented_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    code_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    code_attentions: tuple[torch.FloatTensor, ...] | None = None
    note_token_attentions: torch.FloatTensor | None = None
    code_token_attentions: torch.FloatTensor | None = None


@dataclass
class MedMPLMForPreTrainingOutput(ModelOutput):
    """Scores and losses of Text-to-Code and Code-to-Code prediction, then the fields of
    [`MedMPLMModelOutput`].

    Args:
        loss (`torch.FloatTensor` of shape `()`): equation 10, the sum of the two losses.
        t2c_loss, c2c_loss (`torch.FloatTensor` of shape `()`): equations 8 and 9.
        t2c_logits, c2c_logits (`torch.FloatTensor` of shape `(batch, vocab_size)`): scores of every code.
    """

    loss: torch.FloatTensor | None = None
    t2c_logits: torch.FloatTensor | None = None
    c2c_logits: torch.FloatTensor | None = None
    t2c_loss: torch.FloatTensor | None = None
    c2c_loss: torch.FloatTensor | None = None
    text_last_hidden_state: torch.FloatTensor | None = None
    code_last_hidden_state: torch.FloatTensor | None = None
    text_pooler_output: torch.FloatTensor | None = None
    code_pooler_output: torch.FloatTensor | None = None
    text_augmented_output: torch.FloatTensor | None = None
    code_augmented_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    code_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    code_attentions: tuple[torch.FloatTensor, ...] | None = None
    note_token_attentions: torch.FloatTensor | None = None
    code_token_attentions: torch.FloatTensor | None = None


@dataclass
class MedMPLMClassifierOutput(ModelOutput):
    """Scores of a task head, then the fields of [`MedMPLMModelOutput`].

    Args:
        loss (`torch.FloatTensor` of shape `()`): binary cross-entropy, when labels are given.
        logits (`torch.FloatTensor` of shape `(batch, labels)`, or `(batch, visits, labels)` for medication
            recommendation): scores before the sigmoid.
        label_attentions (`torch.FloatTensor` of shape `(batch, labels, words)`): weights with which each
            label looks at the note, with `output_attentions=True` and `classifier="label_attention"`; None in
            medication recommendation, where they would be over all words of all earlier visits.
        label_code_attentions (`torch.FloatTensor` of shape `(batch, labels, codes)`): the same over the
            codes, `[CLS]` first.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    label_attentions: torch.FloatTensor | None = None
    label_code_attentions: torch.FloatTensor | None = None
    text_last_hidden_state: torch.FloatTensor | None = None
    code_last_hidden_state: torch.FloatTensor | None = None
    text_pooler_output: torch.FloatTensor | None = None
    code_pooler_output: torch.FloatTensor | None = None
    text_augmented_output: torch.FloatTensor | None = None
    code_augmented_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    code_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    code_attentions: tuple[torch.FloatTensor, ...] | None = None
    note_token_attentions: torch.FloatTensor | None = None
    code_token_attentions: torch.FloatTensor | None = None


@dataclass
class MedMPLMTokenClassifierOutput(ModelOutput):
    """Scores of the labels of each token; `MedMPLMForTokenClassification.decode` makes labels of them.

    Args:
        loss (`torch.FloatTensor` of shape `()`): negative log-likelihood of the conditional random field, the
            mean over the sentences, when labels are given.
        logits (`torch.FloatTensor` of shape `(batch, words, labels)`): emission scores.
        text_last_hidden_state (`torch.FloatTensor` of shape `(batch, words, hidden)`): token states that the
            BiLSTM reads, Z_W.
        hidden_states, attentions: of the text encoder, one per layer, on request.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    text_last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


def ancestors_of(nodes: torch.LongTensor, node_parents: torch.LongTensor, max_depth: int) -> torch.LongTensor:
    """List the ancestors of each node, nearest first.

    Args:
        nodes (`torch.LongTensor` of shape `(nodes,)`): node ids.
        node_parents (`torch.LongTensor` of shape `(all nodes,)`): parent of each node, -1 at roots.
        max_depth (`int`): how many steps to go up.

    Returns:
        `torch.LongTensor` of shape `(nodes, max_depth)`, filled up with -1 above the root.
    """
    steps = []
    current = nodes
    for _ in range(max_depth):
        current = torch.where(current < 0, current, node_parents[current.clamp(min=0)])
        steps.append(current)
    if not steps:
        return nodes.new_empty((nodes.shape[0], 0))
    return torch.stack(steps, dim=1)


class MedMPLMOntologyGAT(nn.Module):
    """One graph attention (GAT) layer over trees, which serves both stages of the ontology embedding.

    The layer of Velickovic et al. (2018): a node weighs the linear images of its senders, itself among them,
    by a softmax over the senders of a LeakyReLU score. Equals `torch_geometric.nn.GATConv` on the same
    edges. Messages are summed at the receiver; the authors' code sums them at the sender, so no ancestor
    ever reaches a code there.
    """

    def __init__(self, config: MedMPLMCodeConfig):
        super().__init__()
        self.num_heads = config.ontology_num_attention_heads
        self.head_size = config.ontology_embedding_size
        self.negative_slope = config.ontology_negative_slope
        self.projection = nn.Linear(config.hidden_size, self.num_heads * self.head_size, bias=False)
        self.receiver_weight = nn.Parameter(torch.empty(self.num_heads, self.head_size))
        self.sender_weight = nn.Parameter(torch.empty(self.num_heads, self.head_size))
        self.bias = nn.Parameter(torch.empty(self.num_heads * self.head_size))

    def project(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images of the nodes `(nodes, heads, head size)`, their scores as receiver and as sender."""
        images = self.projection(nodes).view(-1, self.num_heads, self.head_size)
        return images, (images * self.receiver_weight).sum(-1), (images * self.sender_weight).sum(-1)

    def gather_children(self, nodes: torch.Tensor, parents: torch.LongTensor) -> torch.Tensor:
        """Equation 1: every node attends to its direct children and itself.

        Args:
            nodes (`torch.FloatTensor` of shape `(nodes, hidden)`): node vectors.
            parents (`torch.LongTensor` of shape `(nodes,)`): row of each node's parent, -1 at roots.

        Returns:
            `torch.FloatTensor` of shape `(nodes, hidden)`.
        """
        images, as_receiver, as_sender = self.project(nodes)
        has_parent = (parents >= 0).unsqueeze(-1)
        receivers = torch.where(parents >= 0, parents, 0)
        own_score = nn.functional.leaky_relu(as_receiver + as_sender, self.negative_slope)
        child_score = nn.functional.leaky_relu(as_receiver[receivers] + as_sender, self.negative_slope)
        child_score = child_score.masked_fill(~has_parent, torch.finfo(child_score.dtype).min)

        index = receivers.unsqueeze(-1).expand_as(child_score)
        # The maximum only keeps exp() in range and cancels in the ratio, so no gradient flows through it.
        highest = own_score.detach().scatter_reduce(0, index, child_score.detach(), reduce="amax")
        own_weight = torch.exp(own_score - highest)
        child_weight = torch.exp(child_score - highest[receivers]) * has_parent
        total = own_weight.scatter_add(0, index, child_weight)
        messages = images * own_weight.unsqueeze(-1)
        messages = messages.index_add(0, receivers, images * child_weight.unsqueeze(-1))
        return (messages / total.unsqueeze(-1)).flatten(1) + self.bias

    def gather_ancestors(self, nodes: torch.Tensor, ancestors: torch.LongTensor) -> torch.Tensor:
        """Equation 2: each of the first nodes attends to all its ancestors and itself.

        Args:
            nodes (`torch.FloatTensor` of shape `(nodes, hidden)`): node vectors after the first stage.
            ancestors (`torch.LongTensor` of shape `(receivers, depth)`): rows of the ancestors of the first
                `receivers` nodes, -1 where there is none.

        Returns:
            `torch.FloatTensor` of shape `(receivers, hidden)`.
        """
        images, as_receiver, as_sender = self.project(nodes)
        rows = torch.arange(ancestors.shape[0], device=nodes.device)
        senders = torch.cat([rows.unsqueeze(1), ancestors], dim=1)  # (receivers, 1 + depth)
        absent = senders < 0
        senders = senders.clamp(min=0)
        scores = as_receiver[rows].unsqueeze(1) + as_sender[senders]  # (receivers, 1 + depth, heads)
        scores = nn.functional.leaky_relu(scores, self.negative_slope)
        scores = scores.masked_fill(absent.unsqueeze(-1), torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=1)
        return (weights.unsqueeze(-1) * images[senders]).sum(dim=1).flatten(1) + self.bias


class MedMPLMOntologyEmbedding(nn.Embedding):
    """Embedding of codes that knows their place in the ICD and ATC hierarchies (equations 1 and 2).

    The weight holds one vector per node: special tokens and codes first, inner nodes after them. Two rounds
    of one graph attention layer turn it into the vectors that are looked up. The tree is a persistent
    integer buffer, so a downloaded checkpoint needs no ontology file.
    """

    def __init__(self, config: MedMPLMCodeConfig):
        super().__init__(config.num_ontology_nodes, config.hidden_size)
        self.max_depth = config.max_ontology_depth
        self.graph_attention = MedMPLMOntologyGAT(config)
        self.register_buffer("node_parents", torch.full((config.num_ontology_nodes,), -1), persistent=True)
        self._table: tuple[tuple, torch.Tensor] | None = None

    def forward(self, input_ids: torch.LongTensor) -> torch.Tensor:
        """Look up the vectors of codes.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, codes)`): code ids; ids of inner nodes are
                allowed and stand for a code that is only known by its place in the hierarchy.

        Returns:
            `torch.FloatTensor` of shape `(batch, codes, hidden)`.
        """
        if _is_traced():
            return nn.functional.embedding(input_ids, self.full_table())
        if not torch.is_grad_enabled():
            return nn.functional.embedding(input_ids, self._cached_table())
        # What runs with gradients may be about to change, and fused optimizers leave no trace on the weights.
        self._table = None
        distinct, position = torch.unique(input_ids, return_inverse=True)
        return nn.functional.embedding(position, self.partial_table(distinct))

    def full_table(self) -> torch.Tensor:
        """Vectors of all nodes `(nodes, hidden)`."""
        every_node = torch.arange(self.num_embeddings, device=self.weight.device)
        gathered = self.graph_attention.gather_children(self.weight, self.node_parents)
        ancestors = ancestors_of(every_node, self.node_parents, self.max_depth)
        return self.graph_attention.gather_ancestors(gathered, ancestors)

    def partial_table(self, nodes: torch.LongTensor) -> torch.Tensor:
        """Rows of `full_table`, computed from nothing but the subtrees they need.

        A node needs its ancestors (stage two), and all of these need their children (stage one). Nothing
        else can change the result, so the gradients are those of the full computation as well.

        Args:
            nodes (`torch.LongTensor` of shape `(nodes,)`): distinct node ids.

        Returns:
            `torch.FloatTensor` of shape `(nodes, hidden)`.
        """
        ancestors = ancestors_of(nodes, self.node_parents, self.max_depth)
        is_receiver = torch.zeros(self.num_embeddings, dtype=torch.bool, device=nodes.device)
        is_receiver[nodes] = True
        is_receiver[ancestors[ancestors >= 0]] = True
        is_needed = is_receiver | (is_receiver[self.node_parents.clamp(min=0)] & (self.node_parents >= 0))
        is_needed[nodes] = False
        needed = torch.cat([nodes, is_needed.nonzero().squeeze(1)])  # the asked nodes stay in front

        row_of_node = torch.full_like(self.node_parents, -1)
        row_of_node[needed] = torch.arange(needed.shape[0], device=nodes.device)
        parents = self.node_parents[needed]
        parent_rows = torch.where(parents < 0, parents, row_of_node[parents.clamp(min=0)])
        ancestor_rows = torch.where(ancestors < 0, ancestors, row_of_node[ancestors.clamp(min=0)])
        gathered = self.graph_attention.gather_children(self.weight[needed], parent_rows)
        return self.graph_attention.gather_ancestors(gathered, ancestor_rows)

    def _cached_table(self) -> torch.Tensor:
        """The full table, computed once and again only when a weight or the tree has changed."""
        sources = [*self.parameters(), self.node_parents]
        device = self.weight.device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        key = (precision, *((id(s), _version(s), s.device, s.dtype) for s in sources))
        if self._table is None or self._table[0] != key:
            self._table = (key, self.full_table())
        return self._table[1]


class MedMPLMCodeEmbeddings(nn.Module):
    """Sum of a code's and its kind's vector, normalised. A visit's codes are a set, without positions."""

    def __init__(self, config: MedMPLMCodeConfig):
        super().__init__()
        if config.embedding_type == "ontology":
            self.word_embeddings: nn.Embedding = MedMPLMOntologyEmbedding(config)
        else:
            self.word_embeddings = nn.Embedding(config.num_ontology_nodes, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: torch.LongTensor | None,
        token_type_ids: torch.LongTensor | None,
        inputs_embeds: torch.FloatTensor | None,
    ) -> torch.Tensor:
        if inputs_embeds is None:
            inputs_embeds = self.word_embeddings(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros(
                inputs_embeds.shape[:-1], dtype=torch.long, device=inputs_embeds.device
            )
        embeddings = inputs_embeds + self.token_type_embeddings(token_type_ids)
        return self.dropout(self.LayerNorm(embeddings))  # (batch, codes, hidden)


class MedMPLMPreTrainedModel(PreTrainedModel):
    """Weights, saving, loading and freezing, common to all MedM-PLM models."""

    config: MedMPLMConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("text",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["BertLayer", "MedMPLMCodeEmbeddings"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _auto_class = "AutoModel"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MedMPLMOntologyGAT):
            # Glorot, as in the graph attention paper: two rounds with small normal weights would shrink the
            # codes' vectors to a tenth of the type embedding they are added to.
            for weight in (module.projection.weight, module.receiver_weight, module.sender_weight):
                init.xavier_uniform_(weight)
            init.zeros_(module.bias)
        elif isinstance(module, MedMPLMCrossModalProjection):
            init.xavier_uniform_(module.weight)
        elif isinstance(module, MedMPLMLabelEvidence | MedMPLMLabelWiseHead | MedMPLMTokenWeights):
            module.initialize()
        elif isinstance(module, MedMPLMOntologyEmbedding):
            init.copy_(module.node_parents, torch.full_like(module.node_parents, -1))
        elif isinstance(module, nn.LSTM):
            for weight in module.parameters():  # as torch does it; the library knows no recurrent layers
                init.uniform_(weight, -(module.hidden_size**-0.5), module.hidden_size**-0.5)
        elif isinstance(module, MedMPLMConditionalRandomField):
            for scores in module.parameters():
                init.zeros_(scores)

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def _encode(self, **inputs: Any) -> MedMPLMModelOutput:
        """Run the base model of a head; a visit without codes is `[CLS]` alone."""
        return self.model(return_dict=True, **self._with_codes(inputs))

    def _with_codes(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if inputs.get("code_input_ids") is None and inputs.get("code_inputs_embeds") is None:
            note = _first_given(inputs.get(name) for name in NOTE_INPUTS)
            cls = self.config.code_config.cls_token_id
            inputs["code_input_ids"] = torch.full((note.shape[0], 1), cls, device=note.device)
        return inputs

    def _encode_and_embed(self, **inputs: Any) -> tuple[MedMPLMModelOutput, torch.Tensor]:
        """As `_encode`; also the codes as a label head reads them, `(batch, codes, hidden)`."""
        inputs = self._with_codes(inputs)
        vectors, codes = self._embed_codes(
            inputs["code_input_ids"], inputs.get("code_token_type_ids"), inputs.get("code_inputs_embeds")
        )
        inputs |= {"code_input_ids": None, "code_inputs_embeds": vectors}
        return self.model(return_dict=True, **inputs), codes

    def _embed_codes(
        self,
        input_ids: torch.LongTensor | None,
        token_type_ids: torch.LongTensor | None,
        inputs_embeds: torch.FloatTensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The vectors of codes, which the code encoder takes, and with their kind and normalised."""
        embeddings = self.model.code_model.embeddings
        if inputs_embeds is None:
            inputs_embeds = embeddings.word_embeddings(input_ids)
        return inputs_embeds, embeddings(None, token_type_ids, inputs_embeds)

    push_to_hub = refuse_upload

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Save weights, configuration and code so that every Auto class can open the folder."""
        if kwargs.pop("push_to_hub", False):
            refuse_upload()
        auto_map = dict(AUTO_MAP)
        if isinstance(self, MedMPLMVisitClassifier | MedMPLMForMedicationRecommendation):
            auto_map["AutoModelForSequenceClassification"] = f"modeling_medm_plm.{type(self).__name__}"
        if isinstance(self.config, PreTrainedConfig) and self.config.model_type == MedMPLMConfig.model_type:
            self.config.auto_map = {**(getattr(self.config, "auto_map", None) or {}), **auto_map}
            self._name_pipelines()
        super().save_pretrained(save_directory, **kwargs)
        target = Path(save_directory, f"{PIPELINES_MODULE}.py")
        is_wanted = kwargs.get("is_main_process", True) and hasattr(self.config, "custom_pipelines")
        if is_wanted and not (target.is_file() and target.samefile(_pipelines_file())):
            shutil.copyfile(_pipelines_file(), target)

    def _name_pipelines(self) -> None:
        """Let `transformers.pipeline` serve a fine-tuned model from its folder alone.

        The configuration names a pipeline only where its file is at hand, as it is not if the model was
        itself opened from a folder by an Auto class.
        """
        names = pipelines_of(self.config, type(self).__name__) if _pipelines_file().is_file() else {}
        if names:
            self.config.custom_pipelines = names
        elif hasattr(self.config, "custom_pipelines"):
            del self.config.custom_pipelines

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint. Loading replaces the parameters, so the frozen text layers are frozen again."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for module in model.modules():
            if isinstance(module, MedMPLMModel):
                module.freeze_text_layers()
        return loaded

    @classmethod
    def from_text_pretrained(
        cls,
        text_model_name_or_path: str,
        code_config: MedMPLMCodeConfig | dict | None = None,
        node_parents: list[int] | torch.LongTensor | None = None,
        text_model_kwargs: dict[str, Any] | None = None,
        **config_fields: Any,
    ) -> "MedMPLMPreTrainedModel":
        """Build a model whose text encoder is a published one; everything else is new.

        Args:
            text_model_name_or_path (`str`): a checkpoint of one of the allowed text model types.
            code_config ([`MedMPLMCodeConfig`] or `dict`, *optional*): shape of the code encoder.
            node_parents (`list[int]` or `torch.LongTensor`, *optional*): see [`~MedMPLMModel.set_ontology`].
            text_model_kwargs (`dict`, *optional*): passed on to loading the text encoder, for
                instance `revision`.
            config_fields: fields of [`MedMPLMConfig`].

        Returns:
            The model, in evaluation mode.

        Raises:
            ValueError: if the checkpoint is of a type that MedM-PLM does not read.
        """
        text_model_kwargs = dict(text_model_kwargs or {})
        text_config = AutoConfig.from_pretrained(text_model_name_or_path, **text_model_kwargs)
        config = MedMPLMConfig(text_config=text_config, code_config=code_config, **config_fields)
        dtype = text_model_kwargs.pop("dtype", torch.float32)
        text_model = AutoModel.from_pretrained(
            text_model_name_or_path,
            config=text_config,
            dtype=dtype,
            **_without_pooler(text_config),
            **text_model_kwargs,
        )
        model = cls(config).to(dtype)
        base = model if isinstance(model, MedMPLMModel) else model.model
        base.text_model.load_state_dict(text_model.state_dict())
        if node_parents is not None:
            base.set_ontology(node_parents)
        return model.eval()


class MedMPLMCodeModel(MedMPLMPreTrainedModel):
    """Encoder of a visit's codes (equations 1, 2, 5): ontology embedding, Transformer without positions."""

    config: MedMPLMCodeConfig
    _can_record_outputs = {"hidden_states": BertLayer, "attentions": BertSelfAttention}

    def __init__(self, config: MedMPLMCodeConfig):
        super().__init__(config)
        self.embeddings = MedMPLMCodeEmbeddings(config)
        self.layers = nn.ModuleList([BertLayer(config, layer_idx=i) for i in range(config.num_hidden_layers)])
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings.word_embeddings = value

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Refused: a code stands in a tree, so a vocabulary cannot grow without its hierarchy.

        Raises:
            ValueError: always, with the remedy.
        """
        raise ValueError(
            "The code vocabulary cannot be resized, because every code has a place in its ontology. Build a "
            "model with the new vocabulary (`code_config.vocab_size`, `num_ontology_nodes`) and call "
            "`set_ontology` on it."
        )

    def set_ontology(self, node_parents: list[int] | torch.LongTensor) -> None:
        """Give the codes their places in the hierarchies; see [`~MedMPLMModel.set_ontology`]."""
        embedding = self.embeddings.word_embeddings
        if not isinstance(embedding, MedMPLMOntologyEmbedding):
            raise ValueError("`embedding_type` is 'plain', which has no ontology. Set it to 'ontology'.")
        parents = torch.as_tensor(node_parents, dtype=torch.long, device=embedding.node_parents.device)
        _check_node_parents(parents, self.config)
        embedding.node_parents.copy_(parents)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Encode the codes of visits.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, codes)`): `[CLS]`, then the codes.
            attention_mask (`torch.Tensor` of shape `(batch, codes)`, *optional*): 1 at codes, 0 at padding.
            token_type_ids (`torch.LongTensor` of shape `(batch, codes)`, *optional*): kind of each code.
            inputs_embeds (`torch.FloatTensor` of shape `(batch, codes, hidden)`, *optional*): in place of
                `input_ids`.

        Returns:
            States `(batch, codes, hidden)` and the state of `[CLS]` as `pooler_output` `(batch, hidden)`.

        Raises:
            ValueError: unless exactly one of `input_ids` and `inputs_embeds` is given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of `input_ids` and `inputs_embeds`.")
        hidden_states = self.embeddings(input_ids, token_type_ids, inputs_embeds)
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask
        )
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, **kwargs)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=hidden_states[:, 0])


class MedMPLMCrossModalProjection(nn.Linear):
    """Linear layer that starts from Glorot's weights: with 0.02 every score is about zero.

    A class of its own, because the library passes over modules without weights of their own when it fills
    those of a custom model, so that the layer around could not do it.
    """


class MedMPLMCrossModalLayer(nn.Module):
    """Let one modality's visit vector collect what the other modality says (equations 6 and 7).

    The paper leaves the projections between the two widths open; ours are linear. One query meets many
    tokens, so the key and value projections are applied to the query and to the collected vector instead of
    to every token, which gives the same numbers for a fraction of the work. For the same reason the key
    needs no bias: it would add the same score to every token.
    """

    def __init__(self, config: MedMPLMConfig, query_size: int, token_size: int):
        super().__init__()
        self.num_heads = config.cross_modal_num_attention_heads
        self.head_size = query_size // self.num_heads
        self.query = MedMPLMCrossModalProjection(query_size, query_size)
        self.key = MedMPLMCrossModalProjection(token_size, query_size, bias=False)
        self.value = MedMPLMCrossModalProjection(token_size, query_size)

    def forward(
        self, query: torch.Tensor, tokens: torch.Tensor, token_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment a visit vector.

        Args:
            query (`torch.FloatTensor` of shape `(batch, hidden)`): pooled state of the asking modality.
            tokens (`torch.FloatTensor` of shape `(batch, tokens, other hidden)`): states of the answering
                modality.
            token_mask (`torch.Tensor` of shape `(batch, tokens)`, *optional*): true at real tokens, at least
                one a row.

        Returns:
            The augmented vector `(batch, hidden)` and the weights `(batch, heads, tokens)`, which sum to one.
        """
        heads = (self.num_heads, self.head_size)
        queries = self.query(query).unflatten(-1, heads)  # (batch, heads, head size)
        key_weight = self.key.weight.unflatten(0, heads)
        scores = torch.einsum("bhs,hst->bht", queries, key_weight)  # (batch, heads, other hidden)
        scores = scores @ tokens.transpose(1, 2) / self.head_size**0.5  # (batch, heads, tokens)
        if token_mask is not None:
            scores = scores.masked_fill(~token_mask.bool().unsqueeze(1), torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        value_weight = self.value.weight.unflatten(0, heads)
        collected = torch.einsum("bht,hst->bhs", weights @ tokens, value_weight).flatten(1) + self.value.bias
        return query + collected, weights


class _NoteChunks:
    """Cuts long notes into the chunks that a text encoder reads, and puts what it says of them back.

    Chunks become rows, `(rows, length)`; only those with tokens do, except in a traced graph, whose shapes
    must not depend on values. The first chunk of a note is always read.

    Args:
        note (`torch.Tensor` of shape `(batch, words, ...)`): ids or states of the notes.
        attention_mask (`torch.Tensor` of shape `(batch, words)`, *optional*): 1 at tokens, 0 at padding.
        length (`int`): tokens of a chunk.
        padding_id (`int`): id of padding.

    Raises:
        ValueError: if the chunks of a note do not all begin with the same token, `[CLS]`.
    """

    def __init__(self, note: torch.Tensor, attention_mask: torch.Tensor | None, length: int, padding_id: int):
        if attention_mask is None:
            attention_mask = note.new_ones(note.shape[:2], dtype=torch.long)
        self.num_words, self.length, self.padding_id = note.shape[1], length, padding_id
        self.tokens = self._fold(attention_mask)  # (batch, chunks, length)
        self.is_read = self.tokens.bool().any(dim=-1)
        self.is_read[:, 0] = True
        if not _is_traced() and note.dim() == 2:
            starts = note[:, ::length]
            if ((starts != starts[:, :1]) & self.is_read).any():
                raise ValueError(
                    f"The notes are not laid out in chunks of {length} tokens. Set `max_note_chunks` and "
                    "`chunk_length` of the processor as in the configuration."
                )

    def _fold(self, values: torch.Tensor, padding: int = 0) -> torch.Tensor:
        """`(batch, words, ...)` to `(batch, chunks, length, ...)`."""
        missing = -values.shape[1] % self.length
        padded = nn.functional.pad(values, (0, 0) * (values.dim() - 2) + (0, missing), value=padding)
        return padded.unflatten(1, (-1, self.length))

    def cut(self, note: dict[str, torch.Tensor | None]) -> dict[str, torch.Tensor | None]:
        """The inputs of the text encoder, one row for each chunk, and their attention mask."""
        rows: dict[str, torch.Tensor | None] = {}
        for name, values in note.items():
            if values is None or name == "attention_mask":
                rows[name] = None
            elif values.dim() == 1:  # one value for a note
                rows[name] = _select_visits(values.unsqueeze(1).expand_as(self.is_read), self.is_read)
            else:
                padding = self.padding_id if name == "input_ids" else 0
                rows[name] = _select_visits(self._fold(values, padding), self.is_read)
        # Where all chunks are computed, one without tokens looks at its padding: it must look at something.
        tokens = torch.where(self.is_read.unsqueeze(-1), self.tokens, 1)
        return {**rows, "attention_mask": _select_visits(tokens, self.is_read)}

    def join(self, rows: torch.Tensor) -> torch.Tensor:
        """Token states `(rows, length, hidden)` to `(batch, words, hidden)`, zero where nothing was read."""
        return _scatter_visits(rows, self.is_read).flatten(1, 2)[:, : self.num_words]

    def mean(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean over the chunks of each note, `(rows, hidden)` to `(batch, hidden)`."""
        return _scatter_visits(rows, self.is_read).sum(dim=1) / self.is_read.sum(dim=1, keepdim=True)


class MedMPLMModel(MedMPLMPreTrainedModel):
    """The note encoder, the code encoder and the cross-modal module (equations 1 to 7).

    Runs on notes and codes together, on notes alone and on codes alone.

    Args:
        config ([`MedMPLMConfig`]): the shape of all parts.
        with_codes (`bool`, defaults to `True`): false leaves out the code encoder and the cross-modal module,
            for a head that reads notes alone: weights without a gradient would stop distributed training.
    """

    def __init__(self, config: MedMPLMConfig, with_codes: bool = True):
        super().__init__(config)
        text_size, code_size = config.text_config.hidden_size, config.code_config.hidden_size
        text_class = MODEL_MAPPING[type(config.text_config)]
        # The pooler is left out: its weights would never get a gradient, which distributed training refuses.
        self.text_model = text_class._from_config(config.text_config, **_without_pooler(config.text_config))
        self.code_model = MedMPLMCodeModel._from_config(config.code_config) if with_codes else None
        if config.use_cross_modal and with_codes:
            self.text_cross_modal = MedMPLMCrossModalLayer(config, text_size, code_size)
            self.code_cross_modal = MedMPLMCrossModalLayer(config, code_size, text_size)
        self._text_arguments = frozenset(inspect.signature(self.text_model.forward).parameters)
        self.post_init()
        self.freeze_text_layers()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def set_ontology(self, node_parents: list[int] | torch.LongTensor) -> None:
        """Give the codes their places in the hierarchies.

        Args:
            node_parents (`list[int]` or `torch.LongTensor` of shape `(nodes,)`): row of the parent of each
                node, -1 at special tokens and at roots.

        Raises:
            ValueError: if the length, a parent or the depth does not fit the configuration, or a node is its
                own ancestor.
        """
        self.code_model.set_ontology(node_parents)

    def frozen_text_modules(self) -> list[nn.Module]:
        """The embeddings and first layers of the text encoder that `num_frozen_text_layers` freezes."""
        num_frozen = self.config.num_frozen_text_layers
        if not num_frozen:
            return []
        return [*_text_embeddings(self.text_model), *_text_layers(self.text_model)[:num_frozen]]

    def freeze_text_layers(self) -> None:
        """Stop training the frozen layers. May be called twice; called after building and loading."""
        for module in self.frozen_text_modules():
            module.requires_grad_(False)
            module.eval()

    def train(self, mode: bool = True) -> "MedMPLMModel":
        """Frozen layers stay in evaluation mode: their output is then a function of the note alone."""
        super().train(mode)
        for module in self.frozen_text_modules():
            module.eval()
        return self

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        code_input_ids: torch.LongTensor | None = None,
        code_attention_mask: torch.Tensor | None = None,
        code_token_type_ids: torch.LongTensor | None = None,
        code_inputs_embeds: torch.FloatTensor | None = None,
        text_prefix_states: torch.FloatTensor | None = None,
        text_prefix_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MedMPLMModelOutput:
        """Encode visits.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, words)`, *optional*): note tokens.
            attention_mask (`torch.Tensor` of shape `(batch, words)`, *optional*): 1 at tokens, 0 at padding.
            token_type_ids, position_ids (`torch.LongTensor` of shape `(batch, words)`, *optional*): passed
                on to the text encoder where it takes them.
            inputs_embeds (`torch.FloatTensor` of shape `(batch, words, hidden)`, *optional*): instead of
                `input_ids`.
            code_input_ids (`torch.LongTensor` of shape `(batch, codes)`, *optional*): `[CLS]`, then the
                codes.
            code_attention_mask (`torch.Tensor` of shape `(batch, codes)`, *optional*): 1 at codes, 0 at
                padding.
            code_token_type_ids (`torch.LongTensor` of shape `(batch, codes)`, *optional*): 0 special, 1
                diagnosis, 2 medication.
            code_inputs_embeds (`torch.FloatTensor` of shape `(batch, codes, hidden)`, *optional*): instead of
                `code_input_ids`.
            text_prefix_states (`torch.FloatTensor` of shape `(batch, words, hidden)`, *optional*): what
                `encode_text_prefix` returned for the notes, in any precision; only the live layers run, and
                `input_ids` are not read.
            text_prefix_mask (`torch.Tensor` of shape `(batch,)`, *optional*): 1 where `text_prefix_states`
                holds the note, 0 where the frozen layers still have to read it from `input_ids`.
            output_attentions (`bool`, *optional*): return the attention weights of both encoders (needs
                `attn_implementation="eager"`) and of the cross-modal module.
            output_hidden_states (`bool`, *optional*): return the states after every layer.

        Returns:
            [`MedMPLMModelOutput`]; with one modality only, the other one's fields are None and the augmented
            vector is the pooled one.

        Raises:
            ValueError: if neither a note nor codes are given, or a long note is not laid out in chunks of
                `chunk_length` tokens, at most `max_note_chunks` of them.
        """
        has_text = any(note is not None for note in (input_ids, inputs_embeds, text_prefix_states))
        has_codes = code_input_ids is not None or code_inputs_embeds is not None
        if not has_text and not has_codes:
            raise ValueError("Give `input_ids` (a note), `code_input_ids` (codes), or both.")
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        kwargs |= {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}

        visit: dict[str, Any] = {}
        if has_text:
            note = {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "token_type_ids": token_type_ids,
                "position_ids": position_ids,
                "inputs_embeds": inputs_embeds,
                "text_prefix_states": text_prefix_states,
                "text_prefix_mask": text_prefix_mask,
            }
            visit |= self._encode_notes(note, **kwargs)
        if has_codes:
            codes = self.code_model(
                input_ids=code_input_ids,
                attention_mask=code_attention_mask,
                token_type_ids=code_token_type_ids,
                inputs_embeds=code_inputs_embeds,
                **kwargs,
            )
            visit["code_last_hidden_state"] = codes.last_hidden_state
            visit["code_pooler_output"] = codes.pooler_output
            visit["code_hidden_states"], visit["code_attentions"] = codes.hidden_states, codes.attentions
        visit |= self._augment(visit, attention_mask, code_attention_mask)
        if not output_attentions:
            visit["note_token_attentions"] = visit["code_token_attentions"] = None
        return MedMPLMModelOutput(**visit)

    @torch.no_grad()
    def encode_text_prefix(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
    ) -> torch.FloatTensor:
        """Output of the frozen text layers, which depends on the note alone and can be kept.

        Args:
            input_ids, attention_mask, token_type_ids (`torch.Tensor` of shape `(batch, words)`): the notes,
                as `forward` takes them.

        Returns:
            `torch.FloatTensor` of shape `(batch, words, hidden)`, for `text_prefix_states`.

        Raises:
            ValueError: if nothing is frozen, or the text encoder's layers cannot be run one by one.
        """
        if not self.has_text_prefix:
            raise ValueError(
                f"`num_frozen_text_layers` is {self.config.num_frozen_text_layers} and the text encoder is "
                f"{self.config.text_config.model_type!r}. A prefix needs at least one frozen layer and one "
                f"of {', '.join(TEXT_PREFIX_MODEL_TYPES)}."
            )
        if (chunks := self._chunks_of(input_ids, attention_mask)) is not None:
            note = {"input_ids": input_ids, "token_type_ids": token_type_ids}
            return chunks.join(self.encode_text_prefix(**chunks.cut(note)))
        types = {} if "token_type_ids" not in self._text_arguments else {"token_type_ids": token_type_ids}
        states = self.text_model.embeddings(input_ids=input_ids, **types)
        if (projection := getattr(self.text_model, "embeddings_project", None)) is not None:
            states = projection(states)
        return self._run_text_layers(states, attention_mask, slice(self.config.num_frozen_text_layers))

    @property
    def has_text_prefix(self) -> bool:
        """Whether the frozen layers can be computed apart from the live ones."""
        text_config = self.config.text_config
        known = text_config.model_type in TEXT_PREFIX_MODEL_TYPES
        return (
            known and self.config.num_frozen_text_layers > 0 and not getattr(text_config, "is_decoder", False)
        )

    def _chunks_of(self, note: torch.Tensor, attention_mask: torch.Tensor | None) -> "_NoteChunks | None":
        """How the notes are to be cut, None where each of them is one chunk."""
        length, most = self.config.chunk_length, self.config.max_note_chunks
        if most == 1 or note.shape[1] <= length:
            return None
        if note.shape[1] > most * length:
            raise ValueError(
                f"A note has {note.shape[1]} tokens, but the configuration allows {most} chunks of {length}. "
                "Set `max_note_chunks` and `chunk_length` of the processor as in the configuration."
            )
        return _NoteChunks(note, attention_mask, length, self.config.text_config.pad_token_id or 0)

    def _encode_notes(self, note: dict[str, torch.Tensor | None], **kwargs: Any) -> dict[str, Any]:
        """The fields of the output that concern the notes; of long ones each chunk is read by itself."""
        chunks = self._chunks_of(
            _first_given(map(note.get, NOTE_INPUTS)), attention_mask := note["attention_mask"]
        )
        if chunks is None:
            text = self._encode_text(note, **kwargs)
            pooled = self._pool_text(text.last_hidden_state, attention_mask)
            words, hidden_states = text.last_hidden_state, text.hidden_states
        else:
            note = chunks.cut(note)
            text = self._encode_text(note, **kwargs)
            pooled = chunks.mean(self._pool_text(text.last_hidden_state, note["attention_mask"]))
            pooled = self._normalize_text(pooled)
            words = chunks.join(text.last_hidden_state)
            hidden_states = text.hidden_states and tuple(map(chunks.join, text.hidden_states))
        return {
            "text_last_hidden_state": words,
            "text_pooler_output": pooled,
            "hidden_states": hidden_states,
            "attentions": text.attentions,
        }

    def _encode_text(self, note: dict[str, torch.Tensor | None], **kwargs: Any) -> BaseModelOutputWithPooling:
        """Run the text encoder, or its live layers where the output of the frozen ones is given."""
        if note["text_prefix_states"] is not None:
            words = {name: note[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
            states = self._complete_prefix(note["text_prefix_states"], note["text_prefix_mask"], words)
            return self._encode_live_layers(states, note["attention_mask"])
        optional = {name: note[name] for name in ("token_type_ids", "position_ids")}
        kwargs |= {k: v for k, v in optional.items() if v is not None and k in self._text_arguments}
        return self.text_model(
            input_ids=note["input_ids"],
            inputs_embeds=note["inputs_embeds"],
            attention_mask=note["attention_mask"],
            **kwargs,
        )

    def _complete_prefix(
        self, states: torch.FloatTensor, given: torch.Tensor | None, words: dict[str, torch.Tensor | None]
    ) -> torch.FloatTensor:
        """Bring kept states to the model's precision and compute those of the notes that have none."""
        states = states.to(self.text_model.dtype)
        if given is None or given.all():
            return states
        if words["input_ids"] is None:
            raise ValueError("Give `input_ids` too where `text_prefix_mask` says that states are missing.")
        missing = ~given.bool()
        selected = {name: None if values is None else values[missing] for name, values in words.items()}
        return states.index_put((missing,), self.encode_text_prefix(**selected).to(states.dtype))

    def _encode_live_layers(
        self, states: torch.FloatTensor, attention_mask: torch.Tensor | None
    ) -> BaseModelOutputWithPooling:
        """Go on from the frozen layers' output through the live ones."""
        states = self._run_text_layers(
            states, attention_mask, slice(self.config.num_frozen_text_layers, None)
        )
        if (final_norm := getattr(self.text_model, "final_norm", None)) is not None:
            states = final_norm(states)
        return BaseModelOutputWithPooling(last_hidden_state=states)

    def _run_text_layers(
        self, states: torch.FloatTensor, attention_mask: torch.Tensor | None, part: slice
    ) -> torch.FloatTensor:
        """Run some of the text encoder's layers as the encoder itself does; ModernBERT's are of two kinds."""
        config = self.text_model.config
        inputs = {"config": config, "inputs_embeds": states, "attention_mask": attention_mask}
        arguments = {"full_attention": {"attention_mask": create_bidirectional_mask(**inputs)}}
        if (rotary_embedding := getattr(self.text_model, "rotary_emb", None)) is not None:
            local_mask = create_bidirectional_sliding_window_mask(**inputs)
            arguments["sliding_attention"] = {"attention_mask": local_mask}
            positions = torch.arange(states.shape[1], device=states.device).unsqueeze(0)
            for kind in set(config.layer_types):
                arguments[kind]["position_embeddings"] = rotary_embedding(states, positions, kind)
        for layer in _text_layers(self.text_model)[part]:
            states = layer(states, **arguments[getattr(layer, "attention_type", "full_attention")])
        return states

    def _normalize_text(self, states: torch.Tensor) -> torch.Tensor:
        if not self.config.normalize_text_states:
            return states
        return nn.functional.layer_norm(states, states.shape[-1:])

    def _pool_text(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        states = self._normalize_text(states)
        if self.config.text_pooling == "cls":
            return states[:, 0]
        if mask is None:
            return self._normalize_text(states.mean(dim=1))
        weight = mask.to(states.dtype).unsqueeze(-1)
        return self._normalize_text((states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0))

    def _augment(
        self,
        visit: dict[str, Any],
        attention_mask: torch.Tensor | None,
        code_attention_mask: torch.Tensor | None,
    ) -> dict[str, torch.Tensor | None]:
        """Equations 6 and 7 where both modalities are there, the pooled vectors where not."""
        text, code = visit.get("text_pooler_output"), visit.get("code_pooler_output")
        to_words = to_codes = None
        if self.config.use_cross_modal and text is not None and code is not None:
            text, to_codes = self.text_cross_modal(text, visit["code_last_hidden_state"], code_attention_mask)
            words = self._normalize_text(visit["text_last_hidden_state"])
            code, to_words = self.code_cross_modal(code, words, attention_mask)
        return {
            "text_augmented_output": text,
            "code_augmented_output": code,
            "note_token_attentions": to_words,
            "code_token_attentions": to_codes,
        }


class MedMPLMForPreTraining(MedMPLMPreTrainedModel):
    """Text-to-Code and Code-to-Code prediction of masked codes (equations 8 to 10)."""

    def __init__(self, config: MedMPLMConfig):
        super().__init__(config)
        self.model = MedMPLMModel(config)
        self.t2c_head = _mlp(
            config.text_config.hidden_size, config.code_config.vocab_size, 1, None, 0.0, config.hidden_act
        )
        self.c2c_head = _mlp(
            config.code_config.hidden_size, config.code_config.vocab_size, 1, None, 0.0, config.hidden_act
        )
        # Trainer may divide by the number of masked codes of an accumulated batch; multi-hot targets have no
        # such count.
        self.accepts_loss_kwargs = config.pretraining_target == "masked"
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        code_input_ids: torch.LongTensor | None = None,
        code_attention_mask: torch.Tensor | None = None,
        code_token_type_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MedMPLMForPreTrainingOutput:
        """Predict codes of a visit from its note and from its other codes.

        Args:
            labels (`torch.LongTensor` of shape `(batch, codes)`, *optional*): ids of the codes to predict,
                -100 elsewhere. For `pretraining_target="masked"` these are the chosen codes, for `"all"` all
                of them.
            num_items_in_batch (`torch.Tensor` or `int`, *optional*): number of codes to predict in the
                accumulated batch, by which the losses are divided; by default the number in this batch.

        The other arguments, also `position_ids`, `inputs_embeds`, `code_inputs_embeds` and
        `text_prefix_states`, are those of [`MedMPLMModel`].

        Returns:
            [`MedMPLMForPreTrainingOutput`].
        """
        outputs = self._encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            code_input_ids=code_input_ids,
            code_attention_mask=code_attention_mask,
            code_token_type_ids=code_token_type_ids,
            **kwargs,
        )
        text, code = outputs.text_augmented_output, outputs.code_augmented_output
        t2c_logits = self.t2c_head(text) if text is not None else None  # (batch, vocab_size)
        c2c_logits = self.c2c_head(code)
        loss = t2c_loss = c2c_loss = None
        if labels is not None:
            loss_function = _code_prediction_loss(self.config.pretraining_target)
            c2c_loss = loss_function(c2c_logits, labels, num_items_in_batch)
            t2c_loss = loss_function(t2c_logits, labels, num_items_in_batch) if text is not None else None
            loss = c2c_loss if t2c_loss is None else t2c_loss + c2c_loss
        return MedMPLMForPreTrainingOutput(
            loss=loss,
            t2c_logits=t2c_logits,
            c2c_logits=c2c_logits,
            t2c_loss=t2c_loss,
            c2c_loss=c2c_loss,
            **outputs,
        )


class MedMPLMLabelEvidence(nn.Module):
    """What each label finds among tokens of one kind (words, codes).

    With x_t the states of the tokens and u, W, beta learnt for this kind alone:

        found_l = beta_l . sum_t a_lt x_t,  a_l = softmax_t(u_l . tanh(W x_t))

    The attention is that of Vu et al. (2020, LAAT).

    Args:
        config ([`MedMPLMConfig`]): number of labels and dropout, which acts on the states.
        hidden_size (`int`): width of the states.
    """

    # The name avoids the word "Attention": the library would take the class for a layer of its own kind.
    # `evidence`, and `bias` of the head, are parameters of the module itself, because the library does not
    # call `_init_weights` for a module of remote code that has none.

    def __init__(self, config: MedMPLMConfig, hidden_size: int):
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.query = nn.Linear(hidden_size, config.num_labels, bias=False)
        self.evidence = nn.Parameter(torch.empty(config.num_labels, hidden_size))

    def initialize(self) -> None:
        """Let attention differ from uniform, and let nothing be found yet."""
        init.xavier_uniform_(self.projection.weight)
        init.xavier_uniform_(self.query.weight)
        init.zeros_(self.evidence)

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Search tokens.

        Args:
            tokens (`torch.FloatTensor` of shape `(batch, tokens, hidden)`): their states.
            mask (`torch.Tensor` of shape `(batch, tokens)`, *optional*): true at tokens, at least one a row.

        Returns:
            What the labels found `(batch, labels)`; the logarithm of the sum of the exponential scores
            `(batch, labels)`, with which rows can be put together (`_found_in_earlier_visits`); and the
            weights `(batch, labels, tokens)`, which sum to one.
        """
        tokens = self.dropout(tokens)
        scores = self.query(torch.tanh(self.projection(tokens))).transpose(1, 2)  # (batch, labels, tokens)
        if mask is not None:
            scores = scores.masked_fill(~mask.bool().unsqueeze(1), torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        # beta_l . x_t first: the same sum, without a vector for each label.
        values = nn.functional.linear(tokens, self.evidence).transpose(1, 2)
        found = (weights * values).sum(dim=-1)
        return found, torch.logsumexp(scores, dim=-1), weights


class MedMPLMLabelWiseHead(nn.Module):
    """Task head in which each label also looks for its own evidence among words and codes.

        logit_l = b_l + sum over sources s of beta^s_l . sum_t a^s_lt x^s_t + MLP_l(visit vectors)

    A source is a kind of tokens with an attention of its own ([`MedMPLMLabelEvidence`]). Words are the states
    Z_W. Codes are the code encoder's embeddings, in which a code is itself whatever stands beside it, and
    begin with `[CLS]`, so that a label can turn away from all of them. The perceptron is
    the paper's head. The layers that give the logits start at zero and the bias b at the logits of
    `label_prior`, so a new head gives every visit the shares of the labels.

    Args:
        config ([`MedMPLMConfig`]): numbers of labels and hidden layers, width and dropout.
        visit_size (`int`): width of the visit vectors.
        sources (`dict[str, int]`): width of the token states of each source.

    Raises:
        ValueError: if `label_prior` is not given for all labels.
    """

    def __init__(self, config: MedMPLMConfig, visit_size: int, sources: dict[str, int]):
        super().__init__()
        if config.label_prior is not None and len(config.label_prior) != config.num_labels:
            raise ValueError(
                f"`label_prior` has {len(config.label_prior)} values for {config.num_labels} labels. "
                "Give one value for each label, or none at all."
            )
        self.label_prior = config.label_prior
        self.sources = nn.ModuleDict(
            {name: MedMPLMLabelEvidence(config, size) for name, size in sources.items()}
        )
        self.perceptron = _classifier(config, visit_size)
        self.perceptron[-1].register_parameter("bias", None)
        self.bias = nn.Parameter(torch.empty(config.num_labels))

    def initialize(self) -> None:
        """Let the logits be those of the label prior."""
        init.zeros_(self.perceptron[-1].weight)
        prior = [0.5] * len(self.bias) if self.label_prior is None else self.label_prior
        init.copy_(self.bias, torch.logit(self.bias.new_tensor(prior)))

    def forward(self, visit: torch.Tensor, found: Iterable[torch.Tensor]) -> torch.Tensor:
        """Score the labels.

        Args:
            visit (`torch.FloatTensor` of shape `(..., visit size)`): visit vectors.
            found (`Iterable[torch.FloatTensor]` of shape `(..., labels)`): what was found in each source.

        Returns:
            The logits `(..., labels)`.
        """
        return sum(found, start=self.perceptron(visit) + self.bias)


class MedMPLMTokenWeights(nn.Module):
    """A weight for each label and each token that stands in a visit: a linear model beside the deep one.

        logit_l += sum over the distinct tokens t of the visit of w_lt

    What a rare phrase says about a label takes many examples to learn through averaged states, and few
    through one weight. Cheng et al. (2016) add such a part to a deep model for the same reason.

    Args:
        config ([`MedMPLMConfig`]): number of labels and dropout, which acts on the tokens.
        vocab_size (`int`): number of tokens.
    """

    def __init__(self, config: MedMPLMConfig, vocab_size: int):
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.weight = nn.Parameter(torch.empty(vocab_size, config.num_labels))

    def initialize(self) -> None:
        """Let no token say anything yet."""
        init.zeros_(self.weight)

    def forward(self, token_ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Sum the weights of the tokens that occur.

        Args:
            token_ids (`torch.LongTensor` of shape `(batch, tokens)`): tokens; an order or a
                number of times does not count.
            mask (`torch.Tensor` of shape `(batch, tokens)`, *optional*): true at tokens.

        Returns:
            What the tokens say `(batch, labels)`.
        """
        is_token = torch.ones_like(token_ids, dtype=torch.bool) if mask is None else mask.bool()
        occurs = self.weight.new_zeros(token_ids.shape[0], self.weight.shape[0])  # (batch, vocabulary)
        # The largest of all its places: an id that also stands in the padding still occurs.
        occurs = occurs.scatter_reduce(1, token_ids, is_token.to(occurs.dtype), "amax")
        return self.dropout(occurs) @ self.weight


class MedMPLMVisitClassifier(MedMPLMPreTrainedModel):
    """A head over R_Text and R_Code of one visit, with independent labels; base of two tasks.

    With `classifier="label_attention"` each label also searches the words and codes of the visit
    ([`MedMPLMLabelWiseHead`]); with `classifier_token_weights` it also has a weight for each of them
    ([`MedMPLMTokenWeights`]).
    """

    # The loss is a mean over visits and labels, so an accumulated batch needs no other divisor.
    accepts_loss_kwargs = False

    def __init__(self, config: MedMPLMConfig):
        super().__init__(config)
        self.model = MedMPLMModel(config)
        visit_size = config.text_config.hidden_size + config.code_config.hidden_size
        if config.classifier == "label_attention":
            sources = {"words": config.text_config.hidden_size, "codes": config.code_config.hidden_size}
            self.classifier: nn.Module = MedMPLMLabelWiseHead(config, visit_size, sources)
        else:
            self.classifier = _classifier(config, visit_size)
        self.token_weights = None
        if config.classifier_token_weights:
            # Codes outside the vocabulary stand in a visit as the group that they belong to, an inner node.
            num_nodes = config.code_config.num_ontology_nodes
            self.token_weights = nn.ModuleDict(
                {
                    "words": MedMPLMTokenWeights(config, config.text_config.vocab_size),
                    "codes": MedMPLMTokenWeights(config, num_nodes),
                }
            )
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        code_input_ids: torch.LongTensor | None = None,
        code_attention_mask: torch.Tensor | None = None,
        code_token_type_ids: torch.LongTensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MedMPLMClassifierOutput:
        """Score the labels of visits.

        Args:
            labels (`torch.Tensor` of shape `(batch, labels)`, or `(batch,)` for a single label, *optional*):
                1 where a label holds, 0 where it does not.

        The other arguments, also `position_ids`, `inputs_embeds`, `code_inputs_embeds` and
        `text_prefix_states`, are those of [`MedMPLMModel`]. A visit without codes is `[CLS]` alone, and a
        visit without a note is the text tokenizer's encoding of the empty string.

        Returns:
            [`MedMPLMClassifierOutput`] with logits `(batch, labels)`.

        Raises:
            ValueError: if no note is given, or only the states of its tokens with `classifier_token_weights`.
        """
        _require_note(self, _first_given((input_ids, *map(kwargs.get, NOTE_INPUTS))))
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "code_input_ids": code_input_ids,
            "code_attention_mask": code_attention_mask,
            "code_token_type_ids": code_token_type_ids,
        }
        loss = to_words = to_codes = None
        if isinstance(self.classifier, MedMPLMLabelWiseHead):
            outputs, codes = self._encode_and_embed(**inputs, **kwargs)
            words = self.model._normalize_text(outputs.text_last_hidden_state)
            in_words, _, to_words = self.classifier.sources["words"](words, attention_mask)
            in_codes, _, to_codes = self.classifier.sources["codes"](codes, code_attention_mask)
            found = [in_words, in_codes]
        else:
            outputs, found = self._encode(**inputs, **kwargs), []
        features = torch.cat([outputs.text_augmented_output, outputs.code_augmented_output], dim=-1)
        logits = self.classifier(features, found) if found else self.classifier(features)  # (batch, labels)
        if self.token_weights is not None:
            if input_ids is None or code_input_ids is None:
                raise ValueError(
                    "Give `input_ids` and `code_input_ids`: `classifier_token_weights` reads them."
                )
            logits = logits + self.token_weights["words"](input_ids, attention_mask)
            logits = logits + self.token_weights["codes"](code_input_ids, code_attention_mask)
        if labels is not None:
            labels = labels.to(logits.dtype).view_as(logits)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        output_attentions = kwargs.get("output_attentions")
        if not (self.config.output_attentions if output_attentions is None else output_attentions):
            to_words = to_codes = None
        attentions = {"label_attentions": to_words, "label_code_attentions": to_codes}
        return MedMPLMClassifierOutput(loss=loss, logits=logits, **attentions, **outputs)


class MedMPLMForReadmissionPrediction(MedMPLMVisitClassifier):
    """Will the patient come back within 30 days? One score per visit (equations 14, 15), `num_labels` 1."""

    def __init__(self, config: MedMPLMConfig):
        if config.num_labels != 1:
            config.id2label, config.label2id = {0: "readmission"}, {"readmission": 0}
        super().__init__(config)


class MedMPLMForICDCoding(MedMPLMVisitClassifier):
    """Which codes does the visit have? One score per label (equations 16 and 17).

    The codes given as input must not be of the kind that is predicted: medications for ICD coding, as in the
    paper, or diagnoses when the medications of a visit are the labels.
    """


@dataclass
class _VisitTokens:
    """Token states of some visits of patients.

    Args:
        states (`torch.FloatTensor` of shape `(computed visits, tokens, hidden)`, *optional*): as a label head
            reads them.
        mask (`torch.Tensor` of shape `(computed visits, tokens)`, *optional*): 1 at tokens, 0 at padding.
        visits (`torch.BoolTensor` of shape `(batch, visits)`): the places of the computed visits.
        pooled (`torch.FloatTensor` of shape `(batch, visits, hidden)`, *optional*): visit-level state.
    """

    states: torch.Tensor | None
    mask: torch.Tensor | None
    visits: torch.BoolTensor
    pooled: torch.Tensor | None = None


class MedMPLMForMedicationRecommendation(MedMPLMPreTrainedModel):
    """Which medications will visit t need, given the earlier visits and t's diagnoses? (equations 11 to 13)

    The note of visit t is not read for t's medications, because a discharge summary is written after the
    prescriptions and lists them; it counts for the visits after t. With `use_current_note` a text that was
    known before the prescriptions is given apart (`current_input_ids`) and its state is one more input.

    With `classifier="label_attention"` each label also searches the words of all earlier visits, their codes,
    the diagnoses of visit t, and its text where there is one ([`MedMPLMLabelWiseHead`]).
    """

    # The loss is a mean over patients of a mean over their targets: an accumulated batch needs no divisor.
    accepts_loss_kwargs = False

    def __init__(self, config: MedMPLMConfig):
        super().__init__(config)
        if config.classifier_token_weights:
            raise ValueError(
                "`classifier_token_weights` is for heads that read one visit. Leave it out for medication "
                "recommendation."
            )
        self.model = MedMPLMModel(config)
        text_size, code_size = config.text_config.hidden_size, config.code_config.hidden_size
        sources = {"words": text_size, "codes": code_size, "current_codes": code_size}
        if config.use_current_note:
            sources["current_words"] = text_size
        if config.classifier == "label_attention":
            self.classifier: nn.Module = MedMPLMLabelWiseHead(config, sum(sources.values()), sources)
        else:
            self.classifier = _classifier(config, sum(sources.values()))
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        code_input_ids: torch.LongTensor | None = None,
        code_attention_mask: torch.Tensor | None = None,
        code_token_type_ids: torch.LongTensor | None = None,
        current_code_input_ids: torch.LongTensor | None = None,
        current_code_attention_mask: torch.Tensor | None = None,
        current_code_token_type_ids: torch.LongTensor | None = None,
        visit_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        current_input_ids: torch.LongTensor | None = None,
        current_attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MedMPLMClassifierOutput:
        """Score the medications of every visit that has an earlier one.

        Args:
            input_ids, attention_mask, token_type_ids (`torch.LongTensor` of shape `(batch, visits, words)`):
                the notes; a visit's note serves only the visits after it.
            code_input_ids, code_attention_mask, code_token_type_ids (`torch.LongTensor` of shape
                `(batch, visits, codes)`): diagnoses and medications; they too serve only later visits.
            current_code_input_ids, current_code_attention_mask, current_code_token_type_ids
                (`torch.LongTensor` of shape `(batch, visits, codes)`): what is known when a visit's
                medications are asked for, its diagnoses.
            visit_mask (`torch.Tensor` of shape `(batch, visits)`, *optional*): 1 at visits, 0 at padding.
                Visits are in the order of time. Only real visits are computed.
            labels (`torch.Tensor` of shape `(batch, visits, labels)`, *optional*): 1 where a medication was
                given, 0 where not, -100 in the rows of visits that are no target.
            current_input_ids, current_attention_mask (`torch.LongTensor` of shape `(batch, visits, words)`,
                *optional*): with `use_current_note`, a text of the visit itself that was known before its
                prescriptions, never its discharge summary.

        Returns:
            [`MedMPLMClassifierOutput`] with logits `(batch, visits, labels)`; rows of first visits and of
            padding mean nothing. The augmented and pooled vectors have shape `(batch, visits, hidden)` and
            are zero where a visit was not needed; token-level fields have one row per computed visit instead
            of `batch, visits`.

        Raises:
            ValueError: if no note is given, or the text of the current visit is given without
                `use_current_note` or is missing with it.
        """
        note = _first_given((input_ids, *map(kwargs.get, NOTE_INPUTS)))
        _require_note(self, note)
        if (current_input_ids is not None) != self.config.use_current_note:
            raise ValueError(
                "Give `current_input_ids` with `use_current_note=True` in the configuration, and only then; "
                f"it is {self.config.use_current_note}."
            )
        real = note.new_ones(note.shape[:2], dtype=torch.bool) if visit_mask is None else visit_mask.bool()
        num_earlier = real.cumsum(dim=1) - real.long()
        has_later = (real.sum(dim=1, keepdim=True) - num_earlier) > 1
        history = real & has_later  # the last visit of a patient is history for nobody
        target = real & (num_earlier > 0)

        visits = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            **{name: kwargs.pop(name, None) for name in (*NOTE_INPUTS[1:], "text_prefix_mask")},
            "code_input_ids": code_input_ids,
            "code_attention_mask": code_attention_mask,
            "code_token_type_ids": code_token_type_ids,
        }
        outputs, earlier = self._encode_history(history, visits, **kwargs)
        current = [
            self._encode_current(
                target, current_code_input_ids, current_code_attention_mask, current_code_token_type_ids
            )
        ]
        if current_input_ids is not None:
            current.append(self._encode_current_note(target, current_input_ids, current_attention_mask))
        features = torch.cat(
            [
                _mean_of_earlier(outputs.text_augmented_output, history, num_earlier),
                _mean_of_earlier(outputs.code_augmented_output, history, num_earlier),
                *(tokens.pooled for tokens in current),
            ],
            dim=-1,
        )
        if isinstance(self.classifier, MedMPLMLabelWiseHead):
            logits = self.classifier(features, self._search(earlier, current, history))
        else:
            logits = self.classifier(features)  # (batch, visits, labels)
        loss = _loss_per_patient(logits, labels) if labels is not None else None
        return MedMPLMClassifierOutput(loss=loss, logits=logits, **outputs)

    def _encode_history(
        self, history: torch.BoolTensor, visits: dict[str, torch.Tensor | None], **kwargs: Any
    ) -> tuple[MedMPLMModelOutput, list["_VisitTokens"]]:
        """Encode the visits that come before another; visit-level vectors get their visits axis back.

        Also returns their words and their codes for a label head.
        """
        if not _is_traced() and not history.any():
            # Single visits only: one row a patient is computed all the same, so every weight takes part.
            history = torch.zeros_like(history)
            history[:, 0] = True
        selected = {name: _select_visits(values, history) for name, values in visits.items()}
        tokens = []
        if isinstance(self.classifier, MedMPLMLabelWiseHead):
            outputs, codes = self._encode_and_embed(**selected, **kwargs)
            words = self.model._normalize_text(outputs.text_last_hidden_state)
            tokens = [
                _VisitTokens(words, selected["attention_mask"], history),
                _VisitTokens(codes, selected["code_attention_mask"], history),
            ]
        else:
            outputs = self._encode(**selected, **kwargs)
        for name in VISIT_VECTORS:
            outputs[name] = _scatter_visits(outputs[name], history)
        return outputs, tokens

    def _encode_current(
        self,
        target: torch.BoolTensor,
        code_input_ids: torch.LongTensor | None,
        code_attention_mask: torch.Tensor | None,
        code_token_type_ids: torch.LongTensor | None,
    ) -> "_VisitTokens":
        """The diagnoses of the visits whose medications are asked for, and their state."""
        if code_input_ids is None or not (_is_traced() or target.any()):
            return self._nothing(target, self.config.code_config.hidden_size)
        ids = _select_visits(code_input_ids, target)
        mask = _select_visits(code_attention_mask, target)
        kinds = _select_visits(code_token_type_ids, target)
        vectors = states = None
        if isinstance(self.classifier, MedMPLMLabelWiseHead):
            vectors, states = self._embed_codes(ids, kinds)
            ids = None
        codes = self.model.code_model(
            input_ids=ids, attention_mask=mask, token_type_ids=kinds, inputs_embeds=vectors
        )
        return _VisitTokens(states, mask, target, _scatter_visits(codes.pooler_output, target))

    def _encode_current_note(
        self, target: torch.BoolTensor, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None
    ) -> "_VisitTokens":
        """What is known of the visit in words, and its state, alone."""
        if not (_is_traced() or target.any()):
            return self._nothing(target, self.config.text_config.hidden_size)
        mask = _select_visits(attention_mask, target)
        text = self.model(return_dict=True, input_ids=_select_visits(input_ids, target), attention_mask=mask)
        states = self.model._normalize_text(text.text_last_hidden_state)
        return _VisitTokens(states, mask, target, _scatter_visits(text.text_pooler_output, target))

    def _nothing(self, target: torch.BoolTensor, size: int) -> "_VisitTokens":
        """One zero token for each visit, in which no label finds anything."""
        zeros = torch.zeros((*target.shape, size), dtype=self.dtype, device=target.device)
        return _VisitTokens(zeros.flatten(0, 1).unsqueeze(1), None, torch.ones_like(target), zeros)

    def _search(
        self, earlier: list["_VisitTokens"], current: list["_VisitTokens"], history: torch.BoolTensor
    ) -> list[torch.Tensor]:
        """What the labels find in each source for each visit, `(batch, visits, labels)` each.

        Args:
            earlier (`list[_VisitTokens]`): words and codes of the visits that are history.
            current (`list[_VisitTokens]`): codes, and words if they are read, of the visits asked for.
            history (`torch.BoolTensor` of shape `(batch, visits)`): visits that are history.
        """
        found = []
        for search, tokens in zip(self.classifier.sources.values(), earlier + current, strict=True):
            by_visit, log_totals, _ = search(tokens.states, tokens.mask)
            by_visit = _scatter_visits(by_visit, tokens.visits)
            if len(found) < len(earlier):
                log_totals = _scatter_visits(log_totals, tokens.visits)
                by_visit = _found_in_earlier_visits(by_visit, log_totals, history)
            found.append(by_visit)
        return found


class MedMPLMConditionalRandomField(nn.Module):
    """Linear-chain conditional random field (Lafferty et al. 2001): scores whole label sequences.

    A sequence scores the emissions of its labels, the transitions between neighbours, and a start and an end.
    All steps work on the whole batch at once, in single precision at least. Words stand at the front of their
    rows; what follows them is ignored.
    """

    def __init__(self, num_labels: int):
        super().__init__()
        self.start_scores = nn.Parameter(torch.empty(num_labels))
        self.end_scores = nn.Parameter(torch.empty(num_labels))
        self.transition_scores = nn.Parameter(torch.empty(num_labels, num_labels))  # from, to

    def forward(
        self, emissions: torch.Tensor, labels: torch.LongTensor, mask: torch.BoolTensor
    ) -> torch.Tensor:
        """Negative log-likelihood of label sequences.

        Args:
            emissions (`torch.FloatTensor` of shape `(batch, words, labels)`): scores of the labels.
            labels (`torch.LongTensor` of shape `(batch, words)`): the sequences; ignored outside the mask.
            mask (`torch.BoolTensor` of shape `(batch, words)`): true at words.

        Returns:
            `torch.FloatTensor` of shape `(batch,)`, zero for a row without words.
        """
        emissions, start, end, transitions = self._in_single_precision(emissions)
        labels = labels.masked_fill(~mask, 0)
        own = emissions.gather(2, labels.unsqueeze(2)).squeeze(2) * mask
        moves = transitions[labels[:, :-1], labels[:, 1:]] * mask[:, 1:]
        last = labels.gather(1, (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
        score = start[labels[:, 0]] + own.sum(dim=1) + moves.sum(dim=1) + end[last]

        total = start + emissions[:, 0]  # (batch, labels): log of the sum over all sequences so far
        for word in range(1, emissions.shape[1]):
            longer = torch.logsumexp(total.unsqueeze(2) + transitions, dim=1) + emissions[:, word]
            total = torch.where(mask[:, word].unsqueeze(1), longer, total)
        return (torch.logsumexp(total + end, dim=1) - score) * mask.any(dim=1)

    @torch.no_grad()
    def best_labels(
        self,
        emissions: torch.Tensor,
        mask: torch.BoolTensor,
        forbidden_starts: torch.BoolTensor,
        forbidden_transitions: torch.BoolTensor,
    ) -> torch.LongTensor:
        """Find the best label sequence of each row (Viterbi).

        Args:
            emissions (`torch.FloatTensor` of shape `(batch, words, labels)`): scores of the labels.
            mask (`torch.BoolTensor` of shape `(batch, words)`): true at words.
            forbidden_starts (`torch.BoolTensor` of shape `(labels,)`): labels no sequence begins with.
            forbidden_transitions (`torch.BoolTensor` of shape `(labels, labels)`): pairs, from and to, no
                sequence holds.

        Returns:
            `torch.LongTensor` of shape `(batch, words)`; what stands outside the mask means nothing.
        """
        emissions, start, end, transitions = self._in_single_precision(emissions)
        start = start.masked_fill(forbidden_starts, -torch.inf)
        transitions = transitions.masked_fill(forbidden_transitions, -torch.inf)
        same = torch.arange(emissions.shape[2], device=emissions.device).expand_as(emissions[:, 0])
        best, origins = start + emissions[:, 0], []
        for word in range(1, emissions.shape[1]):
            longer, origin = (best.unsqueeze(2) + transitions).max(dim=1)
            is_word = mask[:, word].unsqueeze(1)
            best = torch.where(is_word, longer + emissions[:, word], best)
            origins.append(torch.where(is_word, origin, same))
        label = (best + end).argmax(dim=1, keepdim=True)
        labels = [label]
        for origin in reversed(origins):
            label = origin.gather(1, label)
            labels.append(label)
        return torch.cat(labels[::-1], dim=1)

    def _in_single_precision(self, emissions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Sums over a sentence in half precision would lose the differences between sequences."""
        dtype = torch.promote_types(emissions.dtype, torch.float32)
        scores = (self.start_scores, self.end_scores, self.transition_scores)
        return tuple(values.to(dtype) for values in (emissions, *scores))


class MedMPLMTagger(nn.Module):
    """BiLSTM over token states and a linear layer to emission scores, with the random field over them."""

    def __init__(self, config: MedMPLMConfig):
        super().__init__()
        sizes = (config.text_config.hidden_size, config.tagger_hidden_size)
        self.forward_lstm = nn.LSTM(*sizes, batch_first=True)
        self.backward_lstm = nn.LSTM(*sizes, batch_first=True)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.emission = nn.Linear(2 * config.tagger_hidden_size, config.num_labels)
        self.random_field = MedMPLMConditionalRandomField(config.num_labels)

    def forward(self, states: torch.Tensor, mask: torch.BoolTensor) -> torch.Tensor:
        """Score the labels of each token.

        Args:
            states (`torch.FloatTensor` of shape `(batch, words, hidden)`): token states.
            mask (`torch.BoolTensor` of shape `(batch, words)`): true at tokens; padding is never read.

        Returns:
            `torch.FloatTensor` of shape `(batch, words, labels)`.
        """
        order = _marked_first(mask)
        tokens = _take(self.dropout(states), order)
        position, length = torch.arange(mask.shape[1], device=mask.device), mask.sum(dim=1, keepdim=True)
        backwards = torch.where(position < length, length - 1 - position, position)
        # Recurrent layers lose too much in half precision, and not every device has them in it.
        with torch.autocast(states.device.type, enabled=False):
            tokens = tokens.to(self.emission.weight.dtype)
            after, _ = self.forward_lstm(tokens)
            before, _ = self.backward_lstm(_take(tokens, backwards))
            both = self.dropout(torch.cat([after, _take(before, backwards)], dim=-1))
            return self.emission(_take(both, _inverse(order)))


class MedMPLMForTokenClassification(MedMPLMPreTrainedModel):
    """Which words of a note name a problem, a test, a drug? BiLSTM-CRF over the token states Z_W.

    Labels stand at the first word piece of each word and are -100 everywhere else. The BiLSTM reads every
    piece, the conditional random field runs over the words alone. No codes are read, so the model has neither
    code encoder nor cross-modal module; the weights of a pre-trained model's text encoder fit into it.

    `logits` are the scores of single labels. `decode` finds the best sequence of labels; where the names of
    all labels are of the form `O`, `B-kind`, `I-kind`, it keeps to sequences in which every `I-kind` follows
    a `B-kind` or `I-kind`. In training nothing is forbidden.
    """

    # The loss is a mean over sentences, so an accumulated batch needs no other divisor.
    accepts_loss_kwargs = False
    _keys_to_ignore_on_load_unexpected = [r"^model\.(code_model|text_cross_modal|code_cross_modal)\."]

    def __init__(self, config: MedMPLMConfig):
        super().__init__(config)
        text_config = config.text_config
        if config.tagger_use_text_encoder:
            self.model = MedMPLMModel(config, with_codes=False)
        else:
            self.token_embeddings = nn.Embedding(text_config.vocab_size, text_config.hidden_size)
        self.classifier = MedMPLMTagger(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        if not self.config.tagger_use_text_encoder:
            return self.token_embeddings
        return super().get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        if self.config.tagger_use_text_encoder:
            self.model.set_input_embeddings(value)
        else:
            self.token_embeddings = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MedMPLMTokenClassifierOutput:
        """Score the labels of the words of sentences.

        Args:
            labels (`torch.LongTensor` of shape `(batch, words)`, *optional*): label of each word at its first
                piece, -100 at its other pieces, at special tokens and at padding.

        The other arguments, also `position_ids`, `inputs_embeds` and `text_prefix_states`, are those of
        [`MedMPLMModel`].

        Returns:
            [`MedMPLMTokenClassifierOutput`] with logits `(batch, words, labels)`.

        Raises:
            ValueError: if no note is given, or codes are.
        """
        _require_note(self, _first_given((input_ids, *map(kwargs.get, NOTE_INPUTS))))
        if any(kwargs.get(name) is not None for name in ("code_input_ids", "code_inputs_embeds")):
            raise ValueError("Token classification reads no codes. Leave out `code_input_ids`.")
        text = self._encode_tokens(input_ids, attention_mask, token_type_ids, **kwargs)
        states = text.text_last_hidden_state
        mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        if attention_mask is not None:
            mask = attention_mask.bool()
        read = states if not self.config.tagger_use_text_encoder else self.model._normalize_text(states)
        logits = self.classifier(read, mask)
        loss = None
        if labels is not None:
            losses = self.sentence_losses(logits, labels)
            loss = losses.sum() / (labels >= 0).any(dim=1).sum().clamp(min=1)
        return MedMPLMTokenClassifierOutput(
            loss=loss,
            logits=logits,
            text_last_hidden_state=states,
            hidden_states=text.hidden_states,
            attentions=text.attentions,
        )

    def _encode_tokens(
        self, input_ids: torch.LongTensor | None, *text_inputs: torch.Tensor | None, **kwargs: Any
    ) -> MedMPLMModelOutput:
        """States of the text encoder, or the embeddings that stand in for it."""
        if self.config.tagger_use_text_encoder:
            return self.model(input_ids, *text_inputs, return_dict=True, **kwargs)
        embeds = kwargs.get("inputs_embeds")
        return MedMPLMModelOutput(
            text_last_hidden_state=self.token_embeddings(input_ids) if embeds is None else embeds
        )

    def sentence_losses(self, logits: torch.FloatTensor, labels: torch.LongTensor) -> torch.Tensor:
        """Take the loss apart.

        Args:
            logits (`torch.FloatTensor` of shape `(batch, words, labels)`): what `forward` returned.
            labels (`torch.LongTensor` of shape `(batch, words)`): as `forward` takes them.

        Returns:
            `torch.FloatTensor` of shape `(batch,)`: negative log-likelihoods, 0 for a sentence without words.
        """
        is_word = labels >= 0
        order = _words_of(is_word)
        return self.classifier.random_field(
            _take(logits, order), labels.gather(1, order), is_word.gather(1, order)
        )

    @torch.no_grad()
    def decode(self, logits: torch.FloatTensor, mask: torch.Tensor) -> torch.LongTensor:
        """Find the best sequence of labels of each sentence.

        Args:
            logits (`torch.FloatTensor` of shape `(batch, words, labels)`): what `forward` returned.
            mask (`torch.Tensor` of shape `(batch, words)`): 1 at the first piece of each word, where a label
                stands, else 0.

        Returns:
            `torch.LongTensor` of shape `(batch, words)`: label ids, -100 outside the mask.
        """
        is_word = mask.bool()
        order = _words_of(is_word)
        names = [self.config.id2label[index] for index in range(self.config.num_labels)]
        forbidden = (values.to(logits.device) for values in _impossible_in_iob2(names))
        best = self.classifier.random_field.best_labels(
            _take(logits, order), is_word.gather(1, order), *forbidden
        )
        labels = torch.full_like(is_word, -100, dtype=torch.long).scatter(1, order, best)
        return labels.masked_fill(~is_word, -100)


def _marked_first(mask: torch.BoolTensor) -> torch.LongTensor:
    """Positions that bring what is marked to the front of its row, in unchanged order; `(batch, words)`."""
    marked, others = mask.long().cumsum(dim=1), (~mask).long().cumsum(dim=1)
    # Where each position goes; counted, because a stable sort has no counterpart in ONNX.
    return _inverse(torch.where(mask, marked, marked[:, -1:] + others) - 1)


def _inverse(order: torch.LongTensor) -> torch.LongTensor:
    """The permutation of each row that undoes another, `(batch, words)`."""
    positions = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.zeros_like(order).scatter(1, order, positions)


def _words_of(is_word: torch.BoolTensor) -> torch.LongTensor:
    """Positions of the words of each row, as wide as the row with most words; `(batch, most words)`."""
    width = is_word.shape[1] if _is_traced() else max(1, int(is_word.sum(dim=1).max()))
    return _marked_first(is_word)[:, :width]


def _take(states: torch.Tensor, positions: torch.LongTensor) -> torch.Tensor:
    """States at other positions of their rows, `(batch, words, hidden)`."""
    return states.gather(1, positions.unsqueeze(2).expand(-1, -1, states.shape[2]))


def _impossible_in_iob2(names: list[str]) -> tuple[torch.BoolTensor, torch.BoolTensor]:
    """Labels that cannot begin a sentence and pairs that cannot follow each other; none in other schemes."""
    starts = torch.zeros(len(names), dtype=torch.bool)
    pairs = torch.zeros(len(names), len(names), dtype=torch.bool)
    if all(name == "O" or name[:2] in ("B-", "I-") for name in names):
        for index, name in enumerate(names):
            if name.startswith("I-"):
                starts[index] = True
                pairs[:, index] = torch.tensor([before[2:] != name[2:] for before in names])
    return starts, pairs


def _version(tensor: torch.Tensor) -> int | None:
    """Number of in-place changes so far; tensors born in inference mode cannot change and do not count."""
    return None if tensor.is_inference() else tensor._version


def _select_visits(values: torch.Tensor | None, mask: torch.BoolTensor) -> torch.Tensor | None:
    """Rows of the visits in the mask, `(visits in mask, ...)`; all of them in a traced graph."""
    if values is None:
        return None
    return values.flatten(0, 1) if _is_traced() else values[mask]


def _scatter_visits(rows: torch.Tensor, mask: torch.BoolTensor) -> torch.Tensor:
    """Put the rows of `_select_visits` back at their places; zeros elsewhere. `(batch, visits, ...)`"""
    if _is_traced():
        absent = ~mask.reshape(*mask.shape, *[1] * (rows.dim() - 1))
        return rows.unflatten(0, mask.shape).masked_fill(absent, 0.0)
    return rows.new_zeros((*mask.shape, *rows.shape[1:])).index_put((mask,), rows)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _mean_of_earlier(
    visits: torch.Tensor, mask: torch.BoolTensor, num_earlier: torch.LongTensor
) -> torch.Tensor:
    """Mean over the visits before each visit, zero for the first (the expectation of equation 11)."""
    visits = visits * mask.unsqueeze(-1)
    # Shifted, not subtracted: rounding would let a trace of the visit itself through.
    total_before = nn.functional.pad(visits.cumsum(dim=1)[:, :-1], (0, 0, 1, 0))
    return total_before / num_earlier.clamp(min=1).unsqueeze(-1).to(visits.dtype)


def _found_in_earlier_visits(
    found: torch.Tensor, log_totals: torch.Tensor, history: torch.BoolTensor
) -> torch.Tensor:
    """What the labels find in all tokens of the visits before each visit, zero where there are none.

    A softmax over the tokens of several visits is the softmax within each, weighed by a softmax over the
    visits of the logarithms of their sums. So nothing is computed for each pair of target and token.

    Args:
        found, log_totals (`torch.FloatTensor` of shape `(batch, visits, labels)`): of each visit by itself,
            from [`MedMPLMLabelEvidence`].
        history (`torch.BoolTensor` of shape `(batch, visits)`): visits that may be looked at.

    Returns:
        `torch.FloatTensor` of shape `(batch, visits, labels)`.
    """
    num_visits = history.shape[1]
    is_before = torch.ones(num_visits, num_visits, dtype=torch.bool, device=history.device).tril(-1)
    is_seen = (is_before & history.unsqueeze(1)).unsqueeze(-1)  # (batch, targets, visits, 1)
    scores = log_totals.unsqueeze(1).masked_fill(~is_seen, torch.finfo(log_totals.dtype).min)
    weights = scores.softmax(dim=2) * is_seen
    return (weights * found.unsqueeze(1)).sum(dim=2)


def _loss_per_patient(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Equation 13: mean over the targets of a patient, then over the patients that have one."""
    is_target = (labels >= 0).all(dim=-1)  # (batch, visits)
    per_label = nn.functional.binary_cross_entropy_with_logits(
        logits, labels.clamp(min=0).to(logits.dtype), reduction="none"
    )
    per_visit = per_label.mean(dim=-1) * is_target
    num_targets = is_target.sum(dim=-1)
    per_patient = per_visit.sum(dim=-1) / num_targets.clamp(min=1)
    return per_patient.sum() / (num_targets > 0).sum().clamp(min=1)


def pipelines_of(config: MedMPLMConfig, class_name: str) -> dict[str, dict[str, Any]]:
    """What `transformers.pipeline` has to know of a model.

    Args:
        config ([`MedMPLMConfig`]): tells by its labels what is predicted.
        class_name (`str`): class of the model, as `architectures` names it.

    Returns:
        The value of `custom_pipelines`: one name with the class of the pipeline, or nothing for a model
        without a task.
    """
    first_label = str(config.id2label[0])
    task, name = "", ""
    if class_name == "MedMPLMForMedicationRecommendation":
        task, name = "medication-recommendation", "MedicationRecommendation"
    elif class_name == "MedMPLMForReadmissionPrediction":
        is_mortality = first_label == "mortality"
        task, name = ("mortality", "Mortality") if is_mortality else ("readmission", "Readmission")
    elif class_name == "MedMPLMForICDCoding":
        task, name = "icd-coding", "ICDCoding"
        if first_label.startswith("ATC:"):
            task, name = "medication-prediction", "MedicationPrediction"
    entry = {
        "impl": f"{PIPELINES_MODULE}.MedMPLM{name}Pipeline",
        "pt": ["AutoModelForSequenceClassification"],
    }
    return {f"medm-plm-{task}": entry} if task else {}


def _pipelines_file() -> Path:
    return Path(__file__).with_name(f"{PIPELINES_MODULE}.py")


def _code_prediction_loss(target: str) -> Callable[..., torch.Tensor]:
    return _masked_code_loss if target == "masked" else _all_codes_loss


def _masked_code_loss(
    logits: torch.Tensor, labels: torch.LongTensor, num_items_in_batch: torch.Tensor | int | None
) -> torch.Tensor:
    """Equations 8 and 9: cross-entropy of every chosen code against the visit's prediction, averaged."""
    chosen = labels >= 0  # (batch, codes)
    log_probabilities = logits.float().log_softmax(dim=-1).gather(1, labels.clamp(min=0))
    total = -(log_probabilities * chosen).sum()
    count = chosen.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    return total / (count.to(total.device) if isinstance(count, torch.Tensor) else count)


def _all_codes_loss(
    logits: torch.Tensor, labels: torch.LongTensor, num_items_in_batch: torch.Tensor | int | None
) -> torch.Tensor:
    """The authors' objective: binary cross-entropy over the vocabulary, all codes of the visit as targets."""
    targets = torch.zeros_like(logits).scatter_reduce(
        1, labels.clamp(min=0), (labels >= 0).to(logits.dtype), reduce="amax"
    )
    return nn.functional.binary_cross_entropy_with_logits(logits, targets)


def _mlp(
    in_size: int,
    out_size: int,
    num_hidden_layers: int,
    hidden_size: int | None,
    dropout: float,
    activation: str,
) -> nn.Sequential:
    """Hidden layers with activation, by default as wide as the input, then a linear layer."""
    hidden_size = hidden_size or in_size
    layers: list[nn.Module] = []
    for _ in range(num_hidden_layers):
        layers += [nn.Dropout(dropout), nn.Linear(in_size, hidden_size), ACT2FN[activation]]
        in_size = hidden_size
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(in_size, out_size))


def _classifier(config: MedMPLMConfig, in_size: int) -> nn.Sequential:
    """Prediction layer of equations 12, 14 and 16."""
    return _mlp(
        in_size,
        config.num_labels,
        config.classifier_num_hidden_layers,
        config.classifier_hidden_size,
        config.classifier_dropout,
        config.hidden_act,
    )


def _first_given(values: Iterable[torch.Tensor | None]) -> torch.Tensor | None:
    return next((value for value in values if value is not None), None)


def _require_note(model: nn.Module, note: torch.Tensor | None) -> None:
    if note is None:
        raise ValueError(
            f"{type(model).__name__} got no `input_ids`. Give the notes; a visit without one is the "
            "processor's encoding of the empty string: processor('', diagnosis_codes=..., ...)."
        )


def _without_pooler(text_config: PreTrainedConfig) -> dict[str, bool]:
    """Argument that builds a text encoder without its pooler, where it has one."""
    parameters = inspect.signature(MODEL_MAPPING[type(text_config)].__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in parameters else {}


def _text_layers(text_model: PreTrainedModel) -> nn.ModuleList:
    """The Transformer layers of a text encoder, first to last."""
    for owner, name in (("encoder", "layer"), ("transformer", "layer"), (None, "layers")):
        parent = getattr(text_model, owner, None) if owner else text_model
        if isinstance(layers := getattr(parent, name, None), nn.ModuleList):
            return layers
    raise ValueError(
        f"The layers of a {type(text_model).__name__} are not known. Use one of the listed text models."
    )


def _text_embeddings(text_model: PreTrainedModel) -> list[nn.Module]:
    """What the first layer of a text encoder already needs, MPNet's bias of all layers among it."""
    names = ("embeddings", "embeddings_project", "encoder.relative_attention_bias")
    modules = dict(text_model.named_modules())
    return [modules[name] for name in names if name in modules]


def _check_node_parents(parents: torch.LongTensor, config: MedMPLMCodeConfig) -> None:
    """Refuse a structure that is not a forest of the configured size and depth."""
    num_nodes, depth = config.num_ontology_nodes, config.max_ontology_depth
    if parents.shape != (num_nodes,):
        raise ValueError(
            f"`node_parents` has shape {tuple(parents.shape)}, but `num_ontology_nodes` is {num_nodes}. "
            "Take both from the same vocabulary."
        )
    if ((parents < -1) | (parents >= num_nodes)).any():
        raise ValueError(f"`node_parents` must hold rows 0 to {num_nodes - 1}, or -1 at roots.")
    ancestors = ancestors_of(torch.arange(num_nodes, device=parents.device), parents, depth + 1)
    if (ancestors[:, -1] >= 0).any():
        raise ValueError(
            f"`node_parents` has a node with more than {depth} ancestors, or a circle. Set "
            "`max_ontology_depth` to the depth of the vocabulary's trees."
        )


for _model_class, _auto_class in (
    (MedMPLMModel, "AutoModel"),
    (MedMPLMForPreTraining, "AutoModelForPreTraining"),
    (MedMPLMForICDCoding, "AutoModelForSequenceClassification"),
    (MedMPLMForReadmissionPrediction, "AutoModelForSequenceClassification"),
    (MedMPLMForMedicationRecommendation, "AutoModelForSequenceClassification"),
    (MedMPLMForTokenClassification, "AutoModelForTokenClassification"),
):
    _model_class.register_for_auto_class(_auto_class)

__all__ = [
    "MedMPLMClassifierOutput",
    "MedMPLMCodeModel",
    "MedMPLMForICDCoding",
    "MedMPLMForMedicationRecommendation",
    "MedMPLMForPreTraining",
    "MedMPLMForPreTrainingOutput",
    "MedMPLMForReadmissionPrediction",
    "MedMPLMForTokenClassification",
    "MedMPLMModel",
    "MedMPLMModelOutput",
    "MedMPLMPreTrainedModel",
    "MedMPLMTokenClassifierOutput",
]

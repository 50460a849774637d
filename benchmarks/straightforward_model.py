"""MedM-PLM as one writes it down at first: the rival in `benchmarks/pretraining.py`.

The same sizes, the same losses and the same dropout as ours, put together from the library's BERT layers with
eager attention and from ordinary graph attention over edge lists. As in the published code, all layers run in
training mode in every step, the ontology's vectors are computed from the whole vocabulary for each visit of a
batch, and every batch is padded to the longest note and code list that there can be. Nothing in it is slow on
purpose; with `share_ontology` the vectors are computed once for a batch.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.bert.modeling_bert import BertLayer, BertModel

from configuration_medm_plm import MedMPLMConfig


class GraphAttention(nn.Module):
    """Graph attention over a list of edges (Velickovic et al. 2018), several heads side by side."""

    def __init__(self, size: int, num_heads: int, negative_slope: float) -> None:
        super().__init__()
        self.num_heads, self.negative_slope = num_heads, negative_slope
        self.projection = nn.Linear(size, size, bias=False)
        self.sender_weight = nn.Parameter(torch.empty(num_heads, size // num_heads))
        self.receiver_weight = nn.Parameter(torch.empty(num_heads, size // num_heads))
        self.bias = nn.Parameter(torch.zeros(size))
        for weight in (self.sender_weight, self.receiver_weight):
            nn.init.xavier_uniform_(weight)

    def forward(self, nodes: torch.Tensor, senders: torch.Tensor, receivers: torch.Tensor) -> torch.Tensor:
        images = self.projection(nodes).view(len(nodes), self.num_heads, -1)
        as_sender = (images * self.sender_weight).sum(-1)
        as_receiver = (images * self.receiver_weight).sum(-1)
        scores = nn.functional.leaky_relu(as_sender[senders] + as_receiver[receivers], self.negative_slope)
        index = receivers.unsqueeze(-1).expand_as(scores)
        highest = scores.new_full(as_sender.shape, -torch.inf)
        highest = highest.scatter_reduce(0, index, scores.detach(), reduce="amax")
        weights = (scores - highest[receivers]).exp()
        total = torch.zeros_like(as_sender).index_add(0, receivers, weights)
        weights = weights / total[receivers]
        messages = images[senders] * weights.unsqueeze(-1)
        return torch.zeros_like(images).index_add(0, receivers, messages).flatten(1) + self.bias


class OntologyEmbedding(nn.Module):
    """Equations 1 and 2 over the whole vocabulary, for each visit or once for a batch."""

    def __init__(self, config: MedMPLMConfig, node_parents: list[int], share_ontology: bool) -> None:
        super().__init__()
        code = config.code_config
        self.share_ontology = share_ontology
        self.nodes = nn.Embedding(code.num_ontology_nodes, code.hidden_size)
        self.attention = GraphAttention(
            code.hidden_size, code.ontology_num_attention_heads, code.ontology_negative_slope
        )
        children = [(child, parent) for child, parent in enumerate(node_parents) if parent >= 0]
        descents = [
            (ancestor, node) for node in range(code.vocab_size) for ancestor in _above(node, node_parents)
        ]
        loops = [(node, node) for node in range(code.num_ontology_nodes)]
        self.register_buffer("child_edges", torch.tensor(children + loops).T.contiguous())
        self.register_buffer("ancestor_edges", torch.tensor(descents + loops).T.contiguous())

    def table(self) -> torch.Tensor:
        return self.attention(self.attention(self.nodes.weight, *self.child_edges), *self.ancestor_edges)

    def forward(self, code_input_ids: torch.Tensor) -> torch.Tensor:
        if self.share_ontology:
            return self.table()[code_input_ids]
        return torch.stack([self.table()[codes] for codes in code_input_ids])


def _above(node: int, node_parents: list[int]) -> list[int]:
    """Ancestors of a node."""
    parent = node_parents[node]
    return [] if parent < 0 else [parent, *_above(parent, node_parents)]


class CodeEncoder(nn.Module):
    """Ontology and type embedding, then Transformer layers of the library."""

    def __init__(self, config: MedMPLMConfig, node_parents: list[int], share_ontology: bool) -> None:
        super().__init__()
        self.config = config.code_config
        self.ontology = OntologyEmbedding(config, node_parents, share_ontology)
        self.types = nn.Embedding(self.config.type_vocab_size, self.config.hidden_size)
        self.norm = nn.LayerNorm(self.config.hidden_size, eps=self.config.layer_norm_eps)
        self.dropout = nn.Dropout(self.config.hidden_dropout_prob)
        self.layers = nn.ModuleList(BertLayer(self.config) for _ in range(self.config.num_hidden_layers))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        states = self.dropout(self.norm(self.ontology(ids) + self.types(types)))
        keep = create_bidirectional_mask(config=self.config, inputs_embeds=states, attention_mask=mask)
        for layer in self.layers:
            states = layer(states, keep)
        return states


class CrossAttention(nn.Module):
    """Equations 6 and 7: the visit's vector of one modality looks at all tokens of the other."""

    def __init__(self, query_size: int, token_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, query_size)
        self.key = nn.Linear(token_size, query_size)
        self.value = nn.Linear(token_size, query_size)

    def forward(self, vector: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scores = self.query(vector).unsqueeze(1) @ self.key(tokens).transpose(1, 2)
        scores = scores.masked_fill(~mask.bool().unsqueeze(1), -torch.inf) / vector.shape[-1] ** 0.5
        return vector + (scores.softmax(-1) @ self.value(tokens)).squeeze(1)


class StraightforwardModel(nn.Module):
    """Pre-training model with the interface of `MedMPLMForPreTraining`.

    Args:
        config (`MedMPLMConfig`): sizes.
        node_parents (`list[int]`): row of the parent of each ontology node, -1 at roots.
        share_ontology (`bool`, defaults to `False`): compute the ontology's vectors once for a batch.
    """

    def __init__(self, config: MedMPLMConfig, node_parents: list[int], share_ontology: bool = False) -> None:
        super().__init__()
        for part in (config.text_config, config.code_config):
            part._attn_implementation = "eager"
        text_size, code_size = config.text_config.hidden_size, config.code_config.hidden_size
        num_codes = config.code_config.vocab_size
        self.text_model = BertModel(config.text_config, add_pooling_layer=False)
        for module in (self.text_model.embeddings, *self.frozen_layers(config)):
            module.requires_grad_(False)
        self.code_model = CodeEncoder(config, node_parents, share_ontology)
        self.text_cross_modal = CrossAttention(text_size, code_size)
        self.code_cross_modal = CrossAttention(code_size, text_size)
        self.t2c_head, self.c2c_head = (
            nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.Linear(size, num_codes))
            for size in (text_size, code_size)
        )

    def frozen_layers(self, config: MedMPLMConfig) -> nn.ModuleList:
        """Text layers whose weights stay as they are; they run like the others."""
        return self.text_model.encoder.layer[: config.num_frozen_text_layers]

    def forward(self, **visit: torch.Tensor) -> torch.Tensor:
        """Return the loss of both predictions (equation 10)."""
        text_mask, code_mask = visit["attention_mask"], visit["code_attention_mask"]
        text = self.text_model(visit["input_ids"], text_mask, visit["token_type_ids"]).last_hidden_state
        codes = self.code_model(visit["code_input_ids"], code_mask, visit["code_token_type_ids"])
        from_text = self.t2c_head(self.text_cross_modal(text[:, 0], codes, code_mask))
        from_code = self.c2c_head(self.code_cross_modal(codes[:, 0], text, text_mask))
        rows, positions = (visit["labels"] >= 0).nonzero(as_tuple=True)
        chosen = visit["labels"][rows, positions]
        cross_entropy = nn.functional.cross_entropy
        return cross_entropy(from_text[rows], chosen) + cross_entropy(from_code[rows], chosen)

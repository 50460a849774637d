"""The ontology embedding (equations 1 and 2) against slow references, and the authors' defect 1."""

import pytest
import torch

from modeling_medm_plm import MedMPLMCodeModel, MedMPLMOntologyEmbedding, MedMPLMOntologyGAT, ancestors_of
from tiny_models import NODE_PARENTS, NUM_NODES, build, tiny_config


@pytest.fixture
def embedding() -> MedMPLMOntologyEmbedding:
    torch.manual_seed(0)
    layer = MedMPLMOntologyEmbedding(tiny_config().code_config)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    layer.node_parents.copy_(torch.tensor(NODE_PARENTS))
    return layer.double()


def slow_graph_attention(layer: MedMPLMOntologyGAT, nodes: torch.Tensor, edges: set[tuple[int, int]]):
    """Graph attention written out: for each receiver a softmax over its senders, head by head."""
    images = layer.projection(nodes).view(len(nodes), layer.num_heads, layer.head_size)
    out = torch.zeros_like(images)
    for receiver in range(len(nodes)):
        senders = sorted(sender for to, sender in edges if to == receiver)
        for head in range(layer.num_heads):
            scores = [
                layer.receiver_weight[head] @ images[receiver, head]
                + layer.sender_weight[head] @ images[sender, head]
                for sender in senders
            ]
            scores = torch.stack([s if s > 0 else 0.2 * s for s in scores])
            for weight, sender in zip(scores.softmax(0), senders, strict=True):
                out[receiver, head] += weight * images[sender, head]
    return out.flatten(1) + layer.bias


def stage_edges() -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """(receiver, sender) pairs of both stages, self-loops among them."""
    own = {(node, node) for node in range(NUM_NODES)}
    children = {(parent, child) for child, parent in enumerate(NODE_PARENTS) if parent >= 0}
    ancestors = set()
    for node in range(NUM_NODES):
        above = NODE_PARENTS[node]
        while above >= 0:
            ancestors.add((node, above))
            above = NODE_PARENTS[above]
    return own | children, own | ancestors


def test_ancestors_are_listed_nearest_first():
    listed = ancestors_of(torch.tensor([4, 25, 3]), torch.tensor(NODE_PARENTS), 4).tolist()
    assert listed == [[20, 25, 28, 29], [28, 29, -1, -1], [-1, -1, -1, -1]]


def test_both_stages_equal_the_loop_written_reference(embedding):
    children, ancestors = stage_edges()
    layer = embedding.graph_attention
    expected = slow_graph_attention(layer, slow_graph_attention(layer, embedding.weight, children), ancestors)
    torch.testing.assert_close(embedding.full_table(), expected, rtol=1e-10, atol=1e-10)


def test_both_stages_equal_torch_geometric(embedding):
    GATConv = pytest.importorskip("torch_geometric.nn", reason="torch_geometric is not installed").GATConv  # noqa: N806
    layer = embedding.graph_attention
    reference = GATConv(24, 6, heads=4, negative_slope=0.2, add_self_loops=False).double()
    with torch.no_grad():
        reference.lin.weight.copy_(layer.projection.weight)
        reference.att_src.copy_(layer.sender_weight[None])
        reference.att_dst.copy_(layer.receiver_weight[None])
        reference.bias.copy_(layer.bias)
    states = embedding.weight
    for edges in stage_edges():
        receivers, senders = torch.tensor(sorted(edges)).T
        states = reference(states, torch.stack([senders, receivers]))
    torch.testing.assert_close(embedding.full_table(), states, rtol=0, atol=1e-5)


def test_part_of_the_table_equals_the_whole_with_equal_gradients(embedding):
    nodes = torch.tensor([5, 4, 17, 2, 21])
    weights = torch.randn(len(nodes), 24, dtype=torch.double)
    whole = torch.autograd.grad(
        (embedding.full_table()[nodes] * weights).sum(), list(embedding.parameters()), allow_unused=True
    )
    part_of = embedding.partial_table(nodes)
    part = torch.autograd.grad((part_of * weights).sum(), list(embedding.parameters()))
    torch.testing.assert_close(part_of, embedding.full_table()[nodes], rtol=1e-12, atol=1e-12)
    for one, other in zip(whole, part, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_equal_codes_under_different_parents_differ_in_direction(embedding):
    """Defect 1: messages summed at the sender leave every head collinear with the code's own image."""
    with torch.no_grad():
        embedding.weight[5] = embedding.weight[4]  # node 4 hangs under 20, node 5 under 21
        table = embedding.full_table().view(NUM_NODES, 4, 6)
    cosine = torch.nn.functional.cosine_similarity(table[4], table[5], dim=-1)
    assert (cosine.abs() < 0.999).any()
    own = embedding.graph_attention.projection(
        embedding.graph_attention.projection(embedding.weight) + embedding.graph_attention.bias
    )
    own = own.view(NUM_NODES, 4, 6)[4]
    centred = table[4] - embedding.graph_attention.bias.view(4, 6)
    assert torch.nn.functional.cosine_similarity(centred, own, dim=-1).abs().min() < 0.99


def test_every_ancestor_reaches_the_code(embedding):
    code_vector = embedding.partial_table(torch.tensor([4])).sum()
    (gradient,) = torch.autograd.grad(code_vector, embedding.weight)
    for ancestor in (20, 25, 28, 29):
        assert gradient[ancestor].abs().max() > 0
    assert gradient[22].abs().max() == 0  # an aunt's sister: no child of an ancestor


def test_table_is_computed_once_until_a_weight_changes(monkeypatch):
    model = build(MedMPLMCodeModel_for_tests())
    embedding = model.embeddings.word_embeddings
    calls = []
    monkeypatch.setattr(
        embedding, "full_table", lambda: calls.append(1) or type(embedding).full_table(embedding)
    )
    codes = torch.tensor([[1, 5, 6]])
    with torch.no_grad():
        first = model(codes).last_hidden_state
        model(codes)
        assert len(calls) == 1
        embedding.graph_attention.bias.add_(1.0)
        second = model(codes).last_hidden_state
    assert len(calls) == 2
    assert not torch.equal(first, second)
    torch.testing.assert_close(second, model(codes).last_hidden_state)  # with gradients: computed in part


def MedMPLMCodeModel_for_tests():  # noqa: N802
    """The code encoder, built from the joint tiny configuration."""
    return lambda config: MedMPLMCodeModel(config.code_config)


def test_code_vocabulary_refuses_to_be_resized():
    with pytest.raises(ValueError, match="set_ontology"):
        build(MedMPLMCodeModel_for_tests()).resize_token_embeddings(99)


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ([-1] * (NUM_NODES - 1), "num_ontology_nodes"),
        ([-1] * (NUM_NODES - 1) + [NUM_NODES], "rows 0 to"),
        ([*range(1, NUM_NODES), 0], "circle"),
    ],
)
def test_broken_ontologies_are_refused(parents, message):
    with pytest.raises(ValueError, match=message):
        build(MedMPLMCodeModel_for_tests()).set_ontology(parents)


def test_plain_embedding_has_no_ontology():
    with pytest.raises(ValueError, match="embedding_type"):
        build(MedMPLMCodeModel_for_tests(), code_config={"embedding_type": "plain"})


def test_table_is_recomputed_after_a_step_of_a_fused_optimizer():
    """A fused optimizer changes weights without raising their version counters."""
    model = build(MedMPLMCodeModel_for_tests())
    codes = torch.tensor([[1, 5, 6]])
    with torch.no_grad():
        before = model(codes).last_hidden_state
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(codes).last_hidden_state.sum().backward()
    optimizer.step()
    with torch.no_grad():
        after = model(codes).last_hidden_state
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, model(codes).last_hidden_state)

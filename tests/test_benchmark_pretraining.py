"""The benchmark of pre-training compares what it says, and runs from end to end at a tiny size."""

import json
import subprocess
import sys

import networkx as nx
import numpy as np
import pytest
import torch

MEASURED = ("straightforward", "cached")


@pytest.fixture(scope="module")
def parts(project_root):
    """Import the benchmark's own modules as it does: from the folder that they lie in."""
    if not (project_root / "benchmarks").is_dir():
        pytest.skip("benchmarks are not part of this distribution")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(project_root / "benchmarks")
    import pretraining_worker
    import pretraining_workload

    yield pretraining_workload, pretraining_worker
    patch.undo()


@pytest.fixture(scope="module")
def workload(parts):
    return parts[0]


@pytest.fixture(scope="module")
def finished(project_root, tmp_path_factory):
    """One run of the whole benchmark; what it printed and what it wrote."""
    output = tmp_path_factory.mktemp("benchmark")
    command = [sys.executable, str(project_root / "benchmarks" / "pretraining.py"), "--output", str(output)]
    command += ["--size", "tiny", "--batch_sizes", "3", "--steps", "2", "--num_visits", "8"]
    command += ["--variants", *MEASURED]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return done.stdout, json.loads((output / "measurements.json").read_text())


def test_the_sizes_are_those_of_the_paper(workload):
    vocabulary = workload.make_vocabulary(workload.Size())
    assert vocabulary.num_codes == 4 + 6646 + 155
    assert vocabulary.max_depth == 4
    tree = nx.DiGraph((parent, child) for child, parent in enumerate(vocabulary.node_parents) if parent >= 0)
    assert nx.is_branching(tree)
    assert nx.number_weakly_connected_components(tree) == 2
    visits = workload.make_visits(workload.Size(), 1000)
    lengths = np.array([len(visit["input_ids"]) for visit in visits])
    codes = [len(visit["code_input_ids"]) for visit in visits]
    assert 0.92 < (lengths == 512).mean() < 0.98
    assert lengths.min() >= 64
    assert max(codes) <= 61
    assert max(int(visit["code_input_ids"].max()) for visit in visits) < vocabulary.num_codes
    assert all(len(set(visit["code_input_ids"])) == len(visit["code_input_ids"]) for visit in visits)


def copy_weights(straightforward, ours) -> None:
    """Give the straightforward model the weights of ours; its key has a bias, which is zero in effect."""
    base, codes = ours.model, ours.model.code_model
    embedding = codes.embeddings.word_embeddings
    pairs = [
        (straightforward.text_model, base.text_model),
        (straightforward.code_model.types, codes.embeddings.token_type_embeddings),
        (straightforward.code_model.norm, codes.embeddings.LayerNorm),
        (straightforward.code_model.layers, codes.layers),
    ]
    for target, source in pairs:
        target.load_state_dict(source.state_dict())
    straightforward.code_model.ontology.nodes.weight.data.copy_(embedding.weight)
    attention, graph = straightforward.code_model.ontology.attention, embedding.graph_attention
    attention.projection.load_state_dict(graph.projection.state_dict())
    for name in ("sender_weight", "receiver_weight", "bias"):
        getattr(attention, name).data.copy_(getattr(graph, name))
    for name in ("text_cross_modal", "code_cross_modal"):
        getattr(straightforward, name).load_state_dict(getattr(base, name).state_dict(), strict=False)
    for name in ("t2c_head", "c2c_head"):
        linear = [module for module in getattr(ours, name) if isinstance(module, torch.nn.Linear)]
        for place, module in zip((0, 2), linear, strict=True):
            getattr(straightforward, name)[place].load_state_dict(module.state_dict())


@pytest.mark.parametrize("name", ["straightforward", "straightforward_shared_ontology"])
def test_the_straightforward_model_computes_what_ours_computes(workload, name):
    """Without dropout, and without our normalisation of text states, which the paper does not have."""
    size = workload.TINY
    rival, ours = workload.make_model(name, size), workload.make_model(workload.UNCACHED, size)
    ours.config.normalize_text_states = ours.model.config.normalize_text_states = False
    copy_weights(rival, ours)
    batch = workload.make_collator(size)(workload.make_visits(size, 5))
    losses = [
        rival.eval()(**workload.pad_to_the_maximum(batch, size)),
        ours.eval()(**batch).loss,
    ]
    torch.testing.assert_close(*losses, rtol=0, atol=2e-6)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(
        rival.code_model.ontology.nodes.weight.grad,
        ours.model.code_model.embeddings.word_embeddings.weight.grad,
        rtol=0,
        atol=1e-6,
    )
    frozen = [not next(layer.parameters()).requires_grad for layer in rival.text_model.encoder.layer]
    assert frozen == [True] * (size.text_layers - 2) + [False] * 2


def test_every_stage_is_timed_and_counted(parts):
    workload, worker = parts
    options = {
        "variant": workload.UNCACHED,
        "device": "cpu",
        "size": "tiny",
        "batch_size": 4,
        "num_visits": 4,
    }
    variant = worker.Variant(options)
    flops = variant.count()["flops"]
    answer = variant.measure()
    assert set(answer["stages"]) == set(flops) == set(worker.STAGES)
    assert flops[worker.READING] == flops[worker.OPTIMIZER] == 0
    size, words = workload.TINY, max(len(visit["input_ids"]) for visit in variant.visits)
    dense = 4 * words * 2 * 12 * size.text_hidden**2
    attention = 4 * 4 * words**2 * size.text_hidden
    assert flops[worker.PREFIX] == dense + attention  # one frozen layer, counted by hand
    assert flops[worker.LIVE] == 2 * (dense + attention)
    assert flops[worker.BACKWARD] > 2 * flops[worker.LIVE]


def test_fused_attention_on_a_cpu_is_counted_by_hand(parts):
    query = torch.randn(2, 3, 16, 8, requires_grad=True)
    with parts[1].flop_counter() as counter:
        torch.nn.functional.scaled_dot_product_attention(query, query, query).sum().backward()
    product = 2 * 2 * 3 * 16 * 16 * 8
    assert counter.get_total_flops() in (7 * product, 6 * product)  # fused and recomputing, or not


def test_a_stage_inside_another_counts_once(parts):
    now = iter(range(100))
    stages = parts[1].Stages(lambda: next(now), lambda after, before: [after - before])
    with stages.stage("outer"):
        with stages.stage("inner"):
            next(now)
        next(now)
    assert stages.totals() == {"outer": [1 + 2], "inner": [2]}


def test_the_whole_benchmark_runs(finished):
    printed, measurements = finished
    for words in (
        "Batch 3: one step, medians of 2",
        "Batch 3: stages",
        "filled once",
        *MEASURED,
    ):
        assert words in printed
    measured = measurements["batch_sizes"]["3"]
    assert len(measured["rounds"]) == 2
    assert set(measured["rounds"][0]) == {"peak", *MEASURED}
    assert "text, frozen layers" in measured["rounds"][0]["straightforward"]["stages"]
    assert "text, frozen layers" not in measured["rounds"][0]["cached"]["stages"]
    for name in MEASURED:
        assert measured["rounds"][0][name]["peak_memory"] > 50
    assert measurements["cache"]["bytes"] > 8 * 16 * 32 * 2


def test_the_cache_changes_no_loss_and_serves_an_epoch(parts, tmp_path):
    """Half-precision states; the same visits, masks and dropout on both sides."""
    workload, worker = parts
    options = {"device": "cpu", "size": "tiny", "batch_size": 4, "num_visits": 10, "cache": str(tmp_path)}
    assert worker.fill(options)["bytes"] > 10 * 16 * 32 * 2
    losses = []
    for name in (workload.UNCACHED, workload.CACHED):
        variant = worker.Variant({"variant": name, **options})
        torch.manual_seed(0)
        losses.append([variant.measure()["loss"] for _ in range(3)])
        stages = variant.measure()["stages"]
        assert (worker.PREFIX in stages) == (name == workload.UNCACHED)
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    epoch = worker.run_epoch({"variant": workload.CACHED, "workers": 0, **options})
    assert (epoch["visits"], epoch["steps"]) == (10, 3)
    assert np.isfinite(epoch["loss"])

"""LoRA on the text encoder through peft: two steps train the adapters alone, and merging changes nothing."""

import pytest
import torch

from modeling_medm_plm import MedMPLMForICDCoding
from tiny_models import BATCH, LABELS, build, visit_inputs

peft = pytest.importorskip("peft", reason="the extra [lora] is not installed")


def adapted(model) -> torch.nn.Module:
    """As docs/using.md does it."""
    options = peft.LoraConfig(
        r=2,
        lora_alpha=4,
        target_modules=r"model\.text_model\..*\.(query|value)",
        modules_to_save=["classifier"],
    )
    return peft.get_peft_model(model, options)


def trained(model) -> dict[str, torch.Tensor]:
    """Two steps; returns the inputs."""
    inputs = visit_inputs()
    labels = torch.randint(0, 2, (BATCH, LABELS), generator=torch.Generator().manual_seed(0)).float()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    losses = []
    for _ in range(2):
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    model.eval()
    return inputs


def test_adapters_and_head_alone_learn_and_merging_keeps_the_outputs(tmp_path):
    base = build(MedMPLMForICDCoding)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = adapted(base)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning
    assert all("lora_" in name or "classifier" in name for name in learning)
    assert sum("lora_" in name for name in learning) == 2 * 2 * 2  # A and B of query and value of two layers
    inputs = trained(model)
    with torch.no_grad():
        expected = model(**inputs).logits
        assert (expected - build(MedMPLMForICDCoding)(**inputs).logits).abs().max() > 1e-3

    model.save_pretrained(tmp_path / "adapter")
    assert not list((tmp_path / "adapter").glob("*.bin"))  # safetensors, no pickle
    again = peft.PeftModel.from_pretrained(build(MedMPLMForICDCoding), tmp_path / "adapter").eval()
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    loaded = MedMPLMForICDCoding.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(merged(**inputs).logits, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(loaded(**inputs).logits, merged(**inputs).logits)
    moved = {name for name, value in loaded.state_dict().items() if not torch.equal(value, before[name])}
    assert all(".query." in name or ".value." in name or name.startswith("classifier") for name in moved)
    assert loaded.state_dict().keys() == before.keys()

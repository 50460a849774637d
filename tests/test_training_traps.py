"""Silent ways in which Trainer and the library can change a run; each found in the field, each held here."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMForReadmissionPrediction,
    MedMPLMPreTrainedModel,
)
from test_modeling_heads import example_of
from tiny_models import build, tiny_config

HEADS = (
    MedMPLMForPreTraining,
    MedMPLMForReadmissionPrediction,
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
)


class Rows(torch.utils.data.Dataset):
    """The rows of a batch, one by one."""

    def __init__(self, batch: dict[str, torch.Tensor], copies: int = 4):
        self.rows = [
            {name: values[row] for name, values in batch.items()}
            for _ in range(copies)
            for row in range(len(batch["input_ids"]))
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.rows[index]


def make_trainer(model, folder, dataset=None, **arguments) -> Trainer:
    options = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "seed": 1}
    options |= {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 1e9, "lr_scheduler_type": "constant"}
    return Trainer(
        model,
        TrainingArguments(str(folder), **options | arguments),
        train_dataset=dataset,
        eval_dataset=dataset,
    )


@pytest.mark.parametrize("model_class", HEADS)
def test_accumulated_steps_equal_one_big_step(model_class, tmp_path):
    """Trap 1: Trainer multiplies a mean loss by the number of accumulated steps unless it is told not to."""
    dataset = Rows(example_of(model_class))
    weights = []
    for batch_size, accumulation in ((12, 1), (3, 4)):
        model = build(model_class)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        make_trainer(
            model, tmp_path, dataset, max_steps=1, train_sampling_strategy="sequential",
            per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulation,
        ).train()  # fmt: skip
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
    before = build(model_class).state_dict()
    assert any(not torch.equal(before[name], weights[0][name]) for name in before)
    for name in before:
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=2e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("model_class", HEADS)
def test_every_trained_weight_gets_a_gradient(model_class):
    """Trap 6: a weight without gradient, such as an unused pooler, breaks distributed training."""
    model = build(model_class, num_frozen_text_layers=1).train()
    model(**example_of(model_class)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not [name for name, _ in model.named_parameters() if "pooler" in name]


@pytest.mark.parametrize("model_class", HEADS)
def test_evaluation_gathers_nothing_but_scores(model_class, tmp_path):
    """Trap 7: every other output would be kept in memory for the whole evaluation set."""
    example = example_of(model_class)
    result = make_trainer(build(model_class), tmp_path).predict(Rows(example, copies=1))
    predictions = result.predictions if isinstance(result.predictions, tuple) else (result.predictions,)
    assert len(predictions) == (2 if model_class is MedMPLMForPreTraining else 1)
    assert {len(p) for p in predictions} == {3}
    assert "test_loss" in result.metrics


def test_attention_implementation_can_be_set_on_every_class():
    """Trap 8: the library reads our source; a module named Attention outside its interface blocks it."""
    assert MedMPLMPreTrainedModel._can_set_attn_implementation()


def test_ids_of_the_class_of_a_configuration_are_never_compared():
    """Trap 5: from a folder, configuration and model land in different modules, so isinstance would fail."""

    class OtherModule(type(tiny_config())):
        pass

    assert MedMPLMForICDCoding(OtherModule(**tiny_config().to_dict())).config.num_labels == 11


@pytest.mark.parametrize("model_class", HEADS)
def test_tied_weights_are_declared_as_the_library_expects(model_class):
    """Trap: a list in place of a mapping, or a missing post_init, breaks loading in version 5."""
    assert build(model_class).all_tied_weights_keys == {}


def test_model_trains_in_bfloat16():
    model = build(MedMPLMForICDCoding).to(torch.bfloat16).train()
    loss = model(**example_of(MedMPLMForICDCoding)).loss
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("model_class", HEADS)
def test_compiled_graph_equals_eager(model_class):
    """The whole model is one graph: no step depends on data."""
    model = build(model_class)
    example = example_of(model_class)
    with torch.no_grad():
        expected = model(**example).loss
        program = torch.export.export(model, (), example, strict=False)
        torch.testing.assert_close(program.module()(**example).loss, expected, atol=1e-5, rtol=1e-4)

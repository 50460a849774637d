"""What an evaluation says of one example, and of all, depends on no batch, order or number of processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from medm_plm.data.collators import CodeMasker, PatientCollator, PretrainingCollator, VisitCollator
from medm_plm.training.arguments import TASK_NAMES
from medm_plm.training.datasets import ExampleDataset, tokenize_task, tokenize_visits
from medm_plm.training.evaluation import example_losses, mean_loss
from medm_plm.training.pretraining_examples import fixed_masks
from medm_plm.training.task_examples import task_examples, task_labels
from medm_plm.training.trainer import MedMPLMTrainer
from prepared_cohort import PROJECT_ROOT, tiny_model, tiny_processor
from tiny_trainers import VISITS, logged, run_arguments

BATCH_SIZES = (1, 7, 64)
NAMES = ("pretraining", *TASK_NAMES)
OBJECTIVES = (*((name, "masked") for name in NAMES), ("pretraining", "all"))


def scores(prediction: EvalPrediction) -> dict[str, float]:
    """Stands for the metrics, without which the library keeps no predictions."""
    return {"examples": float(len(prediction.label_ids))}


def trainer_of(name: str, folder: Path, processor=None, target: str = "masked", **options) -> MedMPLMTrainer:
    """A trainer with weights large enough for clear differences between examples."""
    processor = processor or tiny_processor(VISITS)
    torch.manual_seed(0)
    if name == "pretraining":
        masker = CodeMasker.from_tokenizer(processor.code_tokenizer, seed=3, mask_share=0.4)
        examples = tokenize_visits(processor, VISITS)
        for example in examples[::3]:  # so that visits differ in the number of hidden codes
            for field in ("code_input_ids", "code_token_type_ids"):
                example[field] = example[field][:3]
        examples = fixed_masks(examples, masker)
        model = tiny_model(name, VISITS, pretraining_target=target)
        collator = PretrainingCollator.from_processor(processor, masker=masker)
    else:
        labels = task_labels(name, VISITS, 5)
        chosen = task_examples(name, VISITS, "train", labels, balanced=False)
        examples = tokenize_task(name, processor, chosen, "tokenising")
        model = tiny_model(name, VISITS, id2label=dict(enumerate(labels)))
        is_patient = name == "medication_recommendation"
        if is_patient:  # one without a target, who must not count
            for visit in examples[1]["visits"]:
                visit["labels"] = np.full(len(labels), -100.0)
        collator = (PatientCollator if is_patient else VisitCollator).from_processor(processor)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return MedMPLMTrainer(
        model=model.eval(),
        args=run_arguments(folder, **options),
        train_examples=examples,
        eval_examples=examples,
        data_collator=collator,
        processing_class=processor,
        compute_metrics=scores,
    )


@pytest.fixture(scope="module")
def processor():
    return tiny_processor(VISITS)


def loss_of_one_batch(trainer) -> float:
    """The model's own loss of all examples at once."""
    examples = ExampleDataset(trainer.eval_dataset.examples)
    with torch.no_grad():
        return trainer.model(**trainer.data_collator(list(examples))).loss.item()


@pytest.mark.parametrize(("name", "target"), OBJECTIVES)
def test_loss_and_predictions_depend_neither_on_batches_nor_on_order(name, target, processor, tmp_path):
    trainer = trainer_of(name, tmp_path, processor, target)
    examples = trainer.eval_dataset.examples
    expected = trainer.predict(ExampleDataset(examples)).predictions
    parts = expected if isinstance(expected, tuple) else (expected,)
    loss = loss_of_one_batch(trainer)
    order = np.random.default_rng(0).permutation(len(examples))
    for size in BATCH_SIZES:
        trainer.args.per_device_eval_batch_size = size
        for places in (np.arange(len(examples)), order):
            output = trainer.predict(ExampleDataset([examples[place] for place in places]))
            assert output.metrics["test_loss"] == pytest.approx(loss, rel=1e-6)
            found = output.predictions if isinstance(expected, tuple) else (output.predictions,)
            for one, other in zip(found, parts, strict=True):
                other = other[places][:, : one.shape[1]]
                if name == "medication_recommendation":  # rows of padding and first visits mean nothing
                    means = (output.label_ids != -100).all(axis=-1)
                    one, other = one[means], other[means]
                np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * max(1.0, np.abs(other).max()))


@pytest.mark.parametrize(("name", "target"), OBJECTIVES)
def test_the_loss_taken_apart_is_that_of_each_example(name, target, processor, tmp_path):
    trainer = trainer_of(name, tmp_path, processor, target)
    examples = list(ExampleDataset(trainer.eval_dataset.examples[:9]))
    with torch.no_grad():
        batch = trainer.data_collator(examples)
        outputs = trainer.model(**batch)
        logits = (outputs.t2c_logits, outputs.c2c_logits) if name == "pretraining" else outputs.logits
        parts = example_losses(logits, batch["labels"], target)
        for example, (loss, weight) in zip(examples, parts.tolist(), strict=True):
            alone = trainer.data_collator([example])
            assert trainer.model(**alone).loss.item() == pytest.approx(loss / max(weight, 1), rel=1e-5)
            targets = (np.asarray(alone["labels"]) != -100).reshape(1, -1)
            is_count = (name, target) == ("pretraining", "masked")
            assert weight == (targets.sum() if is_count else targets.any() or target == "all")
    assert mean_loss([parts[:4], parts[4:]]) == pytest.approx(outputs.loss.item(), rel=1e-6)


def test_the_loss_of_nothing_is_zero():
    nothing = torch.full((2, 3), -100)
    scores_of_codes = torch.randn(2, 5), torch.randn(2, 5)
    assert mean_loss([example_losses(scores_of_codes, nothing)]) == 0.0
    assert mean_loss([]) == 0.0


def test_the_best_checkpoint_and_the_patience_follow_this_loss(processor, tmp_path, monkeypatch):
    """The stated loss of three evaluations falls, rises and rises, whatever the library's mean does."""
    stated = iter((2.0, 3.0, 4.0, 5.0))
    monkeypatch.setattr("medm_plm.training.trainer.mean_loss", lambda parts: next(stated))
    often = {"eval_strategy": "epoch", "save_strategy": "epoch", "max_steps": -1, "num_train_epochs": 9}
    best = {"load_best_model_at_end": True, "early_stopping_patience": 2, "metric_for_best_model": "loss"}
    trainer = trainer_of("pretraining", tmp_path, processor, per_device_train_batch_size=32, **often, **best)
    trainer.train()
    assert [entry["eval_loss"] for entry in logged(trainer) if "eval_loss" in entry] == [2.0, 3.0, 4.0]
    assert trainer.state.best_metric == 2.0
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")


def losses_of_all(folder: Path) -> dict[str, list[float]]:
    """Evaluation loss by name and batch size."""
    processor, losses = tiny_processor(VISITS), {}
    for name in NAMES:
        trainer = trainer_of(name, folder, processor)
        losses[name] = []
        for size in BATCH_SIZES:
            trainer.args.per_device_eval_batch_size = size
            losses[name].append(trainer.evaluate()["eval_loss"])
            trainer.compute_metrics = None  # then the library asks for nothing but the loss
            losses[name].append(trainer.evaluate()["eval_loss"])
            trainer.compute_metrics = scores
    return losses


def test_two_processes_find_the_loss_of_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    paths = os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "tests")])
    done = subprocess.run(
        [*command, __file__, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = losses_of_all(tmp_path)
    for rank in range(2):
        together = json.loads((tmp_path / f"{rank}.json").read_text())
        for name, losses in alone.items():
            assert together[name] == pytest.approx([losses[0]] * len(losses), rel=1e-6), name
            assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-6), name


if __name__ == "__main__":
    (Path(sys.argv[1]) / f"{os.environ['RANK']}.json").write_text(
        json.dumps(losses_of_all(Path(sys.argv[1])))
    )

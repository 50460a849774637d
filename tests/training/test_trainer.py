"""What our Trainer adds, and what must not go wrong silently: epochs, accumulation, freezing, pickles."""

import pytest
import torch
from accelerate.data_loader import prepare_data_loader

from medm_plm.data.collators import VisitCollator
from medm_plm.errors import InputError
from medm_plm.training.datasets import tokenize_task
from medm_plm.training.finiteness import NamedBatches
from medm_plm.training.task_examples import task_examples, task_labels
from medm_plm.training.trainer import MedMPLMTrainer
from modeling_medm_plm import MedMPLMForPreTraining
from prepared_cohort import tiny_model, tiny_processor
from tiny_trainers import VISITS, pretraining_trainer, run_arguments, silence_dropout


@pytest.fixture(scope="module")
def processor():
    return tiny_processor(VISITS)


def icd_trainer(processor, folder, dropout: bool = True, **options) -> MedMPLMTrainer:
    labels = task_labels("icd_coding", VISITS, 5)
    examples = task_examples("icd_coding", VISITS, "train", labels)
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    model = tiny_model("icd_coding", VISITS, **names)
    if not dropout:
        silence_dropout(model)
    return MedMPLMTrainer(
        model=model,
        args=run_arguments(folder, **options),
        train_examples=tokenize_task("icd_coding", processor, examples, "tokenising"),
        data_collator=VisitCollator.from_processor(processor),
        processing_class=processor,
    )


@pytest.mark.parametrize("make", [pretraining_trainer, icd_trainer])
def test_accumulated_batches_train_like_one_big_batch(make, processor, tmp_path):
    weights, losses = [], []
    for batch_size, accumulation in ((16, 1), (4, 4)):
        trainer = make(
            processor,
            tmp_path / str(batch_size),
            dropout=False,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            optim="sgd",
            learning_rate=1.0,
            max_grad_norm=1e9,
            logging_strategy="steps",
            logging_steps=1,
        )
        trainer.train()
        weights.append(trainer.model.state_dict())
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=2e-5, rtol=1e-4, msg=name)


def test_masks_follow_the_epoch_of_the_run(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path, max_steps=-1, num_train_epochs=3)
    seen = []
    collate = trainer.data_collator

    def remember(examples):
        seen.extend((example["epoch"], example["example_id"]) for example in examples)
        return collate(examples)

    trainer.data_collator = remember
    trainer.train()
    ids = VISITS["hadm_id"].to_list()
    assert sorted(seen) == sorted((epoch, hadm_id) for epoch in range(3) for hadm_id in ids)


@pytest.mark.parametrize("resumed_at", [None, 5])
def test_masks_follow_the_epoch_where_processes_share_the_batches(resumed_at, processor, tmp_path):
    """The loader of one of two processes tells only its sampler of the epoch; four steps are an epoch."""
    seen = []

    def train(checkpoint=None):
        saves = {"save_strategy": "steps", "save_steps": 5, "save_total_limit": 9}
        trainer = pretraining_trainer(processor, tmp_path, max_steps=-1, num_train_epochs=3, **saves)

        def remember(examples):
            seen.append({example["epoch"] for example in examples})
            return trainer.data_collator(examples)

        loader = torch.utils.data.DataLoader(
            trainer.train_dataset, batch_size=8, shuffle=True, collate_fn=NamedBatches(remember)
        )
        shared = prepare_data_loader(
            loader, num_processes=2, process_index=1, put_on_device=False, use_seedable_sampler=True
        )
        assert len(shared) == 4
        trainer.get_train_dataloader = lambda: shared
        trainer.train(resume_from_checkpoint=checkpoint)

    train()
    expected = [{step // 4} for step in range(12)]
    if resumed_at is not None:
        seen.clear()
        train(str(tmp_path / "checkpoints" / f"checkpoint-{resumed_at}"))
        expected = expected[resumed_at:]
    assert seen[-len(expected) :] == expected  # a resumed run may load what it skips


def test_frozen_layers_stay_as_they_are_and_stay_frozen(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path, learning_rate=0.01)
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    loaded = MedMPLMForPreTraining.from_pretrained(tmp_path / "model")
    frozen = {name for name, weight in loaded.named_parameters() if not weight.requires_grad}
    assert any(".text_model.embeddings." in name for name in frozen)
    assert any(".layer.0." in name for name in frozen)
    assert not any(".layer.1." in name for name in frozen)
    for name, weight in loaded.named_parameters():
        assert torch.equal(weight, before[name]) == (name in frozen), name


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_evaluation_during_training_equals_a_fresh_load(optim, processor, tmp_path):
    """Nothing computed from the weights may outlive them; the fused optimizer changes them unseen."""
    trainer = pretraining_trainer(
        processor, tmp_path, optim=optim, learning_rate=0.05, eval_strategy="steps", eval_steps=1, max_steps=3
    )
    trainer.train()
    last = [entry for entry in trainer.state.log_history if "eval_loss" in entry][-1]["eval_loss"]
    trainer.save_model(str(tmp_path / "model"))
    trainer.model = MedMPLMForPreTraining.from_pretrained(tmp_path / "model")
    trainer.model_wrapped = trainer.model
    assert trainer.evaluate()["eval_loss"] == pytest.approx(last, rel=1e-5)


def test_the_text_encoder_can_have_its_own_learning_rate(processor, tmp_path):
    trainer = pretraining_trainer(
        processor, tmp_path, learning_rate=0.02, text_learning_rate=0.001, weight_decay=0.1
    )
    optimizer = trainer.create_optimizer()
    rate_of = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    decay_of = {
        id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]
    }
    trained = {name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert len(rate_of) == len(trained)
    for name, weight in trained.items():
        assert rate_of[id(weight)] == (0.001 if ".text_model." in name else 0.02), name
        assert decay_of[id(weight)] == (0.0 if weight.dim() == 1 else 0.1), name
    assert trainer.create_optimizer() is optimizer
    assert {group["lr"] for group in optimizer.param_groups} == {0.001, 0.02}


def test_nothing_is_pickled_into_a_model_or_a_checkpoint(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path, save_strategy="steps", save_steps=2)
    trainer.train()
    trainer.save_model(str(tmp_path))
    assert (tmp_path / "model.safetensors").is_file()
    assert (tmp_path / "checkpoints" / "checkpoint-2" / "model.safetensors").is_file()
    assert not list(tmp_path.rglob("training_args.bin"))
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".bin", ".pt", ".pkl", ".pth")]


def test_training_stops_early_when_evaluation_stands_still(processor, tmp_path):
    trainer = pretraining_trainer(
        processor,
        tmp_path,
        learning_rate=0.0,
        max_steps=-1,
        num_train_epochs=9,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        early_stopping_patience=2,
    )
    trainer.train()
    assert trainer.state.epoch == 3


def test_a_learning_rate_for_token_weights_wants_token_weights(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path, token_weights_learning_rate=0.5)
    with pytest.raises(InputError, match="the model has no token weights"):
        trainer.create_optimizer()


def test_token_weights_can_have_their_own_learning_rate(processor, tmp_path):
    trainer = pretraining_trainer(
        processor, tmp_path, learning_rate=0.02, text_learning_rate=0.001, token_weights_learning_rate=0.5
    )
    trainer.model.token_weights = torch.nn.ModuleDict({"words": torch.nn.Linear(3, 2)})
    optimizer = trainer.create_optimizer()
    rate_of = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    for name, weight in trainer.model.named_parameters():
        if weight.requires_grad:
            expected = 0.5 if name.startswith("token_weights.") else 0.001 if ".text_model." in name else 0.02
            assert rate_of[id(weight)] == expected, name

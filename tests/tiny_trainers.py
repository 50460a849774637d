"""Trainers of tiny models on invented visits, which take seconds."""

import torch

from medm_plm.data.collators import CodeMasker, PretrainingCollator
from medm_plm.training.arguments import RunArguments
from medm_plm.training.datasets import tokenize_visits
from medm_plm.training.evaluation import keep_places, pretraining_metrics
from medm_plm.training.pretraining_examples import fixed_masks
from medm_plm.training.trainer import MedMPLMTrainer
from prepared_cohort import invent_visits, tiny_model

VISITS = invent_visits(20)
_TIMES = ("runtime", "per_second")


def run_arguments(folder, **options) -> RunArguments:
    quiet = {"use_cpu": True, "disable_tqdm": True, "eval_strategy": "no", "save_strategy": "no", "seed": 3}
    steps = {"max_steps": 2, "per_device_train_batch_size": 8, "load_best_model_at_end": False}
    return RunArguments(
        output_dir=str(folder), **{**quiet, **steps, "dataloader_pin_memory": False, **options}
    )


def pretraining_trainer(processor, folder, dropout: bool = True, **options) -> MedMPLMTrainer:
    torch.manual_seed(0)
    model = tiny_model("pretraining", VISITS, num_frozen_text_layers=1)
    if not dropout:
        silence_dropout(model)
    masker = CodeMasker.from_tokenizer(processor.code_tokenizer, seed=3)
    visits = tokenize_visits(processor, VISITS)
    return MedMPLMTrainer(
        model=model,
        args=run_arguments(folder, **options),
        train_examples=visits,
        eval_examples=fixed_masks(visits, masker),
        data_collator=PretrainingCollator.from_processor(processor, masker=masker),
        processing_class=processor,
        compute_metrics=pretraining_metrics,
        preprocess_logits_for_metrics=keep_places,
    )


def silence_dropout(model: torch.nn.Module) -> None:
    """Make two passes over the same rows equal."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_probs_dropout_prob", "hidden_dropout_prob"):
            if hasattr(getattr(module, "config", None), name):
                setattr(module.config, name, 0.0)


def logged(trainer: MedMPLMTrainer) -> list[dict[str, float]]:
    """Everything a run has logged, apart from times."""
    history = trainer.state.log_history
    return [{name: entry[name] for name in entry if not name.endswith(_TIMES)} for entry in history]

"""Named entity recognition: from the files of a corpus to a finished tagger and its scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction
from transformers.utils import logging

from medm_plm.command_line import print_table
from medm_plm.data.collators import IGNORED_LABEL
from medm_plm.data.files import write_json, write_private
from medm_plm.data.ner import Corpus, Sentence, label_names, read_corpus, split_off_documents
from medm_plm.errors import InputError
from medm_plm.metrics.spans import span_metrics
from medm_plm.rivals.configuration import OWN_ARCHITECTURE
from medm_plm.training.arguments import (
    NER_TASK,
    FinetuningArguments,
    ModelArguments,
    NerArguments,
    RunArguments,
)
from medm_plm.training.datasets import ExampleDataset
from medm_plm.training.evaluation import METRICS_FILE, versions
from medm_plm.training.feature_cache import CacheOptions, add_prefix_states
from medm_plm.training.models import load_model, new_token_classifier
from medm_plm.training.ner_examples import (
    TokenCollator,
    prediction_table,
    tokenize_sentences,
    words_of_tokens,
)
from medm_plm.training.processors import shared_text_tokenizer
from medm_plm.training.resuming import resume_folder
from medm_plm.training.run_record import run_record
from medm_plm.training.trainer import MedMPLMTrainer, start_run
from modeling_medm_plm import MedMPLMForTokenClassification

logger = logging.get_logger(__name__)

VALIDATION_SHARE = 0.1
NO_LIMIT = 100_000  # of tokens; tokenizers without a limit name an astronomical one


@dataclass(frozen=True)
class NerData:
    """Sentences of a run.

    Args:
        sentences (`dict[str, list[Sentence]]`): by split; `test` may be missing.
        counts (`dict[str, dict[str, int]]`): what was left out or mended while reading, by split.
        names (`list[str]`): the label list.
    """

    sentences: dict[str, list[Sentence]]
    counts: dict[str, dict[str, int]]
    names: list[str]

    def held_out(self) -> dict[str, list[Sentence]]:
        """The sentences that are predicted, by split, in one order on all processes."""
        return {split: part for split, part in self.sentences.items() if split != "train"}

    def fingerprint(self) -> str:
        """SHA-256 of all sentences, wherever their files lie."""
        digest = hashlib.sha256()
        for split, sentences in self.sentences.items():
            for sentence in sentences:
                digest.update(repr((split, sentence)).encode())
        return digest.hexdigest()


class TokenTrainer(MedMPLMTrainer):
    """`MedMPLMTrainer` whose evaluation loss is that of a tagger: the mean over all sentences."""

    def example_losses(
        self, model: torch.nn.Module, loss: torch.Tensor, logits: Any, labels: torch.Tensor
    ) -> torch.Tensor:
        """Loss of each sentence, and 1, or 0 for a sentence without words; `(batch, 2)`."""
        losses = model.sentence_losses(logits, labels).double()
        return torch.stack([losses, (labels != IGNORED_LABEL).any(dim=1).double()], dim=1)


def run_ner(
    options: FinetuningArguments, ner_options: NerArguments, model_options: ModelArguments, args: RunArguments
) -> None:
    """Fine-tune a tagger, evaluate and save it, and print a table.

    Args:
        options (`FinetuningArguments`): the task `ner`, the model and the share of training sentences.
        ner_options (`NerArguments`): the corpus.
        model_options (`ModelArguments`): how the model is built.
        args (`RunArguments`): options of the run.

    Raises:
        InputError: if the options do not fit together, or the corpus cannot be read.
    """
    check_ner_options(options, ner_options, model_options, args)
    data = ner_data(ner_options, options.training_ratio, args.seed)
    # The data count, not where they lie.
    facts = SimpleNamespace(
        **{name: value for name, value in vars(ner_options).items() if name not in ("ner_train", "ner_test")},
        ner_data_sha256=data.fingerprint(),
    )
    del facts.ner_validation
    checkpoint = resume_folder(args, options, model_options, facts)
    pretrained = None if options.model == "none" else options.model
    start_run(args)
    texts = [" ".join(sentence.tokens) for sentence in data.sentences["train"]]
    tokenizer = shared_text_tokenizer(args, model_options, texts, checkpoint or pretrained)
    model = build_tagger(tokenizer, pretrained, ner_options, model_options, data.names)

    limit = ner_options.ner_max_length or min(tokenizer.model_max_length, NO_LIMIT)
    examples, pieces = {}, {}
    for split, sentences in data.sentences.items():
        examples[split], pieces[split] = tokenize_sentences(tokenizer, sentences, data.names, limit)
    if args.frozen_text_cache is not None:
        all_examples = [example for part in examples.values() for example in part]
        cache = CacheOptions.from_arguments(args)
        add_prefix_states(model.model, all_examples, cache, tokenizer.pad_token_id)
    trainer = TokenTrainer(
        model=model,
        args=args,
        train_examples=examples["train"],
        eval_examples=examples["validation"],
        data_collator=TokenCollator.from_tokenizer(tokenizer),
        processing_class=tokenizer,
        compute_metrics=metrics_of_windows(data.names),
        preprocess_logits_for_metrics=lambda logits, labels: model.decode(logits, labels != IGNORED_LABEL),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(str(args.run_dir))

    results: dict[str, Any] = {}
    for split, sentences in data.held_out().items():
        predicted = trainer.predict(ExampleDataset(examples[split])).predictions
        labels = words_of_tokens(np.asarray(predicted), examples[split], len(sentences), data.names)
        results[split] = span_metrics(labels, [sentence.labels for sentence in sentences])
        if args.process_index == 0:
            table = prediction_table(sentences, labels)
            write_private(args.run_dir / f"predictions_{split}.parquet", table.write_parquet)
    if args.process_index == 0:
        content = {
            "task": NER_TASK,
            "predictor": "medm_plm",
            "pretrained": pretrained is not None,
            "training_ratio": options.training_ratio,
            "seed": args.seed,
            "data_sha256": data.fingerprint(),
            "versions": versions(),
            **run_record(args, model=pretrained, text_model=model_options.text_model),
            "settings": {"ner_encoder": ner_options.ner_encoder, "longest_sentence": limit},
            "num_labels": len(data.names),
            "num_sentences": {split: len(part) for split, part in data.sentences.items()},
            "num_tokens": {
                split: sum(len(sentence.tokens) for sentence in part)
                for split, part in data.sentences.items()
            },
            "reading": data.counts,
            "tokenising": {split: dict(counts) for split, counts in pieces.items()},
        }
        scores = {split: {"model": metrics} for split, metrics in results.items()}
        write_json(args.run_dir / METRICS_FILE, {**content, **scores, "history": trainer.state.log_history})
        _print_results(data, results)


def check_ner_options(
    options: FinetuningArguments, ner_options: NerArguments, model_options: ModelArguments, args: RunArguments
) -> None:
    """Refuse options that named entity recognition would silently leave aside.

    Raises:
        InputError: naming the option.
    """
    if ner_options.ner_train is None:
        raise InputError("option --ner_train is missing", expected="files or folders of labelled sentences")
    if options.baseline is not None:
        raise InputError("option --baseline has no place in task ner", expected="--ner_encoder none")
    if model_options.architecture != OWN_ARCHITECTURE:
        raise InputError("option --architecture has no place in task ner", expected="--ner_encoder none")
    reads_encoder = ner_options.ner_encoder == "text"
    if not reads_encoder:
        for name, value in (("model", options.model), ("frozen_text_cache", args.frozen_text_cache)):
            if value not in ("none", None):
                raise InputError(
                    f"option --{name} has no place beside --ner_encoder none, which has no text encoder",
                    remedy="leave one of them out",
                )


def ner_data(ner_options: NerArguments, training_ratio: float = 1.0, seed: int = 0) -> NerData:
    """Read the corpus and divide it.

    Args:
        ner_options (`NerArguments`): files or folders of each split.
        training_ratio (`float`, defaults to 1.0): share of the training sentences that is used.
        seed (`int`, defaults to 0): chooses them.

    Returns:
        The sentences; the label list is that of all training sentences.

    Raises:
        InputError: if a file cannot be read, a document stands in two splits, or there is no entity to learn.
    """
    corpora: dict[str, Corpus] = {}
    for split in ("train", "validation", "test"):
        places = getattr(ner_options, f"ner_{split}")
        if places is not None:
            corpora[split] = read_corpus(places, ner_options.ner_format)
    sentences = {split: corpus.sentences for split, corpus in corpora.items()}
    names = label_names(sentences["train"])
    if len(names) == 1:
        raise InputError("the training sentences hold no entity", file=ner_options.ner_train[0])
    if "validation" not in sentences:
        # One division for all seeds, so that runs of several seeds differ in nothing but their weights.
        sentences["train"], validation = split_off_documents(sentences["train"], VALIDATION_SHARE, seed=0)
        sentences = {"train": sentences["train"], "validation": validation, **sentences}
    _refuse_shared_sentences(sentences)
    if training_ratio < 1.0:
        count = -int(-training_ratio * len(sentences["train"]) // 1)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(sentences["train"]))[:count])
        sentences["train"] = [sentences["train"][index] for index in chosen]
    return NerData(sentences, {split: dict(corpus.counts) for split, corpus in corpora.items()}, names)


def _refuse_shared_sentences(sentences: dict[str, list[Sentence]]) -> None:
    """Documents of two splits may share short sentences, such as headings, but not most of their text."""
    seen = {sentence.tokens for sentence in sentences["train"]}
    for split in [split for split in sentences if split != "train"]:
        num_shared = sum(sentence.tokens in seen for sentence in sentences[split])
        if num_shared > 0.5 * len(sentences[split]):
            raise InputError(
                f"more than half of the {split} sentences are training sentences",
                received=f"{num_shared} of {len(sentences[split])}",
                expected="splits of different documents",
            )


def build_tagger(
    tokenizer: Any,
    pretrained: str | None,
    ner_options: NerArguments,
    model_options: ModelArguments,
    names: Sequence[str],
) -> MedMPLMForTokenClassification:
    """Build the tagger, or load a pre-trained text encoder into it.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the text tokenizer.
        pretrained (`str`, *optional*): what `run_pretraining.py` wrote, or a tagger with the same labels.
        ner_options (`NerArguments`): what the BiLSTM reads and its width.
        model_options (`ModelArguments`): how the text encoder is built.
        names (`Sequence[str]`): the label list.

    Returns:
        The model.
    """
    fields: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }
    if ner_options.ner_hidden_size is not None:
        fields["tagger_hidden_size"] = ner_options.ner_hidden_size
    if pretrained is not None:
        return load_model(NER_TASK, pretrained, model_options, **fields)
    reads_encoder = ner_options.ner_encoder == "text"
    return new_token_classifier(tokenizer, model_options, reads_encoder, **fields)


def metrics_of_windows(names: Sequence[str]) -> Callable[[EvalPrediction], dict[str, float]]:
    """Make the `compute_metrics` of `Trainer`, which sees windows; nearly every sentence is one window."""

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        is_word = prediction.label_ids != IGNORED_LABEL
        pairs = []
        for ids in (prediction.predictions, prediction.label_ids):
            pairs.append([[names[i] for i in row[words]] for row, words in zip(ids, is_word, strict=True)])
        return span_metrics(*pairs)

    return compute


def _print_results(data: NerData, results: dict[str, dict[str, float]]) -> None:
    splits = sorted(results, reverse=True)
    kept = sorted({name for metrics in results.values() for name in metrics})
    rows = [[name, *(results[split].get(name) for split in splits)] for name in kept]
    print_table("ner, strict spans", ["metric", *splits], rows)
    counts = [
        (split, name.replace("_", " "), count)
        for split, of_split in data.counts.items()
        for name, count in of_split.items()
    ]
    if counts:
        print_table("left out or mended while reading", ["split", "what", "count"], counts)

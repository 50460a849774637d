"""Training: options of the runs, tokenised examples, models, the frozen-layer cache, Trainer, evaluation."""

"""One variant of `benchmarks/pretraining.py` in a process of its own: a step for each line it is sent.

    python benchmarks/pretraining_worker.py '{"variant": "cached", "batch_size": 8, ...}'

Answers each `step` on the standard input with one line of JSON. A stage's time is read from clocks that hooks
of the model's parts start and stop: wall and CPU time on a CPU, CUDA events on a GPU. Operations are counted
once, by the library's `FlopCounterMode`, read at the same places.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # runs from a clone, installed or not

import torch  # noqa: E402
from pretraining_workload import (  # noqa: E402
    CACHED,
    NO_DROPOUT,
    SHARED,
    SIZES,
    STRAIGHTFORWARD,
    fill_cache,
    make_collator,
    make_model,
    make_visits,
    pad_to_the_maximum,
)
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from medm_plm.training.cpu_attention import prepare_for_training_on_cpu  # noqa: E402

READING, PREFIX, LIVE, ONTOLOGY = "reading the batch", "text, frozen layers", "text, live layers", "ontology"
CODES, HEADS, BACKWARD, OPTIMIZER = "code encoder", "cross-modal and heads", "backward", "optimizer"
STAGES = (READING, PREFIX, LIVE, ONTOLOGY, CODES, HEADS, BACKWARD, OPTIMIZER)
PEAK = "peak"
PEAK_SIZE = {"cpu": 2048, "cuda": 8192}
STEPS_BETWEEN_EVENTS = 10
LEARNING_RATE = 5e-4


class Stages:
    """Adds up what a clock showed in each stage; a stage inside another is not counted twice.

    Args:
        read (callable): the clock; what it returns is subtracted by `subtract`.
        subtract (callable): difference of a later and an earlier reading, a list of numbers.
    """

    def __init__(self, read: Callable[[], Any], subtract: Callable[[Any, Any], list[float]]) -> None:
        self.read, self.subtract = read, subtract
        self.marks: list[tuple[str | None, Any]] = []
        self.open: list[str] = []

    def enter(self, stage: str) -> None:
        """Begin a stage."""
        self._mark()
        self.open.append(stage)

    def leave(self) -> None:
        """End the stage that was begun last."""
        self._mark()
        self.open.pop()

    def _mark(self) -> None:
        self.marks.append((self.open[-1] if self.open else None, self.read()))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside as one stage."""
        self.enter(name)
        yield
        self.leave()

    def totals(self) -> dict[str, list[float]]:
        """What the clock showed in each stage."""
        totals: dict[str, list[float]] = {}
        for (_, before), (stage, after) in zip(self.marks, self.marks[1:], strict=False):
            if stage is not None:
                passed = self.subtract(after, before)
                totals[stage] = [
                    a + b for a, b in zip(totals.get(stage, [0.0] * len(passed)), passed, strict=True)
                ]
        return totals


def time_stages(device: str) -> Stages:
    """Seconds of the wall clock and of all cores, or of the GPU."""
    if device == "cuda":

        def event() -> torch.cuda.Event:
            made = torch.cuda.Event(enable_timing=True)
            made.record()
            return made

        return Stages(event, lambda after, before: [before.elapsed_time(after) / 1e3] * 2)
    return Stages(
        lambda: (time.perf_counter(), time.process_time()),
        lambda after, before: [a - b for a, b in zip(after, before, strict=True)],
    )


def attention_flops(factor: int) -> Callable[..., int]:
    """Count the matrix products of fused attention on a CPU, which the library's counter does not know."""

    def count(*shapes: Any, out_shape: Any = None, **_: Any) -> int:
        query, key = shapes[factor // 8], shapes[factor // 8 + 1]  # the backward pass has the gradient first
        return factor * query[0] * query[1] * query[2] * key[2] * query[3]

    return count


def flop_counter() -> FlopCounterMode:
    """The library's counter with the kernels of the CPU."""
    operators = torch.ops.aten
    return FlopCounterMode(
        display=False,
        custom_mapping={
            operators._scaled_dot_product_flash_attention_for_cpu: attention_flops(4),
            operators._scaled_dot_product_flash_attention_for_cpu_backward: attention_flops(10),
        },
    )


class Variant:
    """A model, its optimizer and its batches.

    Args:
        options (`dict`): `variant`, `batch_size`, `device`, `size`, `num_visits` and `cache`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.name, self.device = options["variant"], options["device"]
        self.size, self.batch_size = SIZES[options["size"]], options["batch_size"]
        self.straightforward = self.name in (STRAIGHTFORWARD, SHARED)
        self.model = make_model(self.name, self.size).to(self.device)
        if self.device == "cpu" and not self.straightforward:
            prepare_for_training_on_cpu(self.model)  # as the Trainer does
        self.visits = make_visits(self.size, options["num_visits"])
        if self.name in (CACHED, NO_DROPOUT):
            fill_cache(self.model, self.visits, Path(options["cache"]))
        self.collator = make_collator(self.size)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        fused = None if self.straightforward else True
        self.optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0, fused=fused)
        self.stages = time_stages(self.device)
        self.next_visit = 0
        self._attach()

    def _attach(self) -> None:
        """Let the parts of the model start and stop the clock."""
        base = self.model if self.straightforward else self.model.model
        codes = base.code_model
        layers = base.text_model.encoder.layer
        num_frozen = sum(not next(layer.parameters()).requires_grad for layer in layers)
        ontology = codes.ontology if self.straightforward else codes.embeddings.word_embeddings
        parts = {PREFIX: [base.text_model.embeddings, *layers[:num_frozen]], LIVE: layers[num_frozen:]}
        for stage, modules in {**parts, CODES: [codes], ONTOLOGY: [ontology]}.items():
            for module in modules:
                module.register_forward_pre_hook(lambda *_, stage=stage: self.stages.enter(stage))
                module.register_forward_hook(lambda *_: self.stages.leave())

    def batch(self) -> dict[str, torch.Tensor]:
        """The next batch as a run would read it, on the device."""
        places = range(self.next_visit, self.next_visit + self.batch_size)
        self.next_visit = (self.next_visit + self.batch_size) % len(self.visits)
        batch = self.collator([self.visits[place % len(self.visits)] for place in places])
        if self.straightforward:
            batch = pad_to_the_maximum(batch, self.size)
        return {name: values.to(self.device) for name, values in batch.items()}

    def step(self) -> float:
        """One optimizer step; the loss."""
        with self.stages.stage(READING):
            batch = self.batch()
        half = torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda")
        with self.stages.stage(HEADS), half:
            output = self.model(**batch)
            loss = output if self.straightforward else output.loss
        with self.stages.stage(BACKWARD):
            loss.backward()
        with self.stages.stage(OPTIMIZER):
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.detach()

    def measure(self) -> dict[str, Any]:
        """Time one step by stages, and on a GPU some more without looking in between."""
        self.stages = time_stages(self.device)
        loss = self.step()
        answer: dict[str, Any] = {}
        if self.device == "cuda":
            torch.cuda.synchronize()
            self.stages, timed = Stages(lambda: None, lambda *_: []), self.stages
            begin = time.perf_counter()
            for _ in range(STEPS_BETWEEN_EVENTS):
                self.step()
            torch.cuda.synchronize()
            answer["step_seconds"] = (time.perf_counter() - begin) / STEPS_BETWEEN_EVENTS
            self.stages = timed
        return {
            **answer,
            "stages": self.stages.totals(),
            "loss": float(loss),
            "peak_memory": peak_memory(self.device),
        }

    def count(self) -> dict[str, Any]:
        """Operations of each stage; also the warm-up."""
        counter = flop_counter()
        self.stages = Stages(counter.get_total_flops, lambda after, before: [float(after - before)])
        with counter:
            self.step()
        return {"flops": {stage: values[0] for stage, values in self.stages.totals().items()}}


class MatrixProducts:
    """The machine's rate for large matrix products: fp32 on a CPU, bf16 on a GPU."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.device = options["device"]
        size = PEAK_SIZE[self.device]
        dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        self.left, self.right = torch.randn(2, size, size, device=self.device, dtype=dtype)
        self.flops = 2 * size**3

    def count(self) -> dict[str, Any]:
        """Warm up."""
        self.measure()
        return {}

    def measure(self) -> dict[str, Any]:
        """Best of five products, in operations a second of CPU or GPU time."""
        rates = []
        for _ in range(5):
            stages = time_stages(self.device)
            with stages.stage(PEAK):
                self.left @ self.right
            if self.device == "cuda":
                torch.cuda.synchronize()
            rates.append(self.flops / stages.totals()[PEAK][1])
        return {"flops_per_second": max(rates)}


def peak_memory(device: str) -> float:
    """Largest resident set of this process in MB, or what the GPU held."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def fill(options: dict[str, Any]) -> dict[str, Any]:
    """Fill the cache, in a process of its own so that its memory is not counted as training's."""
    model = make_model(CACHED, SIZES[options["size"]]).to(options["device"])
    visits = make_visits(SIZES[options["size"]], options["num_visits"])
    begin, begin_cpu = time.perf_counter(), time.process_time()
    fill_cache(model, visits, Path(options["cache"]))
    seconds = {"wall": time.perf_counter() - begin, "cpu": time.process_time() - begin_cpu}
    size = sum(path.stat().st_size for path in Path(options["cache"]).rglob("*") if path.is_file())
    return {**seconds, "bytes": size, "num_visits": len(visits)}


def run_epoch(options: dict[str, Any]) -> dict[str, Any]:
    """Train one whole epoch from the cache, with the batches and workers of a run."""
    from medm_plm.training.bucketing import LengthGroupedBatches, example_lengths

    variant = Variant({**options, "variant": CACHED})
    batches = LengthGroupedBatches(*example_lengths(variant.visits), options["batch_size"])
    loader = torch.utils.data.DataLoader(
        variant.visits,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=variant.collator,
        num_workers=options["workers"],
        pin_memory=variant.device == "cuda",
    )
    variant.stages = Stages(lambda: None, lambda *_: [])
    begin = time.perf_counter()
    for batch in loader:
        on_device = {name: values.to(variant.device, non_blocking=True) for name, values in batch.items()}
        variant.batch = lambda on_device=on_device: on_device  # type: ignore[method-assign]
        loss = variant.step()
    result = {"loss": float(loss), "steps": len(batches)}
    return {**result, "seconds": time.perf_counter() - begin, "visits": len(variant.visits)}


def main() -> None:
    """Build what is asked for and answer until the input ends."""
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    if options["variant"] in ("fill", "epoch"):
        print(json.dumps({"fill": fill, "epoch": run_epoch}[options["variant"]](options)), flush=True)
        return
    subject = MatrixProducts(options) if options["variant"] == PEAK else Variant(options)
    answers = defaultdict(lambda: subject.measure, count=subject.count)
    for line in sys.stdin:
        print(json.dumps(answers[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()

"""The training loop: data -> step -> log -> save -> evaluate. It knows no system by name."""

import logging
import math
import pathlib
import signal
import time

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import metrics as clu_metrics
from clu import parameter_overview
from tqdm import tqdm

from tal_jax import evaluate
from tal_jax.data import load_dataset
from tal_jax.data.check import annotation_problems, unit_problem
from tal_jax.data.features import common_frame_sec
from tal_jax.data.loader import TrainingBatches
from tal_jax.detect import Detector, Stream
from tal_jax.errors import DataError, TrainingError
from tal_jax.published.i3d import with_backbone
from tal_jax.run_config import remember_run
from tal_jax.runtime import distributed
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.runtime.files import replacing
from tal_jax.runtime.parallel import AXIS, make_parallel
from tal_jax.runtime.writers import MetricWriter
from tal_jax.systems import SYSTEMS
from tal_jax.systems.interface import call

log = logging.getLogger(__name__)

LOADER_THREADS = 2  # that make examples beside the step
FEW_RECORDINGS = 20  # to look at before training; reading all of a large data set takes minutes


@flax.struct.dataclass
class TrainState:
    """All that changes during training, and the constants of the network."""

    step: jax.Array  # () int32, updates made
    params: dict
    model_state: dict  # the network's other collections: statistics of BatchNorms, frozen or not
    ema: dict | None  # exponential moving average of the parameters, None if switched off
    optimizer: optax.OptState

    def inference_variables(self):
        """The variables to evaluate and predict with."""
        return {"params": self.params if self.ema is None else self.ema, **self.model_state}


def init_state(config, model, optimizer, inputs, backbone_weights=""):
    """A fresh TrainState. inputs: an example batch of model inputs, for shapes alone; backbone_weights: see
    `config.train`.
    """
    model_state = call(jax.jit(model.init), jax.random.key(config.seed), inputs)
    if backbone_weights:
        model_state = with_backbone(model_state, backbone_weights)
    params = model_state.pop("params")
    ema = jax.tree.map(jnp.copy, params) if config.train.ema_decay else None
    return TrainState(jnp.zeros((), jnp.int32), params, model_state, ema, jax.jit(optimizer.init)(params))


def make_step(config, system, model, optimizer, batches_per_epoch):
    """The body of a training step, one update, for one device of those that share the axis "data" (see
    parallel.py).

    Returns:
      (state, batch) -> (state, values): values are the weighted loss terms, their `total` and the
      `gradient_norm`; and `stop`, the sum of the batch's, which is above 0 on all devices if one process was
      told to stop.
    """

    def step(state, batch):
        batch, stop = {key: value for key, value in batch.items() if key != "stop"}, batch["stop"]
        epoch = (state.step // batches_per_epoch).astype(jnp.float32)
        rng = jax.random.fold_in(
            jax.random.fold_in(jax.random.key(config.seed), state.step), jax.lax.axis_index(AXIS)
        )

        def terms_of(params, model_state, rows, rng):
            return system.loss(config, model, {"params": params, **model_state}, rows, epoch, rng)

        number = config.train.accumulate_steps
        gradients, values, model_state = _gradients(
            terms_of, state.params, state.model_state, batch, rng, number
        )
        gradients, values = jax.lax.psum((gradients, values | {"stop": stop.sum()}), AXIS)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:  # the average is young at first
            decay = jnp.minimum(config.train.ema_decay, (state.step + 1) / (10.0 + state.step))
            ema = jax.tree.map(lambda average, new: decay * average + (1 - decay) * new, ema, params)
        values["gradient_norm"] = optax.tree.norm(gradients)
        return TrainState(state.step + 1, params, model_state, ema, optimizer_state), values

    return step


def _gradients(terms_of, params, model_state, batch, rng, number):
    """This device's part of the gradients of a batch, the sum over devices of which is the whole.

    A first pass over `number` small batches counts what each term is divided by, over all of them and all
    devices. A second pass adds up their gradients. So they make the same update as one large batch, in the
    memory of a small one.

    Args:
      terms_of: (params, model_state, rows of a batch, key) -> (dict name -> Term, model_state).
      params, model_state: see TrainState.
      batch: the rows of this device, which are dealt into the small batches in turn.
      rng: key for what is random in the network.
      number: of small batches; 1 makes a single pass.

    Returns:
      (gradients, values, model_state): values are the weighted terms and their `total`.
    """

    def counts_of(terms):
        return {name: jax.lax.stop_gradient(term.count) for name, term in terms.items()}

    def loss(params, model_state, rows, rng, counts=None):
        terms, model_state = terms_of(params, model_state, rows, rng)
        counts = counts or jax.lax.psum(counts_of(terms), AXIS)
        values = {
            name: term.weight * term.sum / jnp.maximum(counts[name], 1.0) for name, term in terms.items()
        }
        total = sum(values.values())
        return total, (values | {"total": total}, model_state)

    gradients_of = jax.grad(loss, has_aux=True)
    if number == 1:
        gradients, (values, model_state) = gradients_of(params, model_state, batch, rng)
        return gradients, values, model_state

    dealt = jax.tree.map(lambda rows: rows.reshape(-1, number, *rows.shape[1:]).swapaxes(0, 1), batch)
    small_batches = dealt, jax.random.split(rng, number)
    counts = jax.lax.map(lambda small: counts_of(terms_of(params, model_state, *small)[0]), small_batches)
    counts = jax.lax.psum(jax.tree.map(lambda count: count.sum(axis=0), counts), AXIS)

    def add(carry, small):
        gradients, model_state = carry
        more, (values, model_state) = gradients_of(params, model_state, *small, counts)
        return (jax.tree.map(jnp.add, gradients, more), model_state), values

    start = jax.tree.map(jnp.zeros_like, params), model_state
    (gradients, model_state), values = jax.lax.scan(add, start, small_batches)
    return gradients, jax.tree.map(lambda value: value.sum(axis=0), values), model_state


def require_finite(step, values):
    """Raises TrainingError naming the step and the loss terms that are NaN or infinite."""
    bad = {name: value for name, value in values.items() if not math.isfinite(value)}
    # these two only follow
    terms = {name: value for name, value in bad.items() if name not in ("total", "gradient_norm")}
    if bad:
        found = ", ".join(f"'{name}' is {value}" for name, value in (terms or bad).items())
        raise TrainingError(
            f"Step {step}: {found}. Training stops; the last good checkpoint stays. Lower "
            f"config.train.learning_rate, "
            "set config.train.gradient_clip (both with another --workdir), or look for bad values with "
            "--mode=check_data."
        )


class StopSignal:
    """Turns SIGTERM and Ctrl-C into a flag, which the loop gives to the next step: all processes stop behind
    the same one.
    """

    def __init__(self):
        self.received = False
        self._before = {s: signal.signal(s, self._receive) for s in (signal.SIGTERM, signal.SIGINT)}

    def _receive(self, *_):
        if not self.received:
            log.warning("Stopping after this step; a step that is being compiled is finished first.")
        self.received = True

    def restore(self):
        """Gives the signals back to who had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def train(config, workdir):
    """Trains the config's system, resuming from the workdir's latest checkpoint, and evaluates at the end.

    Args:
      config: the run's config.
      workdir: folder for checkpoints, metrics.jsonl, detections.json and scores; of several processes the
        same.

    Returns:
      The evaluation (a dict, as in the file of scores), or None if a signal stopped the run before its end
      (its state is saved).

    Raises:
      DataError, TrainingError: sentences for the user.
    """
    system, workdir = SYSTEMS[config.system], pathlib.Path(workdir)
    system.require_valid(config)
    evaluate.require_inputs_stay(config, workdir)
    dataset = load_dataset(config)
    parallel = devices_of(config)
    _require_usable(config, dataset)
    items, make_example = system.examples(config, dataset)
    distributed.require_same("The number of training windows", len(items))
    batch_size = config.train.batch_size * config.train.accumulate_steps  # of an update
    batches_per_epoch = math.ceil(len(items) / batch_size)
    total_steps = config.train.epochs * batches_per_epoch

    model = system.build(config, len(dataset.annotations.classes))
    optimizer = system.optimizer(config, total_steps)
    inputs = jax.tree.map(
        lambda array: array[None], make_example(items[0], np.random.default_rng(0))["inputs"]
    )
    weights = "" if Checkpoints.exist(workdir) else config.train.get("backbone_weights", "")
    state = init_state(config, model, optimizer, inputs, weights)
    workdir.mkdir(parents=True, exist_ok=True)
    recordings = dataset.annotations.subset(config.data.train_subset).recordings
    frame_sec, problem = common_frame_sec(dataset, recordings)
    if problem:
        log.warning("%s", problem)
    remember_run(config, dataset.annotations.classes, workdir, frame_sec)
    checkpoints = Checkpoints(workdir)
    state = _resumed(checkpoints, state, total_steps, workdir)
    start = int(state.step)
    sizes = len(recordings), len(items), batches_per_epoch, config.train.epochs, parallel.num_devices
    processes = f" of {distributed.count()} processes" if distributed.count() > 1 else ""
    log.info("%d recordings, %d windows, %d steps an epoch, %d epochs, %d device(s)%s.", *sizes, processes)

    batches = TrainingBatches(
        items,
        make_example,
        batch_size=batch_size,
        seed=config.seed,
        threads=LOADER_THREADS,
        start=start,
        process=(distributed.index(), distributed.count()),
    )
    log.info("Compiling the first step; without a compilation cache that takes about half a minute on a CPU.")
    step_fn = parallel.compile(make_step(config, system, model, optimizer, batches_per_epoch))
    detector = Detector([config], len(dataset.annotations.classes), shared=True)
    writer = MetricWriter(workdir, start)
    stop = StopSignal()

    def evaluate_now(state):
        result = evaluate.evaluate_streams(
            workdir, detector, [Stream(config, state.inference_variables(), dataset, frame_sec)]
        )
        checkpoints.save_if_best(int(state.step), state, result["map_avg"])
        writer.write(
            int(state.step),
            {"map_avg": result["map_avg"], **{f"map@{k}": v for k, v in result["map"].items()}},
        )
        return result

    try:
        state, done = _loop(
            config, parallel, step_fn, parallel.replicate(state), batches, range(start + 1, total_steps + 1),
            checkpoints, writer, stop, evaluate_now,
        )  # fmt: skip
        stop.restore()
        return evaluate_now(state) if done else None
    finally:
        stop.restore()
        writer.close()
        checkpoints.close()


def _resumed(checkpoints, state, total_steps, workdir):
    """The state of the latest checkpoint, or the fresh one if there is none, of which parameters.txt in the
    workdir tells.
    """
    restored = checkpoints.restore(state)
    if restored is None:
        if distributed.is_first():
            with replacing(workdir / "parameters.txt") as temporary:
                temporary.write_text(
                    parameter_overview.get_parameter_overview(state.params, include_stats=False) + "\n"
                )
        sizes = [leaf.size for leaf in jax.tree.leaves(state.params)]
        log.info(
            "The network has %s parameters in %d arrays: %s.",
            f"{sum(sizes):,}",
            len(sizes),
            workdir / "parameters.txt",
        )
        return state
    log.info("Resuming from step %d of %d.", restored.step, total_steps)
    return restored


def devices_of(config):
    """The Parallel that a config trains on. Raises DataError if its devices cannot share a batch."""
    parallel = make_parallel(config.parallel.impl, config.parallel.max_devices)
    if config.train.batch_size % parallel.num_devices:
        raise DataError(
            f"config.train.batch_size is {config.train.batch_size}; it must be a multiple of the "
            f"{parallel.num_devices} devices "
            "(--config.parallel.max_devices=1 uses one)."
        )
    return parallel


def _require_usable(config, dataset):
    """Raises DataError for what would stop the run later; warns of annotations that look wrong."""
    for field in ("train_subset", "test_subset"):
        subset = config.data[field]
        if dataset.missing and not any(r.subset == subset for r in dataset.annotations.recordings.values()):
            raise DataError(
                f"None of the recordings of the subset '{subset}' (config.data.{field}) has features."
            )
    evaluate.scored_annotations(config, dataset, evaluate.test_recordings(config, dataset))
    few = [*dataset.annotations.subset(config.data.train_subset).recordings][:FEW_RECORDINGS]
    if problem := unit_problem(dataset, few):
        raise DataError(problem)
    problems = annotation_problems(dataset)
    if problems:
        log.warning("%s --mode=check_data lists such problems; here: %d.", problems[0], len(problems))


def _loop(config, parallel, step_fn, state, batches, steps, checkpoints, writer, stop, evaluate_now):
    """Takes the steps. Returns the state without device axis, which is saved, and whether all steps were
    taken.
    """
    train, total_steps = config.train, steps.stop - 1
    evaluate_every = train.evaluate_every_epochs * batches.batches_per_epoch
    average = _Averages()
    pending = None  # values of the step before: read one step late, so that the device is never waited for
    stopped = False

    def settle(step, values):
        nonlocal stopped
        values = {name: float(value) for name, value in values.items()}
        stopped = values.pop("stop") > 0
        require_finite(step, values)
        average.add(values)

    look = dict(unit="step", mininterval=1.0, dynamic_ncols=True, disable=not distributed.is_first())
    with tqdm(total=total_steps, initial=steps.start - 1, **look) as progress:
        for step in steps:
            before = time.perf_counter()
            batch = next(batches)
            batch = parallel.shard(
                batch | {"stop": np.full(len(batch["sample_mask"]), stop.received, np.float32)}
            )
            waited = time.perf_counter() - before
            state, values = step_fn(state, batch)
            if pending:
                settle(*pending)
            pending = step, values
            average.time(waited, time.perf_counter() - before)
            progress.update()
            last = step == total_steps
            log_now, save_now = (
                last or step % every == 0 for every in (train.log_every_steps, train.save_every_steps)
            )
            if log_now or save_now or stopped:
                settle(*pending)
                pending = None
            if log_now or stopped:
                summary = average.compute_and_reset()
                summary["epoch"] = step / batches.batches_per_epoch
                writer.write(step, summary)
                progress.set_postfix(
                    loss=f"{summary['total']:.3f}", waiting=f"{summary['data_wait_share']:.1%}"
                )
            if save_now or stopped:
                checkpoints.save(step, parallel.unreplicate(state))
            if stopped:
                break
            if evaluate_every and step % evaluate_every == 0 and not last:
                evaluate_now(parallel.unreplicate(state))
    if stopped:
        log.warning("Stopped by a signal; saved at step %d. The same command goes on from here.", step)
    return parallel.unreplicate(state), not stopped


class _Averages:
    """Averages of the loss terms, and the share of time spent waiting for data, since the last log line."""

    def __init__(self):
        self._reset()

    def _reset(self):
        self._metrics, self._waited, self._elapsed, self._steps = {}, 0.0, 0.0, 0

    def add(self, values):
        new = {
            name: clu_metrics.Average.from_model_output(jnp.float32(value)) for name, value in values.items()
        }
        self._metrics = {
            name: self._metrics[name].merge(metric) if self._metrics else metric
            for name, metric in new.items()
        }

    def time(self, waited, elapsed):
        self._waited, self._elapsed, self._steps = (
            self._waited + waited,
            self._elapsed + elapsed,
            self._steps + 1,
        )

    def compute_and_reset(self):
        summary = {name: float(metric.compute()) for name, metric in self._metrics.items()}
        summary |= {
            "data_wait_share": self._waited / self._elapsed,
            "seconds_per_step": self._elapsed / self._steps,
        }
        self._reset()
        return summary

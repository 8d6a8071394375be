"""The training loop: data -> step -> log -> save -> evaluate. It knows no system by name."""

import logging
import math
import pathlib
import signal
import time

import jax
import numpy as np
from clu import parameter_overview
from tqdm import tqdm

from tal_jax import evaluate, report_page
from tal_jax.data import load_dataset
from tal_jax.data.check import annotation_problems, unit_problem
from tal_jax.data.dataset import common_channels, common_frame_sec
from tal_jax.data.loader import stack, training_batches
from tal_jax.detect import Detector, Stream
from tal_jax.errors import DataError, TrainingError
from tal_jax.page import run_page
from tal_jax.run_config import remember_run
from tal_jax.runtime import distributed
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.runtime.files import replacing
from tal_jax.runtime.parallel import devices_of
from tal_jax.runtime.writers import MetricWriter
from tal_jax.step import init_state, make_step
from tal_jax.systems import SYSTEMS, require_valid

log = logging.getLogger(__name__)

FEW_RECORDINGS = 20  # of a subset, to look at before training; reading all of a large data set takes minutes


def train(config, workdir, begun=lambda: None, scored=True):
    """Trains the config's system, resuming from the workdir's latest checkpoint, and evaluates at the end.

    Args:
      config: the run's config.
      workdir: folder for checkpoints, metrics.jsonl, detections.json and scores, the same for all processes.
      begun: is called in the first process when the workdir is that of this run.
      scored: whether the test recordings are detected in and scored at the end; without it there may be none.

    Returns:
      The evaluation (a dict, as in the file of scores), or None if a signal stopped the run before its end
      (its state is saved); {} without `scored`.

    Raises:
      DataError, TrainingError: sentences for the user.
    """
    # ------------------------------------------------------------------------------------------------- data
    # What would stop the run later is refused here, before the workdir is made.
    system, workdir = SYSTEMS[config.system], pathlib.Path(workdir)
    require_valid(config, training=True)
    evaluate.require_inputs_stay(config, workdir)
    dataset = load_dataset(config)
    parallel = devices_of(config)
    _require_usable(config, dataset, scored)
    items, make_example = system.examples(config, dataset)
    distributed.require_same("The number of training windows", len(items))
    batch_size = config.train.batch_size * config.train.accumulate_steps  # of an update
    batches_per_epoch = math.ceil(len(items) / batch_size)
    total_steps = config.train.epochs * batches_per_epoch
    classes = dataset.annotations.classes
    recordings = dataset.annotations.subset(config.data.train_subset).recordings
    channels = common_channels(dataset, [*recordings][:FEW_RECORDINGS])
    frame_sec, problem = common_frame_sec(dataset, recordings)
    if problem:
        log.warning("%s", problem)

    # ------------------------------------------------------------------------------------------------ state
    # 1. A fresh state; a new run has the published weights of its backbone, where the config names some.
    model, optimizer = system.build(config, len(classes)), system.optimizer(config, total_steps)
    inputs = stack([make_example(items[0], np.random.default_rng(0))["inputs"]])
    resumes = Checkpoints.exist(workdir)
    weights = "" if resumes else config.train.get("backbone_weights", "")
    state = init_state(config, model, optimizer, inputs, weights)
    # 2. config.json, written or compared: from here on the workdir is that of this run.
    remember_run(config, classes, workdir, frame_sec, channels)
    if distributed.is_first():
        begun()
    # 3. The latest checkpoint, where there is one, takes the place of the fresh state.
    checkpoints = Checkpoints(workdir)
    state = checkpoints.restore(state) or state
    if resumes:
        log.info("Resuming from step %d of %d.", state.step, total_steps)
    elif distributed.is_first():
        _write_parameters(workdir / "parameters.txt", state.params)
    # 4. Batches and metrics.jsonl go on from the step of the state.
    start, process = int(state.step), (distributed.index(), distributed.count())
    batches = training_batches(
        items, make_example, batch_size=batch_size, seed=config.seed, start=start, process=process
    )
    writer = MetricWriter(workdir, start)

    sizes = len(recordings), len(items), batches_per_epoch, config.train.epochs, parallel.num_devices
    processes = f" of {distributed.count()} processes" if distributed.count() > 1 else ""
    log.info("%d recordings, %d windows, %d steps an epoch, %d epochs, %d device(s)%s.", *sizes, processes)
    log.info("Compiling the first step: half a minute on a CPU; JAX_COMPILATION_CACHE_DIR=FOLDER keeps it.")
    step_fn = parallel.compile(make_step(config, system, model, optimizer, batches_per_epoch))
    state = parallel.replicate(state)
    detector = Detector([config], len(classes), shared=True)

    def evaluate_now():
        now = parallel.unreplicate(state)
        streams = [Stream(config, now.inference_variables(), dataset, frame_sec)]
        result = evaluate.evaluate_streams(workdir, detector, streams, page=False)
        checkpoints.save_if_best(int(now.step), now, result["map_avg"])
        scores = {f"map@{tiou}": value for tiou, value in result["map"].items()}
        writer.write(int(now.step), {"map_avg": result["map_avg"], **scores})
        return result

    def is_due(step):
        every = config.train.evaluate_every_epochs * batches_per_epoch
        return scored and every and step % every == 0 and 0 < step < total_steps

    unread, recent, stopped = [], [], False  # values of steps: still on the device; since the last log line
    seconds = np.zeros(2)  # since the last log line: waiting for data, and in all
    look = dict(unit="step", mininterval=1.0, dynamic_ncols=True, disable=not distributed.is_first())
    stop = StopSignal()
    try:
        if is_due(start) and not distributed.gather(writer.has(start, "map_avg"))[0]:  # it was interrupted
            evaluate_now()
        with tqdm(total=total_steps, initial=start, **look) as progress:
            for step in range(start + 1, total_steps + 1):
                # ------------------------------------------------------------------------------------- step
                before = time.perf_counter()
                batch = next(batches)
                batch["stop"] = np.full(len(batch["sample_mask"]), stop.received, np.float32)
                batch = parallel.shard(batch)
                waited = time.perf_counter() - before
                state, values = step_fn(state, batch)
                unread.append((step, values))
                last = step == total_steps
                log_now = last or step % config.train.log_every_steps == 0
                save_now = last or step % config.train.save_every_steps == 0
                # Values are read one step late, so that the device is not waited for.
                while unread and (log_now or save_now or stopped or len(unread) > 1):
                    of_step, values = unread.pop(0)
                    values = {name: np.float32(value) for name, value in values.items()}
                    stopped = values.pop("stop") > 0
                    require_finite(of_step, values)
                    recent.append(values)
                seconds += waited, time.perf_counter() - before
                progress.update()
                # -------------------------------------------------------------------------------------- log
                if log_now or stopped:
                    mean = _mean(recent, *seconds)
                    writer.write(step, mean | {"epoch": step / batches_per_epoch})
                    waiting = f"{mean['data_wait_share']:.1%}"
                    progress.set_postfix(loss=f"{mean['total']:.3f}", waiting=waiting)
                    recent, seconds = [], np.zeros(2)
                # ------------------------------------------------------------------------------------- save
                if save_now or stopped:
                    checkpoints.save(step, parallel.unreplicate(state))
                if stopped:
                    break
                # --------------------------------------------------------------------------------- evaluate
                if is_due(step):
                    evaluate_now()
        stop.restore()
        if not stopped:
            result = evaluate_now() if scored else {}
            if scored and distributed.is_first():
                then = "; --mode=report tries again"
                run_page.write_or_warn(lambda: report_page.report(config, workdir), then)
            return result
        log.warning("Stopped by a signal; saved at step %d. The same command goes on from here.", step)
    finally:
        stop.restore()
        writer.close()
        checkpoints.close()


def _write_parameters(path, params):
    """Writes a table of the network's parameters, and says how many there are."""
    with replacing(path) as temporary:
        table = parameter_overview.get_parameter_overview(params, include_stats=False)
        temporary.write_text(f"{table}\n")
    sizes = f"{parameter_overview.count_parameters(params):,}", len(jax.tree.leaves(params))
    log.info("The network has %s parameters in %d arrays: %s.", *sizes, path)


def _mean(recent, waited_sec, total_sec):
    """The mean of the values of several steps, the share of time spent waiting for data, the time of a step.

    Args:
      recent: list of {name: value of a step}.
      waited_sec, total_sec: of these steps together.
    """
    mean = {name: float(sum(values[name] for values in recent) / len(recent)) for name in recent[0]}
    return mean | {"data_wait_share": waited_sec / total_sec, "seconds_per_step": total_sec / len(recent)}


def require_finite(step, values):
    """Raises TrainingError naming the step and the loss terms that are NaN or infinite."""
    bad = {name: value for name, value in values.items() if not math.isfinite(value)}
    terms = {name: value for name, value in bad.items() if name not in ("total", "gradient_norm")}
    if bad:
        found = ", ".join(f"'{name}' is {value}" for name, value in (terms or bad).items())
        raise TrainingError(
            f"Step {step}: {found}. Training stops; the last good checkpoint stays. Lower "
            "config.train.learning_rate, set config.train.gradient_clip (both with another --workdir), or "
            "look for bad values with --mode=check_data."
        )


class StopSignal:
    """Turns SIGTERM and Ctrl-C into the flag `received`. The loop gives it to the next step, so that all
    processes stop after the same one.
    """

    def __init__(self):
        self.received = False
        self._before = {s: signal.signal(s, self._receive) for s in (signal.SIGTERM, signal.SIGINT)}

    def _receive(self, *_):
        if not self.received:
            log.warning("Stopping after this step; a step that is being compiled is finished first.")
        self.received = True

    def restore(self):
        """Gives the signals back to their former handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _require_usable(config, dataset, scored):
    """Raises DataError for what would stop the run later; warns of annotations that look wrong.

    scored: whether there must be test recordings.
    """
    fields = ("train_subset", "test_subset") if scored else ("train_subset",)
    for field in fields:
        subset = config.data[field]
        if dataset.missing and not any(r.subset == subset for r in dataset.annotations.recordings.values()):
            raise DataError(
                f"None of the recordings of the subset '{subset}' (config.data.{field}) has features."
            )
    if scored:
        evaluate.scored_annotations(config, dataset, evaluate.test_recordings(config, dataset))
    for field in fields:
        few = [*dataset.annotations.subset(config.data[field]).recordings][:FEW_RECORDINGS]
        dataset.channels(few[0])  # the first one that is read gives the order of named channels
        if problem := unit_problem(dataset, few):
            raise DataError(problem)
    if problems := annotation_problems(dataset):
        log.warning("%s --mode=check_data lists such problems; here: %d.", problems[0], len(problems))

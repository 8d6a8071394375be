"""What systems share that find segments where activations are high: their detections, and their export."""

import functools

from tal_jax.ops.localize import in_features
from tal_jax.systems.candidates import Deployment, of_windows


def detections(config, windows, timeline, localize):
    """Detections of a recording from segments in frames of its windows, see interface.System.

    Args:
        config: the run's config.
        windows: iterable of data.windows.Decoded.
        timeline: Timeline of the recording.
        localize: (config, arrays of a window, F: its length in frames of the video) -> what a rule of
            `ops.localize` gives.
    """
    of_run = functools.partial(localize, config)

    def found(window):
        return in_features(of_run, window.arrays, window.num_features, timeline.stride_frames)

    return of_windows(windows, timeline, found)


def deployment(config, rule, settings, extra_sec=0.0, joined=False):
    """The Deployment of a system whose segments a rule of `ops.localize` finds, and greedy NMS suppresses.

    Args:
        config: the run's config (`window`, `decode.nms_tiou`).
        rule: the function.
        settings: of the rule, a dict.
        extra_sec: see `candidates.suppress_hard`.
        joined: see `candidates.Deployment`.
    """
    window = config.window
    snippets = window.get("snippets", 0)
    seen = dict(window_frames=window.frames, snippets=snippets, sampling=window.get("sampling", ""))
    return Deployment(
        (snippets or window.frames,),
        window.test_stride_frames if window.frames else 0,
        dict(tiou=config.decode.nms_tiou, extra_sec=extra_sec),
        localize=dict(rule=rule.__name__, joined=joined, **seen, **settings),
    )

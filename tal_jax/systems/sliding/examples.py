"""The snippets of a video."""

import functools

from tal_jax.data.windows import Window


def snippets(config, dataset, name):
    """For each snippet of a video a function that makes its Window, see `System.windows`.

    The video is read meanwhile, from its beginning to its end.
    """
    film = dataset.read(name)
    size, stride = config.window.frames, config.window.test_stride_frames
    for shot, start, clip in film.snippets(size, stride):
        offset = start // film.cell_frames
        cells = -(-min(start + size, shot[1]) // film.cell_frames) - offset  # the rest is padding
        info = {"shot_frame": shot, "start_frame": start}
        yield functools.partial(Window, offset, cells, clip, info)

"""A video that is read from its beginning to its end, a snippet of frames at a time, and kept nowhere.

So the length of a film does not matter.
"""

import functools
import logging

import numpy as np
from tqdm import tqdm

from tal_jax.data import video

log = logging.getLogger(__name__)

# I3D sees the centre of a frame whose shorter side was made so long, as its authors test it.
PICTURE = {"short_side_pixels": 256, "crop_pixels": 224}
KEY_FRAMES = 12


class Film:
    """A video as a network of snippets sees it: T cells of `cell_frames` frames each at an even rate.

    Attributes:
        cell_frames: frames of a cell.
        shots: list of (first frame, frame after the last), which cover the film.
        num_frames: at the rate.
        key_frames: (12, h, w, 3) uint8, small pictures from the middles of equal parts, once all is read.
    """

    def __init__(self, path, fps, cell_frames, cuts_sec=()):
        """
        Args:
            path: the video.
            fps: frames a second, whatever the video's own rate.
            cell_frames: frames of a cell, the unit of what is found.
            cuts_sec: (N,) where shots begin; no snippet sees two shots.

        Raises:
            DataError: the file is no video of two frames or more.
        """
        self._reading, self._fps, self.cell_frames = video.Reading(path), fps, cell_frames
        self.duration_sec = self._reading.info.duration_sec
        self.num_frames = max(int(self.duration_sec * fps + 0.5), 1)
        # The first frame that is a picture of the new shot, see `Reading.frames`.
        firsts = np.ceil((np.asarray(cuts_sec) - self._reading.early_sec(fps)) * fps - 1e-6).astype(int)
        cuts = {*np.clip(firsts, 0, self.num_frames).tolist()}
        bounds = sorted({0, self.num_frames} | cuts)
        self.shots = list(zip(bounds[:-1], bounds[1:]))
        self.key_frames = None

    def __len__(self):
        return -(-self.num_frames // self.cell_frames)

    def snippets(self, size, stride):
        """The snippets of each shot: the last one of a shot reaches over its end, where its last frame is
        repeated.

        Args:
            size: frames of a snippet.
            stride: frames from one snippet to the next.

        Yields:
            ((first frame of the shot, frame after its last), first frame of the snippet, clip (size, crop,
            crop, 3) uint8).
        """
        cell, frames, kept, first = self.cell_frames, self._frames(), [], 0  # `kept` begins at `first`
        places = []
        for shot in self.shots:
            places += [(shot, start) for start in snippet_starts(shot[1] - shot[0], size, stride, cell)]
        name = self._reading.path.name
        for (begin, end), start in tqdm(places, unit="snippet", desc=name, leave=False):
            wanted = begin + start
            for _ in range(first + len(kept), min(wanted + size, end)):
                kept.append(next(frames))
            del kept[: wanted - first]
            first = wanted
            clip = kept[: min(size, end - wanted)]
            padding = [clip[-1]] * (size - len(clip))
            yield (begin, end), wanted, np.stack([*clip, *padding])
        for _ in frames:  # to the end, so that all of the video is decoded
            pass
        if notes := "; ".join(self._reading.notes):
            log.warning("%s: %s.", name, notes)

    def _frames(self):
        """(crop, crop, 3) uint8 of each frame; keeps those of `key_frames`."""
        wanted = [int((i + 0.5) * self.num_frames / KEY_FRAMES) for i in range(KEY_FRAMES)]
        crop, found = functools.partial(cropped, **PICTURE), []
        frames = (frame for _, frame in self._reading.frames(self._fps))
        for number, frame in enumerate(video.each_once(crop, frames)):
            found += [frame[::2, ::2]] * wanted.count(number)
            self.key_frames = np.stack(found) if len(found) == KEY_FRAMES else None
            yield frame


def snippet_starts(num_frames, size, stride, cell_frames):
    """First frames of the snippets of a shot: 0, stride, … and one that reaches its end.

    That one begins with a cell, too, so it may reach over the end by less than a cell.
    """
    last = -(-max(num_frames - size, 0) // cell_frames) * cell_frames
    return [*range(0, last, stride), last]


def cropped(frame, short_side_pixels, crop_pixels):
    """(H, W, 3) -> (crop, crop, 3): the centre, after the shorter side was made `short_side_pixels` long."""
    scale = short_side_pixels / min(frame.shape[:2])
    height, width = (max(round(size * scale), crop_pixels) for size in frame.shape[:2])
    if (height, width) != frame.shape[:2]:
        frame = video.resize(frame, height, width)
    top, left = (height - crop_pixels) // 2, (width - crop_pixels) // 2
    return frame[top : top + crop_pixels, left : left + crop_pixels]

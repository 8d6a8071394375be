"""The data sets as TensorFlow Datasets builders; neither TensorFlow nor a download is needed.

builder = tfds_builders.Sbhar(data_dir="data/tfds")
builder.download_and_prepare()
source = builder.as_data_source("train")          # random access: len(source), source[3]["features"]
"""

import importlib.util

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from tal_jax.data.sets import sbhar, thumos14
from tal_jax.errors import DataError


class LocalizationBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the builders share; a builder adds NUM_CHANNELS and where its annotations and features come from.

    A record: name; features (T, C) float32; fps, stride_frames, snippet_frames (the arguments of
    `timeline.Timeline`); duration_sec; segments_sec (G, 2) float64; labels (G,) class indices.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, file_format="array_record", **kwargs):
        if file_format == "array_record" and not importlib.util.find_spec("array_record"):
            raise DataError(
                "ArrayRecord files need the package array_record, which Windows does not have; "
                "file_format='tfrecord', with "
                "TensorFlow, does without."
            )
        super().__init__(file_format=file_format, **kwargs)

    def annotations(self):
        """The Annotations of the data set, without its features."""
        raise NotImplementedError

    def dataset(self, dl_manager):
        """The features.Dataset, unfolded."""
        raise NotImplementedError

    def _info(self):
        def float64(*shape):  # As bytes: the record format itself has only float32.
            return tfds.features.Tensor(shape=shape, dtype=np.float64, encoding="bytes")

        features = dict(
            name=tfds.features.Text(),
            features=tfds.features.Tensor(shape=(None, self.NUM_CHANNELS), dtype=np.float32, encoding="zlib"),
            fps=float64(),
            stride_frames=float64(),
            snippet_frames=float64(),
            duration_sec=float64(),
            segments_sec=float64(None, 2),
            labels=tfds.features.Sequence(tfds.features.ClassLabel(names=self.annotations().classes)),
        )
        description = type(self).__doc__
        return tfds.core.DatasetInfo(
            builder=self, description=description, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        dataset = self.dataset(dl_manager)
        subsets = {recording.subset for recording in dataset.annotations.recordings.values()}
        return {subset: self._generate_examples(dataset, subset) for subset in sorted(subsets)}

    def _generate_examples(self, dataset, subset):
        for name, recording in dataset.annotations.subset(subset).recordings.items():
            timeline = dataset.timeline(name)
            yield (
                name,
                dict(
                    name=name,
                    features=np.asarray(dataset.read(name), np.float32),
                    fps=timeline.fps,
                    stride_frames=timeline.stride_frames,
                    snippet_frames=timeline.snippet_frames,
                    duration_sec=dataset.duration_sec(name),
                    segments_sec=recording.segments_sec,
                    labels=recording.labels,
                ),
            )


class Sbhar(LocalizationBuilder):
    """SBHAR: 12 activities and postural transitions, acceleration (g) and angular rate (rad/s) at 50 Hz."""

    NUM_CHANNELS = 6

    def annotations(self):
        return sbhar.bundled_annotations()

    def dataset(self, dl_manager):
        config = ml_collections.ConfigDict(dict(data=sbhar.data_config()))
        config.data.samples_per_frame = 1
        return sbhar.load(config)


class Thumos14(LocalizationBuilder):
    """THUMOS14: 20 sports classes in web videos, I3D features at a stride of 4 frames."""

    NUM_CHANNELS = 2048
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put one VIDEO.npy of shape (T, 2048) for each video, the widely shared two-stream I3D features "
        "(16-frame snippets at "
        "stride 4), into the folder that download_config.manual_dir names."
    )

    def annotations(self):
        return thumos14.bundled_annotations()

    def dataset(self, dl_manager):
        config = ml_collections.ConfigDict(dict(data=thumos14.data_config("features")))
        config.data.features = str(dl_manager.manual_dir)
        return thumos14.load(config)

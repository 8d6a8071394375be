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

TIMES = ("fps", "stride_frames", "snippet_frames")  # of a `timeline.Timeline`


class LocalizationBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set whose records are recordings.

    A record: name; features (T, C) float32; fps, stride_frames, snippet_frames (the arguments of
    `timeline.Timeline`); duration_sec; segments_sec (G, 2) float64; labels (G,) class indices.

    A builder has NUM_CHANNELS; SOURCE, a module with `bundled_annotations` and `load`; and `data_config`.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, file_format="array_record", **kwargs):
        if file_format == "array_record" and not importlib.util.find_spec("array_record"):
            raise DataError(
                "ArrayRecord files need the package array_record, which Windows does not have; "
                "file_format='tfrecord', with TensorFlow, does without."
            )
        super().__init__(file_format=file_format, **kwargs)

    def _info(self):
        def float64(*shape):  # as bytes, because the record format itself has only float32
            return tfds.features.Tensor(shape=shape, dtype=np.float64, encoding="bytes")

        classes = self.SOURCE.bundled_annotations().classes
        features = dict(
            name=tfds.features.Text(),
            features=tfds.features.Tensor(shape=(None, self.NUM_CHANNELS), dtype=np.float32, encoding="zlib"),
            segments_sec=float64(None, 2),
            labels=tfds.features.Sequence(tfds.features.ClassLabel(names=classes)),
        )
        features |= {name: float64() for name in (*TIMES, "duration_sec")}
        described = dict(description=type(self).__doc__, features=tfds.features.FeaturesDict(features))
        return tfds.core.DatasetInfo(builder=self, **described)

    def _split_generators(self, dl_manager):
        dataset = self.SOURCE.load(ml_collections.ConfigDict(dict(data=self.data_config(dl_manager))))
        subsets = {recording.subset for recording in dataset.annotations.recordings.values()}
        return {subset: self._generate_examples(dataset, subset) for subset in sorted(subsets)}

    def _generate_examples(self, dataset, subset):
        for name, recording in dataset.annotations.subset(subset).recordings.items():
            record = {field: getattr(dataset.timeline(name), field) for field in TIMES}
            record |= dict(name=name, features=np.asarray(dataset.read(name), np.float32))
            record |= dict(segments_sec=recording.segments_sec, labels=recording.labels)
            yield name, record | {"duration_sec": dataset.duration_sec(name)}


class Sbhar(LocalizationBuilder):
    """SBHAR: 12 activities and postural transitions, acceleration (g) and angular rate (rad/s) at 50 Hz."""

    NUM_CHANNELS, SOURCE = 6, sbhar

    def data_config(self, dl_manager):
        """`config.data`, whose features are single samples."""
        data = sbhar.data_config()
        data.samples_per_frame = 1
        return data


class Thumos14(LocalizationBuilder):
    """THUMOS14: 20 sports classes in web videos, I3D features at a stride of 4 frames."""

    NUM_CHANNELS, SOURCE = 2048, thumos14
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put one VIDEO.npy of shape (T, 2048) for each video, the widely shared two-stream I3D features "
        "(16-frame snippets at stride 4), into the folder that download_config.manual_dir names."
    )

    def data_config(self, dl_manager):
        """`config.data`, whose features are in the folder of the user's downloads."""
        data = thumos14.data_config("features")
        data.features = str(dl_manager.manual_dir)
        return data

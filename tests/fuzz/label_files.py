"""Files of labels of other programs, and what reads them: from a file to an annotation file and its report."""

import json

from tal_jax.annotations import report_lines
from tal_jax.data.labels import read_labels
from tal_jax.data.labels.joined import join_labels
from tal_jax.data.labels.rows import Options
from tests.data.labels import test_boris, test_projects, test_samples, test_sets, test_transcripts
from tests.data.sets import test_ego4d
from tests.fuzz import damage
from tests.fuzz.inputs import Reader

OPTIONS = Options(fps=25.0)


def texts():
    event, sheet = test_boris.event, test_boris.sheet
    events = [event("START", 1.5), event("POINT", 2), event("STOP", 3.25), event("START", 4)]
    sensors = "time,ax,label\n0.0,1.5,\n0.02,2.5,walk\n0.04,1.5,walk\n"
    found = {
        "session.eaf": test_transcripts.EAF,
        "long.TextGrid": test_transcripts.TEXTGRID,
        "short.TextGrid": test_transcripts.SHORT,
        "track.txt": "0.5\t1.75\tclap\n\\\t100.0\t2000.0\n3.25\t3.25\tsnap\n",
        "BaseballPitch_val.txt": "video_validation_0000001  72.80 76.4\nvideo_test_0000009 5 9.5\n",
        "events.csv": sheet(test_boris.TABULAR, events),
        "table.tsv": "file\tstart\tend\tlabel\nrec1.mp4\t1:02.5\t00:01:03.250\twalk\nrec2\t1\t2\trun\n",
        "mouse_labels.csv": test_samples.FRAMES,
        "sensors.csv": sensors,
    }
    return {name: text.encode() for name, text in found.items()}


def documents():
    task, region = test_projects.task, test_projects.region
    span = region("timelinelabels", ranges=[{"start": 26, "end": 50}], timelinelabels=["wave"])
    sound = region("labels", start=1.5, end=2.25, channel=0, labels=["bark"]) | {"original_length": 60.5}
    tasks = [
        task(1, {"csv": "/data/upload/4/1f2e3d4c-walk_1.csv"}, test_projects.series(0.5, 2, "Run")),
        task(2, {"video": "clip.mp4"}, span),
        task(3, {"audio": "s3://bucket/dogs.mp3"}, sound),
    ]
    found = {
        "tasks.json": tasks,
        "project.json": test_projects.VIA,
        "schema.json": test_sets.SCHEMA,
        "moments.json": test_ego4d.TRAIN,
    }
    return {name: json.dumps(content).encode() for name, content in found.items()}


def read_as_labels(path):
    """The report on an annotation file of one file of labels, which is not written."""
    read = [read_labels(path, OPTIONS)]
    joined = join_labels([labels for _, labels in read], widen_sec=0.5, target=path)
    json.dumps(joined.content, allow_nan=False)
    return report_lines(read, joined, None, path)


READERS = {
    "labels in texts": Reader(texts, damage.TEXT, read_as_labels),
    "labels in JSON": Reader(documents, damage.JSON, read_as_labels),
}

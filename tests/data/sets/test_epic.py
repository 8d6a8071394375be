"""EPIC-Kitchens-100 as it is published: CSV files, and feature files with class scores beside the features."""

import ml_collections
import numpy as np
import pytest

from tal_jax.data import dataset_annotations, load_dataset
from tal_jax.data.sets import epic
from tal_jax.errors import DataError
from tal_jax.ranges import require_fields

HEAD = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
    "stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
)
TRAIN = (
    "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,1,door,0,['door'],[0]\n"
    "P01_01_1,P01,P01_01,00:00:02.629,00:01:04.370,01:00:06.17,262,370,take plate and door,take,0,plate,1,"
    "\"['plate', 'door']\",\"[1, 0]\"\n"
)
VALIDATION = (
    "P02_03_7,P02,P02_03,00:00:00.560,00:00:00.00,00:00:01.89,1,113,wash plate,wash,2,plate,1,['plate'],[1]\n"
)
FILES = {
    "EPIC_100_train.csv": HEAD + TRAIN,
    "EPIC_100_validation.csv": HEAD + VALIDATION,
    "EPIC_100_verb_classes.csv": "id,key,instances,category\n"
    "0,take,\"['take', 'grab']\",retrieve\n1,open,['open'],access\n2,wash,['wash'],clean\n3,dry,['dry'],clean\n",
    "EPIC_100_noun_classes_v2.csv": '"id","key","instances","category"\n'
    '0,"cupboard","[\'cupboard\', \'door\']","storage"\n1,"plate","[\'plate\']","crockery"\n',
    "EPIC_100_video_info.csv": "video_id,duration,fps,resolution\n"
    "P01_01,3652.15,59.94,1920x1080\nP02_03,30.5,50.0,1920x1080\nP09_09,1.0,50.0,1920x1080\n",
}


@pytest.fixture
def config(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    config = ml_collections.ConfigDict(dict(data=epic.data_config()))
    config.evaluate = ml_collections.ConfigDict(dict(recording_scores=""))
    config.data.update(annotations=str(tmp_path), features=str(tmp_path / "features"))
    return config


def test_verbs_and_nouns_are_read(config):
    verbs = dataset_annotations(config)
    assert verbs.classes == ("take", "open", "wash", "dry")
    first, second = verbs.recordings.values()
    assert (first.name, first.subset, first.duration_sec, first.fps) == ("P01_01", "train", 3652.15, None)
    assert (second.name, second.subset, second.duration_sec) == ("P02_03", "validation", 30.5)
    np.testing.assert_allclose(first.segments_sec, [[0.14, 3.37], [64.37, 3606.17]])
    np.testing.assert_array_equal(first.labels, [1, 0])
    config.data.task = "noun"
    nouns = dataset_annotations(config)
    assert nouns.classes == ("cupboard", "plate")
    np.testing.assert_array_equal(nouns.recordings["P01_01"].labels, [0, 1])


def test_published_features_are_read(config, tmp_path):
    (tmp_path / "features").mkdir()
    for name in ("P01_01", "P02_03"):
        scores = dict(v_probs=np.ones((9, 97)), n_probs=np.ones((9, 300)))
        np.savez(tmp_path / "features" / f"{name}.npz", feats=np.full((9, 2304), 2.0, np.float32), **scores)
    dataset = load_dataset(config)
    assert dataset.read("P01_01").shape == (9, 2304) and (dataset.read("P01_01") == 2).all()
    # feature 0 has seen 32 frames at 30 a second
    np.testing.assert_allclose(dataset.timeline("P01_01").to_seconds([0.5, 1.5]), [16 / 30, 32 / 30])


def test_an_ignored_class_is_none_and_lengths_may_be_missing(config, tmp_path):
    (tmp_path / "EPIC_100_video_info.csv").unlink()
    config.data.ignored_labels = ("take",)
    found = dataset_annotations(config)
    assert found.classes == ("open", "wash", "dry") and found.recordings["P01_01"].duration_sec is None
    np.testing.assert_allclose(found.recordings["P01_01"].ignored_sec, [[64.37, 3606.17]])


@pytest.mark.parametrize("name, old, new, sentence", [
    ("EPIC_100_train.csv", "stop_timestamp,", "end,", r"the column 'stop_timestamp' is missing; take the published"),
    ("EPIC_100_train.csv", ",open,1,", ",open,one,", "line 2: verb_class must be a whole number, found 'one'"),
    ("EPIC_100_train.csv", ",open,1,", ",open,,", "line 2: the column 'verb_class' is empty"),
    ("EPIC_100_train.csv", ",open,1,", ",open,4,", "line 2: verb_class is 4; the classes have the numbers 0 to 3"),
    ("EPIC_100_train.csv", "00:00:03.37", "3.37", "line 2: stop_timestamp must be a time as in 00:01:02.50, found"),
    ("EPIC_100_train.csv", "00:00:03.37", "00:00:00.10", "line 2: an action ends at 0.1 s, before it begins at 0.14 s"),
    ("EPIC_100_train.csv", TRAIN, "", "EPIC_100_train.csv: the file has no row"),
    ("EPIC_100_train.csv", TRAIN, "P01_01_0,P01\n", "line 2: the column 'video_id' is empty"),
    ("EPIC_100_validation.csv", "P02_03,", "P01_01,", "line 2: the video 'P01_01' is in EPIC_100_train.csv, too"),
    ("EPIC_100_validation.csv", "P02_03,", "a/b,", "a/b"),
    ("EPIC_100_verb_classes.csv", "3,dry", "7,dry", "the classes must have the numbers 0, 1, 2, "),
    ("EPIC_100_video_info.csv", "3652.15", "long", "line 2: duration must be a finite number, found 'long'"),
])  # fmt: skip
def test_a_fault_is_one_sentence(config, tmp_path, name, old, new, sentence):
    assert old in FILES[name]
    (tmp_path / name).write_text(FILES[name].replace(old, new))
    with pytest.raises(DataError, match=sentence):
        dataset_annotations(config)


def test_what_is_missing_is_asked_for(config, tmp_path):
    with pytest.raises(
        DataError, match="no feature file in .*features, a folder that does not exist.*VIDEO.npz"
    ):
        load_dataset(config)
    (tmp_path / "EPIC_100_train.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="EPIC_100_train.csv: not a text file in UTF-8"):
        dataset_annotations(config)
    (tmp_path / "EPIC_100_train.csv").unlink()
    with pytest.raises(
        DataError, match="EPIC_100_train.csv: No such file or directory. Put the files of github"
    ):
        dataset_annotations(config)
    config.data.task = "adverb"
    for check in (require_fields, dataset_annotations):
        with pytest.raises(DataError, match="config.data.task is 'adverb'; it must be one of verb, noun"):
            check(config)

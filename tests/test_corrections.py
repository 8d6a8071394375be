"""The simulated person of benchmarks/corrections.py."""

from benchmarks.corrections import corrected, read_track, write_track

TRUTH = [(1.0, 3.0, "walk"), (5.0, 9.0, "sit"), (10.0, 12.0, "walk"), (20.0, 24.0, "lie")]


def test_nothing_found_is_all_added():
    labels, done = corrected([], TRUTH)
    assert labels == TRUTH and done == {"added": 4, "deleted": 0}


def test_what_is_near_stays_and_the_rest_is_moved_renamed_added_or_deleted():
    found = [
        (1.4, 3.3, "walk"),  # within half a second
        (5.0, 8.0, "sit"),  # its end is moved
        (10.0, 12.0, "lie"),  # it is renamed
        (15.0, 16.0, "lie"),  # nothing takes place there
        (5.1, 8.9, "lie"),  # its action has a detection of its class already
    ]
    labels, done = corrected(found, TRUTH)
    assert labels == [found[0], *TRUTH[1:]]
    assert done == {"kept": 1, "moved": 1, "relabelled": 1, "added": 1, "deleted": 2}
    assert corrected([(30.0, 31.0, "walk")], []) == ([], {"deleted": 1})


def test_tracks_there_and_back(tmp_path):
    write_track(tmp_path / "a.txt", TRUTH)
    assert read_track(tmp_path / "a.txt") == TRUTH

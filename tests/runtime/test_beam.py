import pytest

from tal_jax.errors import DataError
from tal_jax.runtime.beam import reason_of_failure, run_in_beam


def _job(path):
    if path.endswith("full"):
        raise OSError("No space left on device")
    return "no video" if path.endswith("b") else ""


def test_reasons_come_back_by_the_name_that_was_given(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    monkeypatch.chdir(tmp_path)
    assert run_in_beam(_job, ["a", tmp_path / "b"], "between") == {"a": "", str(tmp_path / "b"): "no video"}
    assert run_in_beam(_job, [], "between") == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options, sentence",
    [
        ("--runner=Nobody", "Unexpected pipeline runner: Nobody"),
        ("--direct_num_workers=many", "argument --direct_num_workers: invalid int value: 'many'."),
        ("--direct_num_worker=2", "there is no option --direct_num_worker."),
        ("--direct_num_workers 2 x", "'x' is no option."),
        ('--job_name="x', "No closing quotation"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(tmp_path, capfd, options, sentence):
    pytest.importorskip("apache_beam")
    with pytest.raises(DataError) as caught:
        run_in_beam(_job, ["a"], tmp_path / "between", options)
    text = str(caught.value)
    assert (
        text.startswith(f"The Beam options '{options}' cannot be: ") and sentence in text and "\n" not in text
    )
    assert "usage" not in capfd.readouterr().err


def test_a_full_disk_ends_the_pipeline_in_one_sentence(tmp_path):
    pytest.importorskip("apache_beam")
    with pytest.raises(
        DataError, match="The Beam pipeline with the options '' failed: .*No space left on device"
    ) as caught:
        run_in_beam(_job, ["a", "full"], tmp_path / "between")
    assert "\n" not in str(caught.value)


def test_a_failure_costs_its_video_alone_but_a_full_disk_is_raised():
    def fail(error):
        raise error

    assert reason_of_failure("a.mp4", lambda: None) == ""
    assert reason_of_failure("a.mp4", lambda: fail(DataError("Cut off."))) == "Cut off."
    assert (
        reason_of_failure("a.mp4", lambda: fail(KeyError("x")))
        == "The video a.mp4 cannot be used: KeyError: 'x'"
    )
    with pytest.raises(OSError):
        reason_of_failure("a.mp4", lambda: fail(OSError("full")))

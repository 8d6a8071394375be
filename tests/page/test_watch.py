"""--mode=watch: who sees what, and that the page follows the run."""

import json
import re
import shutil
import threading
import urllib.error
import urllib.request

import pytest

from tal_jax import watch
from tal_jax.errors import DataError
from tal_jax.run_config import remember_run
from tests.page.conftest import CLASSES, write_case


@pytest.fixture
def run(tmp_path):
    """(config, workdir) of a run that has detected in four recordings, one of which has a sound file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "run").mkdir()
    config = write_case(tmp_path / "data")
    remember_run(config, CLASSES, tmp_path / "run", 0.1)
    shutil.copy(tmp_path / "data" / "detections.json", tmp_path / "run")
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "rec1.wav").write_bytes(bytes(range(100)))
    return config, tmp_path / "run"


@pytest.fixture
def address(run, tmp_path, capsys):
    """The address of the page of `run` while it is watched."""
    config, workdir = run
    servers, listens = [], threading.Event()
    started = lambda server: (servers.append(server), listens.set())
    args = dict(media=str(tmp_path / "sounds"), started=started)
    thread = threading.Thread(target=watch.watch, args=(config, workdir), kwargs=args, daemon=True)
    thread.start()
    assert listens.wait(30)
    yield re.search(r"http://127.0.0.1:\d+/\S+/", capsys.readouterr().out)[0]
    servers[0].shutdown()
    thread.join(60)


def get(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
        return answer.status, answer.read(), answer.headers


def content_of(page):
    return json.loads(re.search('id="content">(.*?)</script>', page.decode())[1])


def test_the_page_follows_the_run(run, address):
    made = content_of(get(address)[1])
    assert len(made["recordings"]) == 4 and get(f"{address}state")[1].decode() == made["state"]
    found = json.loads((run[1] / "detections.json").read_text())
    found["results"] = {name: rows[:1] for name, rows in found["results"].items()}
    (run[1] / "detections.json").write_text(json.dumps(found))
    assert get(f"{address}state")[1].decode() != made["state"]
    assert [len(row["found"][0]["rows"]) for row in content_of(get(address)[1])["recordings"]] == [1] * 4


def test_nobody_without_the_word_sees_anything(address):
    host = re.match(r"http://[^/]+/", address)[0]
    assert get(address[:-1])[1] == get(address)[1]
    for place in ("", "wrong/", "wrong/state", f"{address.split('/')[3][:-1]}/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(host + place)


def test_a_player_gets_parts_of_a_file_and_no_other_file(address):
    (row,) = (row for row in content_of(get(address)[1])["recordings"] if "media" in row)
    assert row["name"] == "rec1" and row["media"]["sound"]
    sound, whole = address + row["media"]["src"], bytes(range(100))
    assert get(sound)[:2] == (200, whole)
    for asked, part in (
        ("5-9", whole[5:10]),
        ("90-", whole[90:]),
        ("-7", whole[-7:]),
        ("95-500", whole[95:]),
    ):
        status, found, headers = get(sound, Range=f"bytes={asked}")
        assert (status, found) == (206, part) and headers["Content-Range"].endswith("/100")
    with pytest.raises(urllib.error.HTTPError, match="416"):
        get(sound, Range="bytes=100-")
    for place in ("media/1", "media/-1", "../config.json", "config.json", "media/0/../../config.json"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(address + place)


def test_a_damaged_file_of_the_run_is_a_sentence(run, address):
    (run[1] / "detections.json").write_text("{")
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(address)
    assert caught.value.code == 503 and "detections.json" in caught.value.read().decode()


def test_a_page_that_is_still_open_plays_its_own_files(run, tmp_path):
    watched = watch.Watched(*run, str(tmp_path / "sounds"), ())
    watched.page()
    (tmp_path / "sounds" / "rec0.wav").write_bytes(b"other")
    (tmp_path / "sounds" / "rec2.wav").write_bytes(b"other")
    before = watched.files[0]
    (run[1] / "detections.json").write_text('{"results": {}}')
    made = content_of(watched.page().encode())
    assert watched.files[0] == before
    of = {row["name"]: row["media"]["src"] for row in made["recordings"] if "media" in row}
    assert of["rec1"] == "media/0" and of["rec2"] == "media/1"


def test_a_run_that_is_gone_or_labelled_anew_is_seen(run, tmp_path):
    watched = watch.Watched(*run, "", ())
    before = watched.page()
    content = json.loads((tmp_path / "data" / "labels.json").read_text())
    for entry in content["database"].values():
        entry["annotations"] = entry["annotations"][:1]
    (tmp_path / "data" / "labels.json").write_text(json.dumps(content))
    assert watched.page() != before
    (run[1] / "config.json").unlink()
    assert "No step yet" in watched.page()


def test_a_run_that_has_not_begun_is_waited_for(run, tmp_path):
    config, workdir = run
    workdir.rename(tmp_path / "later")
    watched = watch.Watched(config, workdir, "", ())
    waiting = watched.page()
    assert "No step yet" in waiting and content_of(waiting.encode())["state"] == watched.state()
    workdir.mkdir()
    (tmp_path / "later" / "config.json").rename(workdir / "config.json")
    assert content_of(waiting.encode())["state"] != watched.state() and "No step yet." in watched.page()
    (tmp_path / "later" / "detections.json").rename(workdir / "detections.json")
    assert len(content_of(watched.page().encode())["recordings"]) == 4


def test_what_cannot_be_watched_is_refused(run, tmp_path):
    config, workdir = run
    with pytest.raises(DataError, match="--host is empty"):
        watch.watch(config, workdir, host="")
    with pytest.raises(DataError, match="--input=nowhere is no folder"):
        watch.watch(config, workdir, media="nowhere")
    with pytest.raises(DataError, match="Nothing can listen at éé"):
        watch.watch(config, workdir, host=70 * "é")
    with pytest.raises(DataError, match="Nothing can listen at 203.0.113.1:0 .*choose another --host"):
        watch.watch(config, workdir, host="203.0.113.1")


def test_a_browser_sees_what_is_new(run, address, browser):
    page = browser.new_page()
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.wait_for_selector("h1")
    before = page.evaluate("content.state")
    (run[1] / "metrics.jsonl").write_text(json.dumps({"step": 1, "total": 2.0, "epoch": 1.0}) + "\n")
    with page.expect_navigation(timeout=30_000):
        pass
    assert page.evaluate("content.state") != before
    assert not [text for text in errors if "favicon" not in text]
    page.close()


def test_what_a_person_has_chosen_stays(run, address, browser):
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector(".row")
    recordings = page.locator("#recordings")
    recordings.get_by_label("Class").select_option("walk")
    recordings.get_by_label("Order").select_option("name")
    recordings.get_by_label("Find").fill("rec")
    page.evaluate("touched = -1e12")
    (run[1] / "metrics.jsonl").write_text(json.dumps({"step": 1, "total": 2.0, "epoch": 1.0}) + "\n")
    with page.expect_navigation(timeout=60_000):
        pass
    page.wait_for_selector(".row:not([hidden])")
    assert page.evaluate("[content.classes[state.label], filters.elements.order.value]") == ["walk", "name"]
    names = page.locator(".row:visible a").all_text_contents()
    assert names == ["rec1", "rec2", "rec3"]
    page.close()


def test_losses_are_renewed_without_reading_the_recordings_again(run, monkeypatch):
    config, workdir = run
    read, of_run = [], watch.report_page.content_as_it_stands
    monkeypatch.setattr(
        watch.report_page, "content_as_it_stands", lambda *args: read.append(args) or of_run(*args)
    )
    watched = watch.Watched(config, workdir, "", ())
    watched.page()
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": 7, "total": 2.0}) + "\n")
    text = watched.page()
    assert "7 steps." in text and "<title>total</title>" in text
    assert len(read) == 1
    (workdir / "detections.json").write_text('{"results": {}}')
    watched.page()
    assert len(read) == 2


def test_what_the_run_writes_while_it_is_read_is_read_again(run, monkeypatch):
    config, workdir = run
    read, of_run = [], watch.report_page.content_as_it_stands

    def content_as_it_stands(*args):
        read.append(of_run(*args))
        (workdir / "detections.json").write_text('{"results": {}}')
        return read[-1]

    monkeypatch.setattr(watch.report_page, "content_as_it_stands", content_as_it_stands)
    watched = watch.Watched(config, workdir, "", ())
    pages = [watched.page() for _ in range(3)]
    assert len(read) >= 2 and pages[0] != pages[1]

"""The page in a real browser: what a person does with it."""

import http.server
import json
import threading

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording, load_annotations
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.page import content, write
from tests import tiny_config
from tests.data.test_video import numbered, write_video
from tests.page.conftest import SCRIPT


def first_row(page):
    page.wait_for_selector(".row")
    return page.locator(".row").first


def open_recording(page, name):
    page.get_by_role("link", name=name, exact=True).click()
    page.wait_for_selector(".recording")


def until(page, condition):
    """Waits until an expression of JavaScript is true; the policy of the page forbids Playwright's own way."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never true: {condition}")


def slide(page, share):
    """Moves the slider of all recordings to a share of its range."""
    page.locator("#recordings [name=score]").evaluate(
        """(slider, share) => { slider.value = Number(slider.min) + share * (slider.max - slider.min);
            slider.dispatchEvent(new Event("input", {bubbles: true})); }""",
        share,
    )


def said(page):
    return page.locator(".slider .said").last.text_content()


def test_the_page_shows_everything(case, opened):
    page = opened(case[1])
    assert page.title() == "out · tal_jax"
    headings = page.locator("h2").all_text_contents()
    assert headings == ["In short", "Recordings", "Scores", "Errors", "The run"]
    summary = page.locator(".summary").inner_text()
    assert "The weakest class is" in summary and "commonest error" in summary and "Look at" in summary
    assert page.locator("#recordings .row").count() == 4
    assert page.locator("#errors .card").count() >= 7


def test_names_and_labels_are_text(case, opened):
    page = opened(case[1])
    assert page.get_by_text("<img src=x onerror=window.broken=1>").count()
    open_recording(page, SCRIPT)
    assert page.locator(".recording h1").text_content() == SCRIPT
    assert page.evaluate("window.broken") is None
    assert page.locator("img").count() == 0 and page.locator("script").count() == 2


@pytest.fixture
def asked():
    """(address of a server that is there, list of the paths that it was asked for)."""
    paths = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


def test_no_network(case, browser, asked, tmp_path):
    """The policy of the page refuses what a script would ask of a network, which without it would be asked."""
    address, paths = asked
    (tmp_path / "open.html").write_text(case[1].read_text().replace("Content-Security-Policy", "X-None"))
    for path, count in ((case[1], 0), (tmp_path / "open.html", 1)):
        page = browser.new_page()
        page.goto(path.as_uri())
        page.evaluate(f"fetch('{address}/one', {{mode: 'no-cors'}}).catch(() => null)")
        page.evaluate(
            f"""new Promise((done) => {{ const image = new Image(); image.onload = image.onerror = done;
                image.src = '{address}/two'; }})"""
        )
        assert paths == ["/one", "/two"][: 2 * count]
        page.close()


def test_the_slider(case, opened):
    page = opened(case[1])
    counts = []
    for share in (0, 0.5, 1):
        slide(page, share)
        counts.append([int(part.split()[0]) for part in said(page).split(" · ")])
    assert counts[0][0] >= counts[1][0] >= counts[2][0] and counts[0][1] > counts[2][1]
    assert counts[2][2] == 20 - counts[2][0]


def judged_page(folder, truths, found, **more):
    """The path of a page of one recording of 100 s; truths (label, start, end), found (…, score)."""
    labels = ["walk", "jump"]
    segments = np.array([[start, end] for _, start, end in truths], float).reshape(-1, 2)
    rows = np.array([labels.index(label) for label, *_ in truths], np.int32)
    known = Annotations(tuple(labels), {"one": Recording("one", "test", 100.0, segments, rows)})
    results = [{"label": label, "segment": [s, e], "score": score} for label, s, e, score in found]
    config = tiny_config.get_config("toy")
    config.data.update(input="rgb", frames="", **more)
    which = dict(subset="test", left_out=(), missing="missed")
    made = content.of_run("one", config, known, {"": {"one": results}}, which)
    return write.write_page(folder / "page.html", made)


TRUTHS = [("walk", 10, 20), ("walk", 30, 40), ("jump", 50, 60)]
FOUND = [("walk", 10, 20, 0.9), ("jump", 50, 60, 0.8), ("jump", 80, 90, 0.7), ("swim", 1, 2, 0.6)]


def test_what_is_not_scored_is_neither_right_nor_wrong(opened, tmp_path):
    page = opened(judged_page(tmp_path, TRUTHS, FOUND))
    page.evaluate("setThreshold(0)")
    assert said(page) == "2 right · 1 wrong · 1 of 3 not found"
    open_recording(page, "one")
    assert page.locator(".list tbody td:last-child").all_text_contents() == [
        "not scored", "right", "right", "background",
    ]  # fmt: skip
    assert page.evaluate("view.items.map(({type}) => type)") == [-1, 0, 0, 5]


def test_times_are_rounded_before_they_are_minutes(opened, tmp_path):
    page = opened(judged_page(tmp_path, TRUTHS, FOUND))
    written = page.evaluate(
        "[clock(239.97, 300), clock(239.94, 300), clock(3599.6, 4000, 0), clock(59.97, 60)]"
    )
    assert written == ["4:00.0", "3:59.9", "1:00:00", "60.0"]


def test_the_class_that_is_chosen_is_counted(opened, tmp_path):
    page = opened(judged_page(tmp_path, TRUTHS, FOUND))
    page.evaluate("setThreshold(0)")
    page.locator("#recordings").get_by_label("Class").select_option("jump")
    assert said(page) == "1 right · 1 wrong · 0 of 1 not found"
    assert page.locator(".row p").text_content().endswith("1 error")
    seen = "(bars) => bars.filter((bar) => bar.checkVisibility({visibilityProperty: true})).map(({title}) => title)"
    titles = page.locator(".row .bar").evaluate_all(seen)
    assert "jump, score 0.80, right, 50.0 to 60.0" in titles and not any("walk" in title for title in titles)


def test_a_thinned_page_says_how_many_wrong_detections_it_lacks(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(content.rows, "most_of_each", lambda *_: 2)
    page = opened(judged_page(tmp_path, TRUTHS, FOUND))
    page.evaluate("setThreshold(0)")
    assert said(page) == "2 right · 0 wrong, up to 1 more that the page lacks · 1 of 3 not found"
    assert "2 of 4, 1 of them wrong, are left out here" in page.locator("#run").text_content()
    page.evaluate("setThreshold(0.85)")  # none of those that are left out has it
    assert said(page) == "1 right · 0 wrong · 2 of 3 not found"


def test_a_correction_is_given_up_by_undoing_it(opened, tmp_path):
    page = opened(judged_page(tmp_path, [("walk", 0, 0.005), *TRUTHS], FOUND))
    open_recording(page, "one")
    page.evaluate("setThreshold(0)")
    page.keyboard.press("e")
    assert page.evaluate("view.items.length") == 4 and not page.evaluate("isSaved()")
    page.keyboard.press("Escape")
    page.wait_for_selector("#recordings .row")
    open_recording(page, "one")
    page.keyboard.press("a")
    for count in (4, 4):  # the action that was added goes, then the correction
        page.keyboard.press("Control+z")
        assert page.evaluate("view.items.length") == count
    assert page.evaluate("isSaved() && !view.recording.corrected") and page.locator(".editing").is_hidden()
    page.keyboard.press("Control+z")
    assert page.evaluate("view.items[0].score") is not None


def test_a_start_is_never_negative_and_a_cancelled_drag_ends(opened, tmp_path):
    page = opened(judged_page(tmp_path, [("walk", 0, 0.005), *TRUTHS], FOUND))
    open_recording(page, "one")
    page.get_by_label("Correct, starting from").select_option("truth")
    page.get_by_role("button", name="Correct from").click()
    assert page.evaluate("movedBy(view.items[0], 'start', -3)") == {"start": 0, "end": 5}
    left, right, y = place_of(page, 1)
    page.mouse.move((left + right) / 2, y)
    page.mouse.down()
    page.mouse.move((left + right) / 2 + 20, y, steps=4)
    page.evaluate("track.dispatchEvent(new PointerEvent('pointercancel'))")
    before = page.evaluate("view.items.map(({start}) => start)")
    page.mouse.move((left + right) / 2 + 80, y, steps=4)
    page.mouse.up()
    assert page.evaluate("view.items.map(({start}) => start)") == before


def test_a_corrected_file_has_nothing_that_nobody_said(opened, tmp_path):
    """Neither a length that nothing says nor a class that is only detected; and there is room at the end."""
    recording = Recording("new", "test", None, np.zeros((0, 2)), np.zeros(0, np.int32))
    found = [{"label": label, "segment": [1.0, 3.0], "score": 0.9} for label in ("walk", "swim")]
    page_path = tmp_path / "page.html"
    made = content.of_prediction("new", recording, found, ["walk", "jump"], 0.2, page=page_path)
    page = opened(write.write_page(page_path, made))
    page.keyboard.press("e")
    page.evaluate("add(3.1, 1)")
    read = page.evaluate("correctedFile()")
    assert read["classes"] == ["walk", "jump", "swim"] and "duration" not in read["database"]["new"]
    assert read["database"]["new"]["annotations"][-1]["segment"] == [3.1, 3.3]
    page.evaluate("choose(view.items.find(({label}) => label === 2))")
    page.keyboard.press("Delete")
    assert page.evaluate("correctedFile().classes") == ["walk", "jump"]


def test_a_run_without_classes_cannot_be_corrected(opened, tmp_path):
    page = opened(judged_page(tmp_path, TRUTHS, FOUND, class_agnostic=True))
    open_recording(page, "one")
    page.keyboard.press("e")
    assert page.evaluate("view.recording.corrected") is None and page.locator(".begin").is_hidden()
    assert "would lose the classes" in page.locator(".recording .toolbar").first.text_content()


def test_the_subset_has_its_name_and_every_score_lies_in_the_chart(opened, tmp_path):
    known = Annotations(
        ("a",), {"one": Recording("one", "val", 9.0, np.array([[1.0, 2.0]]), np.zeros(1, int))}
    )
    which, results = dict(subset="val", left_out=(), missing="missed"), {"one": []}
    config = tiny_config.get_config("toy")
    config.data.update(input="rgb", frames="")
    scores = evaluate_detections(known, results, tious=(0.5,), **which)
    training = {"losses": {"total": [[1, 2.0], [703, 1.0]]}, "map": [[300, 50.0], [1000, 60.0]], "seconds": 0}
    made = content.of_run("one", config, known, {"": results}, which, scores=scores, training=training)
    page = opened(write.write_page(tmp_path / "page.html", made))
    assert "val recordings" in page.locator(".tiles").text_content()
    assert "test recordings" not in page.locator("main").text_content()
    assert "703 steps" in page.locator("#training .lead").text_content()
    dots, chart = page.locator("#training .dot"), page.locator("#training .chart").last.bounding_box()
    places = dots.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().right)")
    assert len(places) == 2 and max(places) <= chart["x"] + chart["width"]


def test_tables_sort(case, opened):
    page = opened(case[1])
    table = page.locator("#scores table")
    table.get_by_role("button", name="average").click()
    values = [float(row) for row in table.locator("tbody td:last-child").all_text_contents()]
    assert values == sorted(values, reverse=True)
    table.get_by_role("button", name="average").click()
    assert [float(row) for row in table.locator("tbody td:last-child").all_text_contents()] == sorted(values)


def test_the_summary_opens_its_recording(case, opened):
    page = opened(case[1])
    said = page.locator(".summary").text_content()
    page.locator(".summary a").click()
    page.wait_for_selector(".recording")
    name = page.locator(".recording h1").text_content()
    assert f"Look at {name}" in said and page.evaluate("view.time") > 0
    page.keyboard.press("Escape")
    page.wait_for_selector("#recordings .row")
    assert page.locator(".recording").is_hidden()


def test_keys(case, opened):
    page = opened(case[1])
    open_recording(page, "rec1")
    rows = page.locator(".list tbody tr")
    before, count = page.locator(".slider output").last.text_content(), rows.count()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("view.items.indexOf(view.chosen)") == 1
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("view.items.indexOf(view.chosen)") == 0
    for _ in range(20):
        page.keyboard.press("ArrowUp")
    assert page.locator(".slider output").last.text_content() > before and rows.count() < count
    time = page.evaluate("view.time")
    page.keyboard.press("Space")
    until(page, f"view.time > {time} + 0.2")
    page.keyboard.press("Space")
    stopped = page.evaluate("view.time")
    page.wait_for_timeout(150)
    assert page.evaluate("view.time") == stopped


def place_of(page, item):
    """(x of the start, x of the end, y) of the middle of an item's bar, on the screen."""
    box = page.evaluate(
        "(i) => { const bar = parts('.item').find(({item}) => item === view.items[i]); "
        "return bar.getBoundingClientRect().toJSON(); }",
        item,
    )
    return box["left"], box["right"], (box["top"] + box["bottom"]) / 2


def test_a_click_on_a_detection_plays_from_its_start(case, opened):
    page = opened(case[1])
    open_recording(page, "rec1")
    left, right, y = place_of(page, 0)
    page.mouse.click((left + right) / 2, y)
    start = page.evaluate("view.chosen.start") / 1000
    assert page.evaluate("view.playing")
    assert start <= page.evaluate("view.time") < start + 2


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The page of a video of 5 s, and detections in it."""
    folder = tmp_path_factory.mktemp("film")
    write_video(folder / "a film.mp4", numbered(50), fps=10)
    recording = Recording("a film", "test", 5.0, np.zeros((0, 2)), np.zeros(0, np.int32))
    found = [
        {"label": "walk", "segment": [2.0, 3.5], "score": 0.9},
        {"label": "jump", "segment": [0.5, 1.0], "score": 0.4},
    ]
    (folder / "predictions").mkdir()
    page = folder / "predictions" / "a film.html"
    made = content.of_prediction(
        "a film", recording, found, ["walk", "jump"], 0.2, media=folder / "a film.mp4", page=page
    )
    return write.write_page(page, made)


def test_a_click_plays_the_video(film, opened):
    page = opened(film)
    page.wait_for_selector(".recording video")
    assert page.locator("video").get_attribute("src") == "../a%20film.mp4"
    until(page, "document.querySelector('video').readyState > 0")
    page.locator(".list button").last.click()
    until(page, "document.querySelector('video').currentTime >= 2")
    page.keyboard.press("Space")
    until(page, "document.querySelector('video').paused")
    page.evaluate("document.querySelector('video').currentTime = 4")
    until(page, "view.time >= 4")


def test_a_video_says_how_long_its_recording_is(film, opened):
    """Where nothing else says it; so that actions can be added behind the last one."""
    recording = Recording("a film", "test", None, np.zeros((0, 2)), np.zeros(0, np.int32))
    found = [{"label": "walk", "segment": [0.5, 1.0], "score": 0.9}]
    path = film.parent / "unknown.html"
    media = film.parent.parent / "a film.mp4"
    page = opened(write.write_page(path, content.of_prediction(
        "a film", recording, found, ["walk"], 0.2, media=media, page=path)))  # fmt: skip
    until(page, "Math.abs(view.recording.duration - 5) < 0.2")
    page.keyboard.press("e")
    page.evaluate("add(4, 0)")
    assert page.evaluate("view.items.at(-1).start") == 4000


def test_activation_sequences_are_drawn_in_the_lanes(opened, tmp_path):
    times_sec = np.arange(200) * 0.5 + 0.25
    values = np.stack([np.sin(times_sec / 9), np.cos(times_sec / 5)], axis=1)
    recording = Recording("walk", "test", 100.0, np.zeros((0, 2)), np.zeros(0, np.int32))
    found = [{"label": "walk", "segment": [2.0, 30.5], "score": 1.4}]
    page = tmp_path / "walk.html"
    pictures = []
    for cas in (None, (times_sec, values)):
        made = content.of_prediction("walk", recording, found, ["walk", "jump"], 0.2, cas=cas, page=page)
        shown = opened(write.write_page(page, made))
        pictures.append(shown.locator(".stage").screenshot())
    shown.keyboard.press("e")
    shown.evaluate("listClass('hop', content.classes.push('hop') - 1)")
    shown.evaluate("add(5, 2)")  # of a class without a sequence
    assert shown.locator(".list tbody tr").count() == 2
    assert [channel["name"] for channel in made["recordings"][0]["cas"]["channels"]] == ["walk", "jump"]
    assert pictures[0] != pictures[1]


def test_a_video_that_is_gone_is_a_sentence(film, browser, tmp_path):
    (tmp_path / "page.html").write_text(film.read_text())
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector(".recording p.warn")
    assert "cannot play ../a film.mp4" in page.locator("p.warn").text_content()
    page.close()


def test_correcting(case, opened, tmp_path):
    """Drag an end, move, relabel, delete, add, undo; the saved file is one that training reads."""
    page = opened(case[1])
    open_recording(page, "rec2")
    page.get_by_label("Correct, starting from").select_option("truth")
    page.get_by_role("button", name="Correct from").click()
    before = page.evaluate("view.items.map((item) => ({...item}))")
    assert len(before) == 5

    left, right, y = place_of(page, 0)
    page.mouse.click((left + right) / 2, y)
    left, right, y = place_of(page, 0)
    page.mouse.move(right - 1, y)
    page.mouse.down()
    page.mouse.move(right + 30, y, steps=4)
    page.mouse.up()
    dragged = page.evaluate("view.items.map((item) => ({...item}))")
    assert dragged[0]["end"] > before[0]["end"] and dragged[0]["start"] == before[0]["start"]

    page.get_by_role("button", name="Undo").click()
    assert page.evaluate("view.items.map((item) => ({...item}))") == before
    left, right, y = place_of(page, 1)
    page.mouse.move((left + right) / 2, y)
    page.mouse.down()
    page.mouse.move((left + right) / 2 + 20, y, steps=4)
    page.mouse.up()
    moved = page.evaluate("view.chosen")
    assert moved["start"] > before[1]["start"]
    assert moved["end"] - moved["start"] == before[1]["end"] - before[1]["start"]

    page.get_by_label("Class of the chosen action").select_option("jump")
    assert page.evaluate("content.classes[view.chosen.label]") == "jump"
    page.get_by_label("start in seconds").fill("0.25")
    page.get_by_label("start in seconds").press("Enter")
    page.get_by_label("start in seconds").fill("")  # as "0:31" is, which is no number
    page.get_by_label("start in seconds").press("Enter")
    assert page.evaluate("view.chosen.start") == 250
    end = page.get_by_label("end in seconds")
    end.fill(str(float(end.input_value()) + 0.5))
    with page.expect_download():
        end.press("Control+s")
    assert page.evaluate("isSaved()") and page.evaluate("view.chosen.end") == moved["end"] + 500
    answers = ["hop", None]
    page.on("dialog", lambda dialog: dialog.accept(name) if (name := answers.pop(0)) else dialog.dismiss())
    for _ in range(2):
        page.get_by_label("Class of the chosen action").select_option("another class…")
        assert page.evaluate("content.classes[view.chosen.label]") == "hop"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    page.keyboard.press("a")
    page.keyboard.press("a")
    page.keyboard.press("Control+z")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save annotations").click()
    download.value.save_as(tmp_path / "corrected.json")
    read = load_annotations(tmp_path / "corrected.json")
    assert list(read.recordings) == ["rec2"] and len(read.classes) == 4
    assert "hop" in [read.classes[label] for label in read.recordings["rec2"].labels]
    recording = read.recordings["rec2"]
    assert (recording.subset, recording.duration_sec, len(recording.labels)) == ("test", 60.0, 5)
    assert recording.segments_sec[:, 0].min() == 0.25


def test_a_typed_time_counts_before_a_click_elsewhere(opened, tmp_path):
    page = opened(judged_page(tmp_path, TRUTHS, FOUND))
    open_recording(page, "one")
    page.get_by_label("Correct, starting from").select_option("truth")
    page.get_by_role("button", name="Correct from").click()
    assert page.evaluate("view.items.length") == len(TRUTHS) > 2

    def type_end(change_ms):
        end = page.get_by_label("end in seconds")
        now = page.evaluate("view.chosen.end") + change_ms
        end.click()
        end.fill(str(now / 1000))
        return now

    def middle(i):
        left, right, y = place_of(page, i)
        return (left + right) / 2, y

    page.mouse.click(*middle(0))
    typed = type_end(-500)
    page.mouse.click(*middle(1))  # another one
    assert page.evaluate("view.items[0].end") == typed
    assert page.evaluate("view.items.indexOf(view.chosen)") == 1
    typed = type_end(-400)
    page.locator(".list button").nth(2).click()
    assert page.evaluate("view.items[1].end") == typed
    assert page.evaluate("view.items.indexOf(view.chosen)") == 2
    typed = type_end(-300)
    page.mouse.click(*middle(2))  # the one itself stays chosen
    assert page.evaluate("view.chosen.end") == typed == page.evaluate("view.items[2].end")
    assert page.evaluate("document.activeElement === document.body")
    start, typed = page.evaluate("view.items[0].start"), type_end(-200)
    page.mouse.move(*middle(0))
    page.mouse.down()
    page.mouse.move(middle(0)[0] + 20, middle(0)[1], steps=4)
    page.mouse.up()
    assert page.evaluate("view.items[2].end") == typed and page.evaluate("view.chosen.start") > start
    start, _ = page.evaluate("view.chosen.start"), type_end(-100)
    page.mouse.move(*middle(0))
    page.mouse.down()
    page.mouse.move(middle(0)[0] + 20, middle(0)[1], steps=4)
    page.mouse.up()  # of the action itself: the drag is the later word on its times
    assert page.evaluate("view.chosen.start") > start
    assert page.evaluate("view.items.includes(view.chosen)")


def test_a_double_click_adds_an_action_where_it_clicks(opened, tmp_path):
    page = opened(judged_page(tmp_path, TRUTHS, FOUND))
    open_recording(page, "one")
    page.keyboard.press("e")
    count = page.evaluate("view.items.length")
    lane = page.locator(".track .lane").nth(1).bounding_box()
    for share in (0.27, 0.995):  # the second one is near the end
        page.mouse.dblclick(lane["x"] + share * lane["width"], lane["y"] + 16)
        count += 1
        assert page.evaluate("view.items.length") == count
        added = page.evaluate("view.chosen")
        assert added["start"] == pytest.approx(1e5 * share, abs=100) and added["end"] <= 1e5
        assert page.evaluate("content.classes[view.chosen.label]") == "jump"


def test_a_drag_pans_and_ctrl_and_the_wheel_zoom(opened, tmp_path):
    page = opened(judged_page(tmp_path, TRUTHS, FOUND))
    open_recording(page, "one")
    track = page.locator(".scroller").bounding_box()
    x, y = track["x"] + track["width"] / 2, track["y"] + 30
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    until(page, "span()[1] - span()[0] < 81")
    first, last = page.evaluate("span()")
    assert (first + last) / 2 == pytest.approx(50, abs=0.5)  # about the pointer
    page.mouse.down()
    page.mouse.move(x - 100, y, steps=4)
    page.mouse.up()
    assert page.evaluate("span()")[0] == pytest.approx(first + 80 * 100 / track["width"], abs=0.5)


def test_curves_show_the_threshold_and_the_class_that_are_chosen(case, opened):
    page = opened(case[1])
    page.locator("#scores [name=tiou]").select_option("0.7")
    assert page.locator(".curves:visible .chart").get_attribute("aria-label").endswith("at tIoU 0.7")
    page.locator("#scores [name=curve]").select_option(label="walk")
    chosen = page.locator(".curves:visible .curve.chosen title").all_text_contents()
    assert chosen == ["walk"]


def test_detections_above_the_threshold_are_where_a_correction_begins(case, opened, tmp_path):
    page = opened(case[1])
    open_recording(page, SCRIPT)
    count = page.locator(".list tbody tr").count()
    page.keyboard.press("e")
    assert page.locator(".list tbody tr").count() == count
    with page.expect_download() as download:
        page.keyboard.press("Control+s")
    download.value.save_as(tmp_path / "corrected.json")
    assert (
        len(json.loads((tmp_path / "corrected.json").read_text())["database"][SCRIPT]["annotations"]) == count
    )


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("place", ["", "#recording-1"])
def test_accessible(case, opened, colours, place):
    """axe-core finds nothing serious."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(case[1], place, color_scheme=colours)
    if place:
        page.wait_for_selector(".recording")
        page.keyboard.press("e")
    found = axe.run(page).response["violations"]
    serious = [f for f in found if f["impact"] in ("serious", "critical")]
    assert not serious, [(f["id"], [node["html"] for node in f["nodes"][:3]]) for f in serious]

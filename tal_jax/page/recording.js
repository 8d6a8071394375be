// One recording beside its answer: the stage, its video or sound, the list of detections.

/** The view of a recording; `close` is called to leave it, null where there is nowhere to go. */
function recordingView(index, startAt, close) {
  const recording = content.recordings[index], { duration, truth, found } = recording;
  const view = { recording, from: 0, to: duration, chosen: null, time: startAt ?? 0, lanes: [], items: [],
    playing: false, corrects: () => editor.rows };
  const editor = makeEditor(view), stage = makeStage(view), media = recording.media && mediaOf(view, index);
  const play = make("button", { onclick: () => toggle() }, "Play"), time = make("span", { class: "clock" });
  const list = make("div", { class: "list" });
  const chosenItem = () => view.items.find(({ id }) => id === view.chosen);

  function redraw() {
    view.items = itemsOf(view);
    const labels = new Set([...truth.label, ...view.items.map(({ label }) => label)]);
    if (editor.rows && content.classes.length <= 16) content.classes.forEach((_, i) => labels.add(i));
    view.lanes = [...labels].sort((a, b) => a - b);
    stage.paint();
    showList();
    showTime();
  }

  function showList() {
    list.replaceChildren(listTable(view));
    const current = list.querySelector(".chosen");
    if (current) list.scrollTop = Math.max(0, current.offsetTop - list.clientHeight / 2);
  }

  function showTime() {
    stage.moveHead();
    time.textContent = `${clock(view.time, duration)} / ${clock(duration, duration)}`;
  }

  // --------------------------------------------------------------------------------------- where in time

  const ready = () => media?.readyState > 0;

  function seek(seconds) {
    view.time = Math.min(Math.max(0, seconds), duration);
    if (ready()) media.currentTime = view.time;
    const size = view.to - view.from;
    if (view.time < view.from || view.time > view.to) show(view.time - 0.2 * size, size);
    showTime();
  }

  /** Shows so many seconds from a time on, within the recording. */
  function show(from, seconds) {
    const size = Math.min(duration, Math.max(0.5, seconds));
    view.from = Math.min(Math.max(0, from), duration - size);
    view.to = view.from + size;
    stage.paint();
  }

  function zoom(factor, about = view.time) {
    const size = view.to - view.from, share = Math.min(1, Math.max(0, (about - view.from) / size));
    show(about - share * Math.min(duration, size * factor), size * factor);
  }

  function choose(item, plays = false) {
    view.chosen = item?.id ?? null;
    if (item) seek(item.start / 1000);
    if (item && plays) toggle(true);
    editor.show();
    redraw();
  }

  /** Chooses the next item, or with -1 the previous one; from the playhead where none is chosen. */
  function neighbour(step) {
    const at = view.items.findIndex(({ id }) => id === view.chosen);
    const after = view.items.findIndex(({ start }) => start / 1000 > view.time - (step < 0 ? 0 : 1e-6));
    const first = after < 0 ? view.items.length : after;
    const next = view.items[at >= 0 ? at + step : step > 0 ? first : first - 1];
    if (next) choose(next);
  }

  function toggle(on = !view.playing) {
    const starts = on && !view.playing;
    view.playing = on;
    play.textContent = on ? "Pause" : "Play";
    if (ready() && on) media.play().catch(() => toggle(false));
    if (ready() && !on) media.pause();
    if (!starts) return;
    if (view.time >= duration) seek(0);
    let before = performance.now();
    const tick = (now) => {
      if (!view.playing || !stage.element.isConnected) return;
      view.time = Math.min(duration, ready() ? media.currentTime : view.time + (now - before) / 1000);
      before = now;
      if (view.time >= duration) toggle(false);
      if (view.time > view.to) show(view.time, view.to - view.from);
      showTime();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  // --------------------------------------------------------------------------------------- what is where

  const known = tally([recording], state.run), count = () => `${countOf(found[state.run].score)} shown`;
  const more = recording.signal?.left_out ?? 0;
  const control = slider(() => (found[state.run].type ? standing(known) : count()));
  const button = (text, onclick, more = {}) => make("button", { onclick, ...more }, text);
  const others = close && make("div", { class: "fields" },
    button("Previous recording", () => openRecording(index - 1), { disabled: index === 0 }),
    button("Next recording", () => openRecording(index + 1),
      { disabled: index + 1 >= content.recordings.length }));
  const runs = content.runs.length > 1 && choice("Run", content.runs.map((name, i) => [i, name]),
    (value) => { state.run = Number(value); openRecording(index, view.time); }, state.run);
  const part = make("section", { class: "recording", "aria-label": `Recording ${recording.name}` },
    make("div", { class: "recording-head" }, close && button("← All recordings", close),
      make("h1", {}, recording.name), others),
    make("div", { class: "toolbar" }, control, make("div", { class: "fields" }, play, time,
      button("+", () => zoom(0.5), { "aria-label": "Zoom in" }),
      button("−", () => zoom(2), { "aria-label": "Zoom out" }),
      button("Whole", () => show(0, duration)), runs, editor.begin)),
    media && make("div", { class: "media" }, media), editor.panel, stage.element,
    more > 0 && make("p", { class: "note" }, `The signal has ${plural(more, "more channel")}.`),
    make("div", { class: "below" }, list, keysCard(close)));

  Object.assign(view, { part, stage, editor, redraw, leave });
  Object.assign(view, { choose, chosenItem, neighbour, seek, show, showTime, zoom, toggle });
  followPointer(view);
  const onkey = keyListener(view, close);
  document.addEventListener("keydown", onkey);
  dark.addEventListener("change", redraw);
  redraws.add(redraw);
  const resized = new ResizeObserver(stage.paint);
  resized.observe(stage.element);
  function leave() {
    toggle(false);
    document.removeEventListener("keydown", onkey);
    dark.removeEventListener("change", redraw);
    redraws.delete(redraw);
    redraws.delete(control.update);
    resized.disconnect();
  }
  return view;
}

/** What is shown and can be chosen: detections by time, or the corrected actions. */
function itemsOf({ recording, editor }) {
  if (editor.rows) return editor.rows;
  const found = recording.found[state.run], { label, start, end, score, type } = found, made = [];
  for (let i = countOf(score) - 1; i >= 0; i--) {
    made.push({ id: i, label: label[i], start: start[i], end: end[i], score: score[i], type: type?.[i] ?? 0,
      said: verdict(found, i) });
  }
  return made.sort((a, b) => a.start - b.start || a.end - b.end);
}

/** The first 400 items of a view as a table, in which a click on a start plays the item. */
function listTable(view) {
  const { items, recording: { duration, truth } } = view;
  const rows = items.slice(0, 400).map((item) => {
    const start = make("button", { class: "link", onclick: () => view.choose(item, true) },
      clock(item.start / 1000, duration, 2));
    const name = make("span", { class: "named" }, swatch(item.label), content.classes[item.label]);
    const cells = [start, clock(item.end / 1000, duration, 2), name,
      item.score == null ? "" : scoreText(item.score), item.said ?? ""];
    const chosen = item.id === view.chosen;
    return make("tr", { class: chosen && "chosen", "aria-current": chosen && "true" },
      cells.map((shown) => make("td", {}, shown)));
  });
  const shown = `with score ${scoreText(state.threshold)} or more, ${truth.label.length} annotated`;
  const caption = view.corrects() ? `${plural(items.length, "action")}, corrected`
    : `${plural(items.length, "detection")} ${shown}`;
  const heads = ["start", "end", "class", "score", "verdict"].map((name) =>
    make("th", { scope: "col" }, name));
  return make("table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, heads)), make("tbody", {}, rows));
}

/** The video or sound of the recording of a view, which runs with the view. */
function mediaOf(view, index) {
  const { recording } = view, { src, sound } = recording.media;
  const problem = `The browser cannot play ${decodeURIComponent(src)}. Is the file still there? `
    + "Browsers play mp4, webm and wav; the timeline runs without it.";
  const begin = () => {
    const { duration } = element;
    if (!recording.known && isFinite(duration)) {
      Object.assign(recording, { known: true, duration: Math.max(recording.duration, duration) });
      openRecording(index, view.time); // to show all of it
      return;
    }
    element.currentTime = view.time;
    if (view.playing) element.play();
  };
  const element = make(sound ? "audio" : "video", { src, controls: true, preload: "metadata",
    playsinline: true, "aria-label": recording.name, onloadedmetadata: begin,
    onplay: () => view.playing || view.toggle(true), onpause: () => view.playing && view.toggle(false),
    onseeked: () => { view.time = element.currentTime; view.showTime(); },
    onerror: () => element.replaceWith(make("p", { class: "warn" }, problem)) });
  return element;
}

function keysCard(close) {
  const rows = [["→ ←", "next, previous detection"], ["↑ ↓", "score up, down"], ["Space", "play, pause"],
    ["+ −", "zoom"], ["E", "correct"], ["A", "add here"], ["Del", "delete"], ["Ctrl Z", "undo"],
    ["Ctrl S", "save"]];
  if (close) rows.push(["Esc", "all recordings"]);
  const row = ([key, what]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, what));
  const hint = "A click on a detection plays it. Drag to pan; Ctrl and the wheel zoom. Dark lines below the "
    + "bars are the truth.";
  return make("div", { class: "card keys" }, make("h3", {}, "Keys"), make("dl", {}, rows.map(row)),
    make("p", { class: "note" }, hint));
}

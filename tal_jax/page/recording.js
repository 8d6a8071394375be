// One recording beside its answer: video or signal, detections under it, a playhead, the keyboard.

const LANE = 42, STRIP = 38, AXIS = 22, GUTTER = 132;

/** The bytes of a channel, see signals.py. */
function bytesOf(channel) {
  channel.bytes ??= Uint8Array.from(atob(channel.data), (character) => character.charCodeAt(0));
  return channel.bytes;
}

/** A channel as a line of the lowest and highest value in each column of pixels. */
function drawChannel(context, { start, step, pairs }, channel, from, to, x, y, width, height) {
  const bytes = bytesOf(channel), size = pairs ? 2 : 1, count = bytes.length / size, perPixel = (to - from) / width / step;
  const toY = (value) => y + height - ((value - 1) / 254) * height;
  context.beginPath();
  if (perPixel < 1) { // fewer parts than pixels: a line through their middles
    const first = Math.max(0, Math.floor((from - start) / step) - 1), last = Math.min(count - 1, Math.ceil((to - start) / step) + 1);
    for (let i = first; i <= last; i++) {
      const at = x + ((start + (i + 0.5) * step - from) / (to - from)) * width;
      for (let j = 0; j < size; j++) if (bytes[size * i + j]) context.lineTo(at, toY(bytes[size * i + j]));
    }
  } else {
    for (let column = 0; column < width; column++) {
      const first = Math.max(0, Math.floor((from + column * perPixel * step - start) / step));
      const last = Math.min(count, Math.floor((from + (column + 1) * perPixel * step - start) / step) + 1);
      let [low, high] = [256, 0];
      for (let i = size * first; i < size * last; i++) {
        const value = bytes[i];
        if (value) { if (value < low) low = value; if (value > high) high = value; }
      }
      if (high) { context.moveTo(x + column, toY(high)); context.lineTo(x + column, toY(low) + 0.8); }
    }
  }
  context.stroke();
}

/** The view of a recording; `close` is called to leave it, null where there is nowhere to go. */
function recordingView(index, startAt, close) {
  const recording = content.recordings[index], { duration, truth } = recording;
  const canvas = make("canvas", { class: "stage", "aria-hidden": "true" }), head = make("div", { class: "playhead" });
  const stage = make("div", { class: "stage-box" }, canvas, head);
  const view = { recording, from: 0, to: duration, chosen: null, time: startAt ?? 0, lanes: [], playing: false, items: [] };
  const editor = makeEditor(view);
  const media = recording.media && mediaOf(recording.media);
  const play = make("button", { onclick: () => toggle() }, "Play"), clockText = make("span", { class: "clock" });
  const list = make("div", { class: "list" });

  /** What is shown and can be chosen: detections by time, or the corrected actions. */
  function items() {
    if (editor.rows) return editor.rows;
    const found = recording.found[state.run], made = [];
    for (let i = countOf(found.score) - 1; i >= 0; i--)
      made.push({ id: i, label: found.label[i], start: found.start[i], end: found.end[i], score: found.score[i],
        type: found.type ? found.type[i] : 0, said: verdict(found, i).slice(2) });
    return made.sort((a, b) => a.start - b.start || a.end - b.end);
  }

  const toX = (seconds) => GUTTER + ((seconds - view.from) / (view.to - view.from)) * (canvas.clientWidth - GUTTER - 8);
  const toTime = (x) => view.from + ((x - GUTTER) / (canvas.clientWidth - GUTTER - 8)) * (view.to - view.from);

  function redraw() {
    view.items = items();
    const labels = new Set([...truth.label, ...view.items.map(({ label }) => label)]);
    if (editor.rows && content.classes.length <= 16) content.classes.forEach((_, i) => labels.add(i));
    view.lanes = [...labels].sort((a, b) => a - b);
    const channels = recording.signal?.channels ?? [], width = stage.clientWidth;
    if (!width) return;
    view.top = AXIS + STRIP * channels.length + (channels.length ? 10 : 0);
    canvas.style.width = "100%";
    const height = view.top + LANE * Math.max(1, view.lanes.length) + 6, context = sharp(canvas, width, height);
    head.style.height = `${height - AXIS}px`;
    drawAxis(context, width, height);
    context.save();
    context.strokeStyle = themed("muted");
    context.lineWidth = 1;
    channels.forEach((channel, i) => {
      const y = AXIS + STRIP * i + 3;
      gutterText(context, channel.name, y + STRIP / 2 - 2, themed("muted"));
      clipped(context, width, () => drawChannel(context, recording.signal, channel, view.from, view.to, GUTTER, y, width - GUTTER - 8, STRIP - 7));
    });
    view.lanes.forEach((label, lane) => drawLane(context, width, label, view.top + LANE * lane));
    if (!view.lanes.length) gutterText(context, "nothing to show", view.top + 20, themed("muted"));
    context.restore();
    showList();
    moveHead();
  }

  function clipped(context, width, drawing) {
    context.save();
    context.beginPath();
    context.rect(GUTTER, 0, width - GUTTER - 8, 1e5);
    context.clip();
    drawing();
    context.restore();
  }

  function gutterText(context, text, y, fill) {
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillStyle = fill;
    context.fillText(text.length > 17 ? `${text.slice(0, 16)}…` : text, 22, y, GUTTER - 28);
  }

  function drawAxis(context, width, height) {
    const step = tickStep(view.to - view.from, Math.max(2, (width - GUTTER) / 80));
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (let at = Math.ceil(view.from / step) * step; at <= view.to + 1e-9; at += step) {
      context.fillStyle = themed("line");
      context.fillRect(Math.round(toX(at)), AXIS - 4, 1, height - AXIS);
      context.fillStyle = themed("muted");
      context.fillText(clock(at, duration, step < 1 ? 1 : 0), toX(at) + 3, 9);
    }
  }

  function drawLane(context, width, label, y) {
    if (view.lanes.indexOf(label) % 2 === 0) { context.fillStyle = themed("wash"); context.fillRect(0, y, width, LANE); }
    context.fillStyle = fillOf(context, label);
    context.beginPath();
    context.roundRect(4, y + LANE / 2 - 6, 12, 12, 3);
    context.fill();
    gutterText(context, content.classes[label], y + LANE / 2, themed("ink"));
    clipped(context, width, () => {
      const cas = recording.cas?.channels[label];
      context.strokeStyle = color(label);
      context.lineWidth = 1.4;
      if (cas) drawChannel(context, recording.cas, cas, view.from, view.to, GUTTER, y + 3, width - GUTTER - 8, LANE - 8);
      for (const item of [...view.items].sort((a, b) => (a.score ?? 1) - (b.score ?? 1))) {
        if (item.label !== label) continue;
        const [x, size] = [toX(item.start / 1000), toX(item.end / 1000) - toX(item.start / 1000)];
        const strength = item.score == null ? 1 : Math.min(1, item.score / scoreRange()[1]);
        bar(context, label, x, y + 5, size, 20, item.type > 0 || item.type < 0 ? "wrong" : "right", strength);
        if (item === chosenItem()) {
          context.strokeStyle = themed("ink");
          context.lineWidth = 2;
          context.strokeRect(x - 2, y + 3, Math.max(size, 2) + 4, 24);
        }
      }
      truth.label.forEach((other, i) => {
        if (other !== label) return;
        const { truths } = recording.found[state.run], missed = truths && !(truths[i] >= state.threshold);
        context.fillStyle = context.strokeStyle = themed("ink");
        const [x, size] = [toX(truth.start[i] / 1000), Math.max(2, toX(truth.end[i] / 1000) - toX(truth.start[i] / 1000))];
        context.lineWidth = 1;
        if (missed && !editor.rows) context.strokeRect(x + 0.5, y + 30.5, size - 1, 5); else context.fillRect(x, y + 30, size, 6);
      });
    });
  }

  const chosenItem = () => view.items.find(({ id }) => id === view.chosen);

  function showList() {
    const rows = view.items.slice(0, 400).map((item) => make("tr", item.id === view.chosen ? { class: "chosen", "aria-current": "true" } : {},
      make("td", {}, make("button", { class: "link", onclick: () => choose(item, true) }, clock(item.start / 1000, duration, 2))),
      make("td", {}, clock(item.end / 1000, duration, 2)), make("td", {}, make("span", { class: "named" }, swatch(item.label), content.classes[item.label])),
      make("td", {}, item.score == null ? "" : scoreText(item.score)), make("td", {}, item.said ?? "")));
    list.replaceChildren(make("table", {}, make("caption", {}, editor.rows ? `${plural(rows.length, "action")}, corrected`
      : `${plural(view.items.length, "detection")} with score ${scoreText(state.threshold)} or more, ${truth.label.length} annotated`),
    make("thead", {}, make("tr", {}, ["start", "end", "class", "score", "verdict"].map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, rows)));
    const current = list.querySelector(".chosen");
    if (current) list.scrollTop = Math.max(0, current.offsetTop - list.clientHeight / 2);
  }

  function moveHead() {
    const x = toX(view.time);
    head.style.transform = `translateX(${x}px)`;
    head.style.visibility = x < GUTTER - 1 || x > canvas.clientWidth - 7 ? "hidden" : "visible";
    clockText.textContent = `${clock(view.time, duration)} / ${clock(duration, duration)}`;
  }

  function seek(seconds) {
    view.time = Math.min(Math.max(0, seconds), duration);
    if (media && media.readyState) media.currentTime = view.time;
    if (view.time < view.from || view.time > view.to) pan(view.time - (view.to - view.from) * 0.2 - view.from);
    moveHead();
  }

  function choose(item, plays = false) {
    view.chosen = item?.id ?? null;
    if (item) seek(item.start / 1000);
    if (item && plays) toggle(true);
    editor.show();
    redraw();
  }

  function neighbour(step) {
    const at = view.items.findIndex(({ id }) => id === view.chosen);
    const after = view.items.findIndex(({ start }) => start / 1000 > view.time - (step < 0 ? 0 : 1e-6));
    const from = step > 0 ? after : (after < 0 ? view.items.length : after) - 1;
    const next = at >= 0 ? view.items[at + step] : view.items[from];
    if (next) choose(next);
  }

  function toggle(on = !view.playing) {
    view.playing = on;
    play.textContent = on ? "Pause" : "Play";
    if (media && media.readyState) { if (on) media.play().catch(() => {}); else media.pause(); }
    let before = performance.now();
    const tick = (now) => {
      if (!view.playing || !stage.isConnected) return;
      view.time = media && media.readyState ? media.currentTime : view.time + (now - before) / 1000;
      before = now;
      if (view.time >= duration) { view.time = duration; toggle(false); }
      if (view.time > view.to) pan((view.to - view.from) * 0.9);
      moveHead();
      requestAnimationFrame(tick);
    };
    if (on) { if (view.time >= duration) seek(0); requestAnimationFrame(tick); }
  }

  function pan(seconds) {
    const span = view.to - view.from;
    view.from = Math.min(Math.max(0, view.from + seconds), duration - span);
    view.to = view.from + span;
    redraw();
  }

  function zoom(factor, about = view.time) {
    const span = Math.min(duration, Math.max(0.5, (view.to - view.from) * factor)), share = (about - view.from) / (view.to - view.from);
    view.from = Math.min(Math.max(0, about - span * Math.min(1, Math.max(0, share))), duration - span);
    view.to = view.from + span;
    redraw();
  }

  /** The item at a place of the stage, and which part of it: "start", "end" or "body". */
  function hit(event) {
    const label = view.lanes[Math.floor((event.offsetY - view.top) / LANE)], x = event.offsetX;
    const near = view.items.filter((item) => item.label === label && x > toX(item.start / 1000) - 6 && x < toX(item.end / 1000) + 6);
    const item = near.find(({ id }) => id === view.chosen) ?? near.sort((a, b) => (b.score ?? 0) - (a.score ?? 0))[0];
    if (!item) return { label };
    const [left, right] = [Math.abs(x - toX(item.start / 1000)), Math.abs(x - toX(item.end / 1000))];
    return { label, item, part: Math.min(left, right) > 6 ? "body" : left < right ? "start" : "end" };
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.offsetX < GUTTER || event.button) return;
    const begin = { x: event.offsetX, from: view.from, ...hit(event), moved: false };
    canvas.setPointerCapture(event.pointerId);
    const drag = editor.rows && begin.item ? editor.drag(begin.item, begin.part) : null;
    const move = (now) => {
      if (Math.abs(now.offsetX - begin.x) > 3) begin.moved = true;
      if (!begin.moved) return;
      if (drag) { drag.move(toTime(now.offsetX) - toTime(begin.x)); redraw(); } else pan(begin.from - view.from - (toTime(now.offsetX) - toTime(begin.x)));
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", () => {
      canvas.removeEventListener("pointermove", move);
      drag?.end(begin.moved);
      if (begin.moved) { if (drag) choose(view.items.find(({ id }) => id === begin.item.id)); return; }
      if (begin.item) choose(begin.item, !editor.rows); else { view.chosen = null; seek(toTime(begin.x)); editor.show(); redraw(); }
    }, { once: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    const { item, part } = hit(event);
    canvas.style.cursor = !item ? "crosshair" : !editor.rows ? "pointer" : part === "body" ? "grab" : "ew-resize";
  });
  canvas.addEventListener("dblclick", (event) => editor.rows && editor.add(toTime(event.offsetX), hit(event).label));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return; // else the page scrolls
    event.preventDefault();
    if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, toTime(event.offsetX));
    else pan(((event.deltaY || event.deltaX) / 500) * (view.to - view.from));
  }, { passive: false });

  const [low, high] = scoreRange(), keys = {
    ArrowRight: () => neighbour(1), ArrowLeft: () => neighbour(-1),
    ArrowUp: () => setThreshold(state.threshold + (high - low) / 50), ArrowDown: () => setThreshold(state.threshold - (high - low) / 50),
    " ": () => toggle(), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), Escape: () => close?.(), ...editor.keys };
  function onkey(event) {
    const { tagName, type } = event.target, writes = ["SELECT", "TEXTAREA"].includes(tagName) || tagName === "INPUT" && type !== "range";
    const name = (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + event.key;
    if (!keys[name] || event.altKey || (writes && name !== "Escape") || (tagName === "BUTTON" && event.key === " ")
      || (type === "range" && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    keys[name]();
  }

  function mediaOf({ src, sound }) {
    const element = make(sound ? "audio" : "video", { src, controls: true, preload: "metadata", playsinline: true, "aria-label": recording.name,
      onplay: () => view.playing || toggle(true), onpause: () => view.playing && toggle(false),
      onseeked: () => { view.time = element.currentTime; moveHead(); }, onloadedmetadata: () => { element.currentTime = view.time; },
      onerror: () => element.replaceWith(make("p", { class: "warn" }, `The browser cannot play ${decodeURIComponent(src)}. `
        + "Is the file still there? Browsers play mp4, webm and wav; the timeline runs without it.")) });
    return element;
  }

  const standingOf = tally([recording], state.run);
  const part = make("section", { class: "recording", "aria-label": `Recording ${recording.name}` },
    make("div", { class: "recording-head" }, close && make("button", { onclick: close }, "← All recordings"), make("h1", {}, recording.name),
      close && make("div", { class: "fields" }, make("button", { disabled: index === 0, onclick: () => openRecording(index - 1) }, "Previous recording"),
        make("button", { disabled: index + 1 >= content.recordings.length, onclick: () => openRecording(index + 1) }, "Next recording"))),
    make("div", { class: "toolbar" }, slider(() => (recording.found[state.run]?.type ? standing(standingOf) : `${countOf(recording.found[state.run].score)} shown`)),
      make("div", { class: "fields" }, play, clockText, make("button", { "aria-label": "Zoom in", onclick: () => zoom(0.5) }, "+"),
        make("button", { "aria-label": "Zoom out", onclick: () => zoom(2) }, "−"), make("button", { onclick: () => zoom(1e9) }, "Whole"),
        content.runs.length > 1 && choice("Run", content.runs.map((name, i) => [i, name]), (value) => { state.run = +value; openRecording(index, view.time); }, state.run),
        editor.begin)),
    media && make("div", { class: "media" }, media), editor.panel, stage, make("div", { class: "below" }, list, shortcuts(close)));
  document.addEventListener("keydown", onkey);
  redraws.add(redraw);
  const resized = new ResizeObserver(redraw);
  resized.observe(stage);
  dark.addEventListener("change", redraw);
  Object.assign(view, { redraw, choose, seek, chosenItem, part, leave() {
    toggle(false);
    document.removeEventListener("keydown", onkey);
    dark.removeEventListener("change", redraw);
    redraws.delete(redraw);
    resized.disconnect();
  } });
  return view;
}

function shortcuts(close) {
  const rows = [["→ ←", "next, previous detection"], ["↑ ↓", "score up, down"], ["Space", "play, pause"], ["+ −", "zoom"],
    ["E", "correct"], ["A", "add here"], ["Del", "delete"], ["Ctrl Z", "undo"], ["Ctrl S", "save"], close && ["Esc", "all recordings"]];
  return make("div", { class: "card keys" }, make("h3", {}, "Keys"), make("dl", {}, rows.filter(Boolean).map(([key, what]) =>
    make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)))),
  make("p", { class: "note" }, "A click on a detection plays it. Drag to pan; Ctrl and the wheel zoom. Dark lines below the bars are the truth."));
}

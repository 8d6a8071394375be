// Every recording as a row: truth over detections. Rows that nobody sees are not drawn.

/** How many of a rising list of negated scores are at least as high as a score: by halving. */
function countFrom(negated, score) {
  let [low, high] = [0, negated.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (negated[middle] <= -score) low = middle + 1; else high = middle;
  }
  return low;
}

/**
 * {right, wrong, truths}: scores, negated and rising, that find a truth, and of wrong detections; number of
 * truths. label: of the class that is counted, -1 for all. Every truth counts, and of wrong detections those
 * that the page holds.
 */
function tally(recordings, run = 0, label = -1) {
  const right = [], wrong = [], counts = (other) => label < 0 || other === label;
  let truths = 0;
  for (const { found, truth } of recordings) {
    const { score, type, label: labels, truths: foundAt } = found[run];
    truth.label.forEach((other, i) => {
      if (!counts(other)) return;
      truths += 1;
      if (foundAt?.[i] != null) right.push(-foundAt[i]);
    });
    score.forEach((value, i) => type?.[i] > 0 && counts(labels[i]) && wrong.push(-value));
  }
  return { right: Float64Array.from(right).sort(), wrong: Float64Array.from(wrong).sort(), truths };
}

/** A function that gives the tally of recordings for the class that is chosen, and counts once a class. */
function tallied(recordings) {
  let known = null, label = null;
  return () => {
    if (label !== state.label) known = tally(recordings, 0, label = state.label);
    return known;
  };
}

/** The text of how a tally stands at the current score. */
function standing({ right, wrong, truths }) {
  const [hits, errors] = [countFrom(right, state.threshold), countFrom(wrong, state.threshold)];
  const held = content.thinned ? " of those shown" : "";
  return `${hits} right · ${errors} wrong${held} · ${truths - hits} of ${truths} not found`;
}

/** Whether the filter of the list shows a class. */
const isShown = (label) => state.label < 0 || state.label === label;

function errorsOf(known) {
  const hits = countFrom(known.right, state.threshold);
  return countFrom(known.wrong, state.threshold) + known.truths - hits;
}

/** Draws a recording as a row: its truth, and the detections of each run under it. */
function drawRow(canvas, recording) {
  const width = canvas.clientWidth, { duration, truth, found } = recording, each = 19;
  const context = sharp(canvas, width, 18 + each * found.length);
  const toX = (ms) => (ms / 1000 / duration) * width;
  context.fillStyle = themed("wash");
  context.fillRect(0, 0, width, 14);
  const { truths } = found[0], named = true;
  truth.label.forEach((label, i) => {
    if (!isShown(label)) return;
    const place = { x: toX(truth.start[i]), y: 1, width: toX(truth.end[i] - truth.start[i]), height: 12 };
    bar(context, label, place, { type: truths && !(truths[i] >= state.threshold) ? 1 : 0, named });
  });
  found.forEach(({ label, start, end, score, type }, run) => {
    const y = 18 + each * run, best = scoreRange()[1];
    context.fillStyle = themed("wash");
    context.fillRect(0, y - 1, width, 17);
    for (let i = countOf(score) - 1; i >= 0; i--) {
      if (!isShown(label[i])) continue;
      const place = { x: toX(start[i]), y, width: toX(end[i] - start[i]), height: 15 };
      bar(context, label[i], place, { type: type?.[i], strength: Math.min(1, score[i] / best), named });
    }
  });
}

/** How many of falling scores reach the current one. */
function countOf(score) {
  let [low, high] = [0, score.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (score[middle] >= state.threshold) low = middle + 1; else high = middle;
  }
  return low;
}

/** What a detection is, as far as it is judged: "right", a kind of error, "not scored" or "". */
function verdict({ type }, i) {
  if (!type) return "";
  return type[i] < 0 ? "not scored" : type[i] ? content.types[type[i]] : "right";
}

/** What lies under a place of a row: a text for the pointer. */
function underPointer({ duration, truth, found }, canvas, event) {
  const box = canvas.getBoundingClientRect(), run = Math.floor((event.clientY - box.top - 16) / 19);
  const ms = (1000 * duration * (event.clientX - box.left)) / box.width, time = clock(ms / 1000, duration);
  const inside = (one, i) => isShown(one.label[i]) && one.start[i] <= ms && ms <= one.end[i];
  if (run < 0) {
    const at = truth.label.findIndex((_, i) => inside(truth, i));
    return at < 0 ? time : `${time} · truth: ${content.classes[truth.label[at]]}`;
  }
  const of = found[Math.min(run, found.length - 1)];
  for (let i = 0; i < countOf(of.score); i++) {
    const said = [content.classes[of.label[i]], `score ${scoreText(of.score[i])}`, verdict(of, i)];
    if (inside(of, i)) return `${time} · ${said.filter(Boolean).join(", ")}`;
  }
  return time;
}

/** A recording as a line of the list: its elements, how to draw it. tip: shows what is under the pointer. */
function makeRow(recording, index, tip) {
  const known = tallied([recording]), said = make("span", { class: "row-said" });
  const point = (event) => {
    tip.textContent = underPointer(recording, canvas, event);
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, innerWidth - 260);
    Object.assign(tip.style, { left: `${left}px`, top: `${event.clientY + 16}px` });
  };
  const canvas = make("canvas", { "aria-hidden": "true", onpointermove: point,
    onpointerleave: () => { tip.hidden = true; },
    onclick: (event) => openRecording(index, recording.duration * (event.offsetX / canvas.clientWidth)) });
  const element = make("div", { class: "row" }, make("div", { class: "row-name" },
    make("button", { class: "link", onclick: () => openRecording(index) }, recording.name), said), canvas);
  const row = { recording, element, errors: () => errorsOf(known()), forget: () => { canvas.width = 0; },
    draw() {
    const length = clock(recording.duration, 181, 0);
    said.textContent = recording.found[0].type ? `${length} · ${plural(errorsOf(known()), "error")}` : length;
    drawRow(canvas, recording);
  } };
  element.row = row;
  return row;
}

function recordingsPart() {
  const { recordings, classes, runs } = content, all = tallied(recordings), visible = new Set();
  const list = make("div", { class: "rows" }), tip = make("div", { class: "tip", hidden: true });
  const rows = recordings.map((recording, i) => makeRow(recording, i, tip));
  let [order, text, waiting] = ["errors", "", false];
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; visible.forEach((row) => row.draw()); });
  };
  const has = ({ truth, found }) => [truth, ...found].some(({ label }) => label.includes(state.label));
  const arrange = () => {
    const shown = rows.filter(({ recording }) => recording.name.toLowerCase().includes(text)
      && (state.label < 0 || has(recording))).map((row) => ({ row, errors: row.errors() }));
    if (order === "errors") shown.sort((a, b) => b.errors - a.errors);
    if (order === "name") shown.sort((a, b) => (a.row.recording.name < b.row.recording.name ? -1 : 1));
    list.replaceChildren(...shown.map(({ row }) => row.element));
    redraw();
  };
  const watcher = new IntersectionObserver((entries) => entries.forEach(({ target: { row },
    isIntersecting }) => {
    if (isIntersecting) { visible.add(row); row.draw(); } else if (visible.delete(row)) row.forget();
  }), { rootMargin: "200px" });
  rows.forEach(({ element }) => watcher.observe(element));
  redraws.add(redraw);
  window.addEventListener("resize", redraw);
  dark.addEventListener("change", redraw);
  const control = slider(() => (recordings.some(({ found }) => found[0].type) ? standing(all()) : ""));
  control.addEventListener("change", () => order === "errors" && arrange());
  const orders = [["errors", "most errors first"], ["file", "as in the file"], ["name", "by name"]];
  const find = make("input", { type: "search", size: 12,
    oninput: () => { text = find.value.toLowerCase(); arrange(); } });
  const fields = make("div", { class: "fields" },
    choice("Order", orders, (value) => { order = value; arrange(); }),
    choice("Class", [[-1, "all"], ...classes.map((name, i) => [i, name])],
      (value) => { state.label = Number(value); arrange(); control.update(); }, state.label),
    make("label", { class: "field" }, make("span", {}, "Find"), find));
  const more = classes.length > 40 ? ` Colours of the first 40 of ${classes.length} classes:` : "";
  const lines = runs.length > 1 ? `, a line a run: ${runs.join(", ")}` : "";
  const lead = `Truth above, detections below${lines}. Filled bars agree at tIoU ${content.tiou}; `
    + `outlines are wrong, or not found; grey ones are not scored. A click opens the recording there.${more}`;
  arrange();
  return section("recordings", "Recordings", lead, make("div", { class: "toolbar" }, control, fields),
    legend(classes.slice(0, 40).map((name, i) => [name, color(i), i])),
    make("div", { class: "rows-box" }, list), tip);
}

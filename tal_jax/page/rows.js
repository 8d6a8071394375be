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

/** {right, wrong, truths}: scores, negated and rising, of right and wrong detections; number of truths. */
function tally(recordings, run = 0) {
  const right = [], wrong = [];
  let truths = 0;
  for (const { found, truth } of recordings) {
    truths += truth.label.length;
    const { score, type } = found[run] ?? { score: [] };
    score.forEach((value, i) => type && type[i] >= 0 && (type[i] ? wrong : right).push(-value));
  }
  return { right: Float64Array.from(right).sort(), wrong: Float64Array.from(wrong).sort(), truths };
}

/** The text of how a tally stands at the current score. */
function standing({ right, wrong, truths }) {
  const [hits, errors] = [countFrom(right, state.threshold), countFrom(wrong, state.threshold)];
  return `${hits} right · ${errors} wrong · ${truths - hits} of ${truths} not found`;
}

function errorsOf(known) {
  const hits = countFrom(known.right, state.threshold);
  return countFrom(known.wrong, state.threshold) + known.truths - hits;
}

/** Draws a recording as a row: its truth, and the detections of each run under it. */
function drawRow(canvas, recording) {
  const width = canvas.clientWidth, { duration, truth, found } = recording, each = 19;
  const context = sharp(canvas, width, 18 + each * found.length);
  const toX = (ms) => (ms / 1000 / duration) * width;
  const shown = (label) => state.label < 0 || state.label === label;
  context.fillStyle = themed("wash");
  context.fillRect(0, 0, width, 14);
  const { truths } = found[0], named = true;
  truth.label.forEach((label, i) => {
    if (!shown(label)) return;
    const place = { x: toX(truth.start[i]), y: 1, width: toX(truth.end[i] - truth.start[i]), height: 12 };
    bar(context, label, place, { wrong: truths && !(truths[i] >= state.threshold), named });
  });
  found.forEach(({ label, start, end, score, type }, run) => {
    const y = 18 + each * run, best = scoreRange()[1];
    context.fillStyle = themed("wash");
    context.fillRect(0, y - 1, width, 17);
    for (let i = countOf(score) - 1; i >= 0; i--) {
      if (!shown(label[i])) continue;
      const place = { x: toX(start[i]), y, width: toX(end[i] - start[i]), height: 15 };
      bar(context, label[i], place, { wrong: type?.[i], strength: Math.min(1, score[i] / best), named });
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

const verdict = (found, i) => (found.type?.[i] >= 0
  ? `, ${found.type[i] ? content.types[found.type[i]] : "right"}` : "");

/** What lies under a place of a row: a text for the pointer. */
function underPointer({ duration, truth, found }, canvas, event) {
  const box = canvas.getBoundingClientRect(), run = Math.floor((event.clientY - box.top - 16) / 19);
  const ms = (1000 * duration * (event.clientX - box.left)) / box.width, time = clock(ms / 1000, duration);
  const inside = (one, i) => one.start[i] <= ms && ms <= one.end[i];
  if (run < 0) {
    const at = truth.label.findIndex((_, i) => inside(truth, i));
    return at < 0 ? time : `${time} · truth: ${content.classes[truth.label[at]]}`;
  }
  const of = found[Math.min(run, found.length - 1)];
  for (let i = 0; i < countOf(of.score); i++) {
    const said = `${content.classes[of.label[i]]}, score ${scoreText(of.score[i])}${verdict(of, i)}`;
    if (inside(of, i)) return `${time} · ${said}`;
  }
  return time;
}

/** A recording as a line of the list: its elements,
  and how to draw it. tip: shows what is under the pointer. */
function makeRow(recording, index, tip) {
  const known = tally([recording]), said = make("span", { class: "row-said" });
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
  const row = { recording, element, errors: () => errorsOf(known), forget: () => { canvas.width = 0; },
    draw() {
    const length = clock(recording.duration, 181, 0);
    said.textContent = recording.found[0].type ? `${length} · ${plural(errorsOf(known), "error")}` : length;
    drawRow(canvas, recording);
  } };
  element.row = row;
  return row;
}

function recordingsPart() {
  const { recordings, classes, runs } = content, all = tally(recordings), visible = new Set();
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
  const control = slider(() => (recordings.some(({ found }) => found[0].type) ? standing(all) : ""));
  control.addEventListener("change", () => order === "errors" && arrange());
  const orders = [["errors", "most errors first"], ["file", "as in the file"], ["name", "by name"]];
  const find = make("input", { type: "search", size: 12,
    oninput: () => { text = find.value.toLowerCase(); arrange(); } });
  const fields = make("div", { class: "fields" },
    choice("Order", orders, (value) => { order = value; arrange(); }),
    choice("Class", [[-1, "all"], ...classes.map((name, i) => [i, name])],
      (value) => { state.label = Number(value); arrange(); }, state.label),
    make("label", { class: "field" }, make("span", {}, "Find"), find));
  const more = classes.length > 40 ? ` Colours of the first 40 of ${classes.length} classes:` : "";
  const lines = runs.length > 1 ? `, a line a run: ${runs.join(", ")}` : "";
  const lead = `Truth above, detections below${lines}. Filled bars agree at tIoU 0.5; outlines are wrong, `
    + `or not found. A click opens the recording there.${more}`;
  arrange();
  return section("recordings", "Recordings", lead, make("div", { class: "toolbar" }, control, fields),
    legend(classes.slice(0, 40).map((name, i) => [name, color(i), i])),
    make("div", { class: "rows-box" }, list), tip);
}

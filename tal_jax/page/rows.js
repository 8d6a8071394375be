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
  const toX = (ms) => (ms / 1000 / duration) * width, shown = (label) => state.label < 0 || state.label === label;
  context.fillStyle = themed("wash");
  context.fillRect(0, 0, width, 14);
  truth.label.forEach((label, i) => {
    if (!shown(label)) return;
    const [x, size] = [toX(truth.start[i]), toX(truth.end[i] - truth.start[i])];
    const { truths } = found[0], kind = truths && !(truths[i] >= state.threshold) ? "wrong" : "right";
    bar(context, label, x, 1, size, 12, kind);
    barText(context, content.classes[label], x, 1, size, 12, kind);
  });
  found.forEach(({ label, start, end, score, type }, run) => {
    const y = 18 + each * run, best = scoreRange()[1];
    context.fillStyle = themed("wash");
    context.fillRect(0, y - 1, width, 17);
    for (let i = countOf(score) - 1; i >= 0; i--) {
      if (!shown(label[i])) continue;
      const [x, size, kind] = [toX(start[i]), toX(end[i] - start[i]), type && type[i] !== 0 ? "wrong" : "right"];
      bar(context, label[i], x, y, size, 15, kind, Math.min(1, score[i] / best));
      barText(context, content.classes[label[i]], x, y, size, 15, kind);
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

/** What lies under a place of a row: a text for the pointer. */
function underPointer(recording, canvas, event) {
  const box = canvas.getBoundingClientRect(), ms = (1000 * recording.duration * (event.clientX - box.left)) / box.width;
  const run = Math.floor((event.clientY - box.top - 16) / 19), inside = (one, i) => one.start[i] <= ms && ms <= one.end[i];
  const time = clock(ms / 1000, recording.duration), { truth } = recording, found = recording.found[Math.max(run, 0)];
  if (run < 0) {
    const at = truth.label.findIndex((_, i) => inside(truth, i));
    return at < 0 ? time : `${time} · truth: ${content.classes[truth.label[at]]}`;
  }
  for (let i = 0; i < countOf(found.score); i++)
    if (inside(found, i)) return `${time} · ${content.classes[found.label[i]]}, score ${scoreText(found.score[i])}${verdict(found, i)}`;
  return time;
}

const verdict = (found, i) => (found.type && found.type[i] >= 0 ? `, ${found.type[i] ? content.types[found.type[i]] : "right"}` : "");

function recordingsPart() {
  const { recordings } = content, known = new Map(recordings.map((one) => [one, tally([one])])), all = tally(recordings);
  const list = make("div", { class: "rows" }), visible = new Set(), tip = make("div", { class: "tip", hidden: true });
  let [order, words] = ["errors", ""];
  const rows = recordings.map((recording, i) => {
    const canvas = make("canvas", { "aria-hidden": "true",
      onclick: (event) => openRecording(i, recording.duration * (event.offsetX / canvas.clientWidth)),
      onpointermove: (event) => {
        tip.textContent = underPointer(recording, canvas, event);
        tip.hidden = false;
        Object.assign(tip.style, { left: `${Math.min(event.clientX + 14, innerWidth - 260)}px`, top: `${event.clientY + 16}px` });
      },
      onpointerleave: () => { tip.hidden = true; } });
    const said = make("span", { class: "row-said" });
    const row = make("div", { class: "row" }, make("div", { class: "row-name" },
      make("button", { class: "link", onclick: () => openRecording(i) }, recording.name), said), canvas);
    const line = { recording, row, canvas, draw() {
      const count = errorsOf(known.get(recording));
      said.textContent = `${clock(recording.duration, 181, 0)} · ${plural(count, "error")}`;
      drawRow(canvas, recording);
    } };
    row.line = line;
    return line;
  });
  const watcher = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    const { line } = target;
    if (isIntersecting) { visible.add(line); line.draw(); } else if (visible.delete(line)) line.canvas.width = 0;
  }), { rootMargin: "200px" });
  rows.forEach(({ row }) => watcher.observe(row));
  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; visible.forEach((line) => line.draw()); });
  };
  const arrange = () => {
    const errors = new Map(rows.map((line) => [line, errorsOf(known.get(line.recording))]));
    const shown = rows.filter(({ recording }) => recording.name.toLowerCase().includes(words)
      && (state.label < 0 || [recording.truth, ...recording.found].some(({ label }) => label.includes(state.label))));
    if (order === "errors") shown.sort((a, b) => errors.get(b) - errors.get(a));
    if (order === "name") shown.sort((a, b) => (a.recording.name < b.recording.name ? -1 : 1));
    list.replaceChildren(...shown.map(({ row }) => row));
    redraw();
  };
  redraws.add(redraw);
  window.addEventListener("resize", redraw);
  dark.addEventListener("change", redraw);
  const judged = recordings.some(({ found }) => found[0]?.type);
  const control = slider(() => (judged ? standing(all) : ""));
  control.addEventListener("change", () => order === "errors" && arrange());
  const part = section("recordings", "Recordings", "Truth above, detections below"
    + `${content.runs.length > 1 ? `, a line a run: ${content.runs.join(", ")}` : ""}. Filled bars agree; outlines are wrong, or not found. A click opens the recording there.`,
  make("div", { class: "toolbar" }, control, make("div", { class: "fields" },
    choice("Order", [["errors", "most errors first"], ["file", "as in the file"], ["name", "by name"]], (value) => { order = value; arrange(); }),
    choice("Class", [[-1, "all"], ...content.classes.map((name, i) => [i, name])], (value) => { state.label = +value; arrange(); }, state.label),
    make("label", { class: "field" }, make("span", {}, "Find"), make("input", { type: "search", size: 12,
      oninput: (event) => { words = event.target.value.toLowerCase(); arrange(); } })))),
  legend(content.classes.slice(0, 40).map((name, i) => [name, color(i), i])), make("div", { class: "rows-box" }, list), tip);
  arrange();
  return part;
}

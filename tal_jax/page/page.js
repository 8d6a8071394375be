// Puts the page together: what is open, the score, keys, tables, and the renewal of a page that is watched.

const RENEW_MS = 5000, REST_MS = 20000, KEPT = `fields of ${location.pathname}`;
const overview = part("#overview"), sliders = parts("[name=score]"), [low, high] = content.range;
let overviewTop = 0;

/** Shows what the address names: a recording, perhaps at a time and from a score on, or all of the page. */
function route() {
  const [name, time, score] = location.hash.slice(1).split("/");
  const index = content.predicted ? 0 : name.match(/^recording-(\d+)$/)?.[1];
  const opens = Boolean(content.recordings[index]);
  if (view) play(false); else overviewTop = scrollY;
  view = null;
  overview.hidden = opens;
  single.hidden = !opens;
  if (opens) openRecording(Number(index), time && Number(time)); else player.removeAttribute("src");
  setThreshold(score ?? state.threshold);
  if (opens || name === "recordings") scrollTo(0, opens ? 0 : overviewTop);
}

/** Sets the score from which on detections are shown, and says beside the sliders how these are. */
function setThreshold(score) {
  state.threshold = clamp(score, low, high);
  if (view) redraw(); else inSight.forEach(updateRow);
  const { right, wrong, truths, rest } = tally(view ? [view.recording] : content.recordings);
  const more = rest ? `, up to ${rest.toLocaleString("en")} more that the page lacks` : "";
  const whose = content.runs.length > 1 ? `${content.runs[state.run]}: ` : "";
  const said = `${whose}${right} right · ${wrong} wrong${more} · ${truths - right} of ${truths} not found`;
  for (const slider of sliders) {
    slider.value = state.threshold;
    slider.setAttribute("aria-valuetext", `score ${scoreText(state.threshold)} or more`);
    slider.nextElementSibling.textContent = `≥ ${scoreText(state.threshold)}`;
    slider.parentElement.lastElementChild.textContent = content.judged ? said : "";
  }
}

const keys = {
  ArrowRight: () => neighbour(1), ArrowLeft: () => neighbour(-1), " ": () => play(!view.playing),
  ArrowUp: () => setThreshold(state.threshold + (high - low) / 50),
  ArrowDown: () => setThreshold(state.threshold - (high - low) / 50),
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => show(0, Infinity),
  Escape: () => { if (!content.predicted) location.hash = "recordings"; },
  e: beginCorrection, a: () => add(), Delete: () => alter(null), Backspace: () => alter(null),
  "Ctrl+z": undo, "Ctrl+s": () => { document.activeElement.blur(); save(); }, // a time that is typed, too
};

document.addEventListener("keydown", (event) => {
  const { key, target: { tagName, type } } = event;
  const act = keys[(event.ctrlKey || event.metaKey ? "Ctrl+" : "") + key];
  const writes = tagName === "SELECT" || (tagName === "INPUT" && type !== "range");
  const own = (tagName === "BUTTON" && key === " ") || (type === "range" && key.startsWith("Arrow"));
  if (!view || !act || event.altKey || own || (writes && !["Escape", "s"].includes(key))) return;
  event.preventDefault();
  act();
});

/** Sorts the rows of a table by a column: the first one by its texts, others by their numbers, gaps last. */
function sortTable(head) {
  const { tBodies: [body], tHead } = head.closest("table"), column = head.cellIndex;
  const rising = head.ariaSort ? head.ariaSort === "descending" : column === 0, sign = rising ? 1 : -1;
  const text = ({ cells }) => cells[column].textContent;
  const value = (row) => (column ? parseFloat(text(row).replace("−", "-").replace("±", "")) : NaN);
  const compare = (a, b) => isNaN(value(a)) - isNaN(value(b)) || sign * (value(a) - value(b))
    || sign * text(a).localeCompare(text(b));
  for (const other of tHead.rows[0].cells) other.ariaSort = null;
  head.ariaSort = rising ? "ascending" : "descending";
  body.append(...[...body.rows].sort(compare));
}

document.addEventListener("click", ({ target }) => {
  if (view) keys[target.dataset.key]?.();
  if (target.matches(".sort")) sortTable(target.parentElement);
});
document.addEventListener("input", ({ target: { name, value, selectedIndex } }) => {
  if (name === "run") state.run = selectedIndex;
  if (name === "run" || name === "score") setThreshold(name === "score" ? Number(value) : state.threshold);
  parts(`[data-shown-by="${name}"]`).forEach((one, i) => { one.hidden = i !== selectedIndex; });
  if (name === "curve") parts(".curve").forEach(({ classList: c }) => c.toggle("chosen", c.contains(value)));
});
content.classes.forEach(listClass);
addEventListener("hashchange", route);
route();
if (list) arrange();

// A page that is watched is loaded again when the run has changed, but not under the hands of a person. What
// the person has chosen stays.
let touched = 0; // when a person did something
if (content.state) {
  const chosen = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
  for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, () => touched = Date.now());
  for (const [name, value] of Object.entries(chosen)) {
    const [field] = document.getElementsByName(name);
    if (field) field.value = value;
    field?.dispatchEvent(new Event("input", { bubbles: true }));
  }
  addEventListener("input", ({ target: { name, value } }) => {
    if (name !== "action") chosen[name] = value;
  });
  setInterval(async () => {
    const answer = await fetch("state").catch(() => null); // the server may have ended
    if (!answer?.ok || await answer.text() === content.state) return;
    if (view || !isSaved() || Date.now() - touched < REST_MS) return;
    sessionStorage.setItem(KEPT, JSON.stringify(chosen));
    if ((await fetch(location.pathname)).ok) location.reload(); // a file may be half written
  }, RENEW_MS);
}

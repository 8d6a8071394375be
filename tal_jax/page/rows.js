// Every recording as a row: truth over the detections of each run. Only rows in sight have bars.

const list = part(".rows"), rows = parts(".row"), inSight = new Set();
const filters = part("fieldset.fields");
rows.forEach((row, i) => { row.recording = content.recordings[i]; });

/** Shows in a row what has the score and the class that are asked for. */
function drawRow({ recording, children: [, said, lines] }) {
  const { duration, truth, found } = recording, length = clock(duration, 181, 0);
  const line = (actions) => make("div", { className: "line" },
    ...actions.filter(isChosen).map((one) => barOf(one, duration)).reverse()); // the best ones are on top
  lines.replaceChildren(line(truth), ...found.map((one) => line(one.filter(isHigh))));
  said.textContent = content.judged ? `${length} · ${plural(tally([recording]).errors, "error")}` : length;
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) { inSight.add(target); drawRow(target); } else inSight.delete(target);
  }
}, { root: list, rootMargin: "200px" });
rows.forEach((row) => watcher.observe(row));

/** Shows the rows of the class and the name that are asked for, in the order that is. */
function arrange() {
  const { order, label, text } = filters.elements, wanted = text.value.toLowerCase();
  const keys = { name: ({ name }) => name, file: () => 0, errors: (recording) => -tally([recording]).errors };
  state.label = Number(label.value);
  for (const row of rows) {
    const { name, truth, found } = row.recording, has = (actions) => actions.some(isChosen);
    row.key = keys[order.value](row.recording);
    row.hidden = !name.toLowerCase().includes(wanted) || (state.label >= 0 && ![truth, ...found].some(has));
  }
  list.append(...[...rows].sort((a, b) => (a.key < b.key ? -1 : Number(a.key > b.key))));
  setThreshold(state.threshold);
}

if (list) {
  filters.addEventListener("input", arrange);
  list.addEventListener("click", ({ clientX, target }) => {
    const row = target.closest(".row"), lines = row?.lastElementChild;
    if (!lines?.contains(target)) return;
    const { left, width } = lines.getBoundingClientRect();
    const time = (row.recording.duration * (clientX - left)) / width;
    location.hash = `recording-${rows.indexOf(row)}/${time.toFixed(3)}`;
  });
}

// Every recording as a row: truth over the detections of each run. Only rows in sight have bars.

const list = part(".rows"), rows = parts(".row"), inSight = new Set(), filters = part("fieldset.fields");

function fillRow(row) {
  const { duration, truth, found } = row.recording;
  const line = (actions) => make("div", { className: "line" },
    ...actions.map((one) => (one.bar = barOf(one, duration))).reverse()); // the best ones are on top
  row.lastElementChild.replaceChildren(line(truth), ...found.map(line));
  updateRow(row);
}

/** Shows in a row what has the score and the class that are asked for; what is hidden stays in its place. */
function updateRow({ recording, children: [, said] }) {
  const { duration, truth, found } = recording, length = clock(duration, 181, 0);
  for (const one of truth) one.bar.classList.toggle("wrong", one.foundAt[state.run] < state.threshold);
  for (const one of [truth, ...found].flat()) {
    one.bar.style.visibility = isChosen(one) && (one.foundAt || isHigh(one)) ? "" : "hidden";
  }
  said.textContent = content.judged ? `${length} · ${plural(tally([recording]).errors, "error")}` : length;
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) { inSight.add(target); fillRow(target); } else inSight.delete(target);
  }
}, { root: list, rootMargin: "60px" });
rows.forEach((row, i) => { row.recording = content.recordings[i]; watcher.observe(row); });

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

filters?.addEventListener("input", arrange);
list?.addEventListener("click", ({ clientX, target }) => {
  const row = target.closest(".row"), lines = row?.lastElementChild;
  if (!lines?.contains(target)) return;
  const { left, width } = lines.getBoundingClientRect();
  const time = (row.recording.duration * (clientX - left)) / width;
  location.hash = `recording-${rows.indexOf(row)}/${time.toFixed(3)}`;
});

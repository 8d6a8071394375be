// Correcting a recording, and the file of annotations that training reads. recording.corrected: its actions
// [{label, start, end (ms)}], if it is corrected, replaced at each change; recording.history: those before.

const editor = part(".editing"), fields = editor.querySelector("fieldset");
const { action, start: startField, end: endField } = fields.elements;
const lastTime = () => view.recording.last ?? Infinity; // in ms

/** Shows these actions as the correction of the open recording; without any it is not corrected. */
function put(actions) {
  view.recording.corrected = actions?.sort(byTime);
  redraw();
}

function change(actions) {
  view.recording.history.push(view.recording.corrected);
  put(actions);
}

const undo = () => view.recording.history.length && put(view.recording.history.pop());

function beginCorrection() {
  if (content.uncorrectable || view.recording.corrected) return;
  const actions = part("#from").value === "truth" ? view.recording.truth : view.items;
  change(actions.map(({ label, start, end }) =>
    ({ label, start: Math.max(0, start), end: Math.min(lastTime(), end) }))
    .filter(({ start, end }) => start < end));
}

function add(seconds = view.time, label = view.chosen?.label ?? view.lanes[0] ?? 0) {
  const { corrected } = view.recording, [from, to] = span(), size = Math.max(200, (1000 * (to - from)) / 20);
  if (!corrected) return;
  const start = Math.round(Math.min(1000 * seconds, lastTime() - 10));
  view.chosen = { label, start, end: Math.round(Math.min(start + size, lastTime())) };
  change([...corrected, view.chosen]);
}

/** Changes fields of the chosen action; without fields it is deleted. */
function alter(fields) {
  const { chosen, recording: { corrected } } = view;
  if (!corrected?.includes(chosen)) return;
  view.chosen = fields && { ...chosen, ...fields };
  change([...corrected.filter((one) => one !== chosen), ...(fields ? [view.chosen] : [])]);
}

/** {start, end} of an action that is moved by so many seconds, or that is moved at its "start" or "end". */
function movedBy({ start, end }, which, seconds) {
  const by = Math.round(1000 * seconds), within = clamp(by, -start, lastTime() - end);
  if (which === "start") return { start: clamp(start + by, 0, end - 10), end };
  if (which === "end") return { start, end: clamp(end + by, start + 10, lastTime()) };
  return { start: start + within, end: end + within };
}

function showEditor() {
  const { chosen, recording: { corrected, history } } = view, row = corrected?.includes(chosen) && chosen;
  editor.hidden = !corrected;
  fields.disabled = !row;
  if (row) action.value = row.label;
  for (const field of [startField, endField]) field.value = row ? row[field.name] / 1000 : "";
  editor.querySelector("[data-key='Ctrl+z']").disabled = !history.length;
  const count = plural(content.recordings.filter((one) => one.corrected).length, "recording");
  part("#saved").textContent = `${count} to save${isSaved() ? ", saved" : ""}.`;
}

const listClass = (name, label) => parts("select.classes").forEach((select) =>
  select.add(new Option(name, label), select.querySelector("[value=new]")));

action.addEventListener("input", () => {
  const { classes } = content, isNew = action.value === "new";
  const name = isNew ? prompt("Name of the class:")?.trim() : classes[action.value];
  if (name && !classes.includes(name)) listClass(name, classes.push(name) - 1);
  if (name) alter({ label: classes.indexOf(name) }); else showEditor();
});
for (const field of [startField, endField]) field.addEventListener("change", () => {
  const changed = { [field.name]: Math.round(1000 * field.value) }; // a value that is no number is ""
  const { start, end } = { ...view.chosen, ...changed };
  if (field.value && start >= 0 && start < end && end <= lastTime()) alter(changed); else showEditor();
});

// While a time is typed, a press elsewhere does not end it: redrawing then would lose the click, which does.
const leavesIt = ({ target }) => editor.contains(document.activeElement) && target.closest(".track, .list");
addEventListener("mousedown", (event) => leavesIt(event) && event.preventDefault());
addEventListener("click", (event) => leavesIt(event) && document.activeElement.blur(), true);

/** The annotation file of all corrected recordings: what tal_jax.annotations and training read. */
function correctedFile() {
  const database = Object.create(null), classes = new Set(content.classes.slice(0, content.num_annotated));
  for (const { name, entry: { ignored = [], ...entry }, corrected } of content.recordings) {
    const annotations = corrected?.map(({ label, start, end }) =>
      ({ label: content.classes[label], segment: [start / 1000, end / 1000] }));
    annotations?.forEach(({ label }) => classes.add(label));
    if (corrected) database[name] = { ...entry, annotations: [...annotations, ...ignored] };
  }
  return { classes: [...classes], database };
}

const fileText = () => JSON.stringify(correctedFile(), null, 1), isSaved = () => fileText() === saved;
let saved = fileText(); // the text of the last file, at first that without recordings

function save() {
  if (!view.recording.corrected) return;
  saved = fileText();
  const href = `data:application/json,${encodeURIComponent(saved)}`;
  make("a", { href, download: "corrected.json" }).click();
  showEditor();
}

addEventListener("beforeunload", (event) => { if (!isSaved()) event.preventDefault(); });

// Correcting a recording: ends, places, classes; undo; the file of annotations that training reads.

const corrected = new Map(); // name of a recording -> its corrected actions [{id, label, start, end}] in ms
const histories = new Map(); // name of a recording -> what it was before each change; null: not corrected
const unsaved = new Set(); // names of recordings
let saved = true, nextId = 1; // whether all corrections are saved; of an action

/** What can be changed in the view of a recording. `rows` is null until a correction is begun. */
function makeEditor(view) {
  const { recording } = view, { name, duration, known, entry } = recording;
  const last = known ? Math.floor(1000 * (entry.duration ?? duration) + 1e-6) : Infinity;
  if (!histories.has(name)) histories.set(name, []);
  const undone = histories.get(name);
  const editor = { rows: corrected.get(name) ?? null };

  function change(rows) {
    undone.push(editor.rows && editor.rows.map((row) => ({ ...row })));
    put(rows);
  }

  /** Shows these actions; null ends the correction. */
  function put(rows) {
    editor.rows = rows && rows.sort((a, b) => a.start - b.start || a.end - b.end);
    if (rows) corrected.set(name, editor.rows); else corrected.delete(name);
    if (rows) unsaved.add(name); else unsaved.delete(name);
    saved = !unsaved.size;
    view.redraw();
    editor.show();
  }

  function start(source) {
    if (content.uncorrectable) return;
    const { label, start: starts, end } = source === "truth" ? recording.truth : recording.found[state.run];
    const count = source === "truth" ? label.length : countOf(recording.found[state.run].score);
    const rows = [];
    for (let i = 0; i < count; i++) {
      const times = { start: Math.max(0, starts[i]), end: Math.min(last, end[i]) };
      rows.push({ id: nextId++, label: label[i], ...times });
    }
    view.chosen = null;
    change(rows.filter((row) => row.start < row.end));
  }

  /** Moves an end or the whole of an action while a pointer is held. */
  editor.drag = (item, part) => {
    const before = editor.rows.map((row) => ({ ...row })), { start: from, end: to } = item;
    return {
      move(seconds) {
        const ms = Math.round(1000 * seconds);
        if (part === "start") item.start = Math.max(0, Math.min(from + ms, to - 10));
        else if (part === "end") item.end = Math.min(last, Math.max(to + ms, from + 10));
        else {
          const by = Math.min(Math.max(ms, -from), last - to);
          [item.start, item.end] = [from + by, to + by];
        }
      },
      end(moved) { if (moved) { undone.push(before); put(editor.rows); } },
    };
  };

  editor.add = (seconds = view.time, label = view.chosenItem()?.label ?? view.lanes[0] ?? 0) => {
    if (!editor.rows) return;
    const size = Math.min(last, 1000 * Math.max(0.2, (view.to - view.from) / 20));
    const from = Math.max(0, Math.min(1000 * seconds, last - size));
    view.chosen = nextId++;
    change([...editor.rows, { id: view.chosen, label, start: Math.round(from),
      end: Math.round(from + size) }]);
  };

  /** Changes fields of the chosen action. */
  const alter = (fields) => editor.rows && view.chosenItem()
    && change(editor.rows.map((row) => (row.id === view.chosen ? { ...row, ...fields } : row)));
  const remove = () => editor.rows && view.chosenItem()
    && change(editor.rows.filter(({ id }) => id !== view.chosen));
  const undo = () => {
    if (!undone.length) return;
    const rows = undone.pop();
    if (!rows) view.chosen = null; // detections are shown again, which have other numbers
    put(rows);
  };
  const setEnd = (end, seconds) => {
    const row = { ...view.chosenItem(), [end]: Math.round(1000 * seconds) };
    const fits = row.start >= 0 && row.start < row.end && row.end <= last;
    if (fits) alter({ [end]: row[end] }); else editor.show();
  };
  editor.keys = { e: () => editor.rows || start("found"), a: () => editor.add(), Delete: remove,
    Backspace: remove, "Ctrl+z": undo, "Ctrl+s": () => editor.rows && save() };

  const from = make("select", { "aria-label": "Correct, starting from" },
    make("option", { value: "found" }, "these detections"),
    recording.truth.label.length > 0 && make("option", { value: "truth" }, "the truth"));
  editor.begin = make("span", { class: "begin" }, content.uncorrectable
    ? make("span", { class: "note" }, content.uncorrectable)
    : [make("button", { onclick: () => start(from.value) }, "Correct from"), from]);
  const hands = { add: () => editor.add(), relabel: (label) => alter({ label }), setEnd, remove, undo,
    undoes: () => undone.length > 0 };
  return Object.assign(editor, editorPanel(view, editor, hands));
}

/** {panel, show}: the tools of a correction, and what shows how it stands. hands: what the tools do. */
function editorPanel(view, editor, { add, relabel, setEnd, remove, undo, undoes }) {
  const label = make("select", { "aria-label": "Class of the chosen action",
    onchange: () => relabel(Number(label.value)) },
  content.classes.map((name, i) => make("option", { value: i }, name)));
  const field = (end) => make("input", { type: "number", step: 0.01, min: 0,
    "aria-label": `${end} in seconds`, onchange: () => setEnd(end, Number(ends[end].value)) });
  const ends = { start: field("start"), end: field("end") };
  const tools = [label, ends.start, ends.end, make("button", { onclick: remove }, "Delete")];
  const back = make("button", { onclick: undo }, "Undo");
  const said = make("span", { class: "note", role: "status" });
  const looks = { class: "toolbar editing", hidden: true, role: "group", "aria-label": "Correct" };
  const panel = make("div", looks, make("strong", {}, "Correcting"),
    make("button", { onclick: add }, "Add here"), tools, back,
    make("button", { class: "primary", onclick: () => save() }, "Save annotations"), said);

  function show() {
    const row = editor.rows && view.chosenItem();
    panel.hidden = !editor.rows;
    tools.forEach((tool) => { tool.disabled = !row; });
    if (row) label.value = row.label;
    for (const [end, input] of Object.entries(ends)) input.value = row ? row[end] / 1000 : "";
    back.disabled = !undoes();
    const count = `${plural(corrected.size, "recording")} to save${saved ? ", saved" : ""}`;
    said.textContent = `Drag an end or the bar; a double click adds. ${count}.`;
  }
  return { panel, show };
}

/** The annotation file of all corrected recordings: what tal_jax.annotations and training read. */
function correctedFile() {
  const database = Object.create(null), used = new Set();
  for (const { name, entry } of content.recordings) {
    if (!corrected.has(name)) continue;
    const { ignored = [], ...rest } = entry;
    const annotations = corrected.get(name).map(({ label, start, end }) => {
      used.add(label);
      return { label: content.classes[label], segment: [start / 1000, end / 1000] };
    });
    database[name] = { ...rest, annotations: [...annotations, ...ignored] };
  }
  const classes = content.classes.filter((_, i) => i < content.num_annotated || used.has(i));
  return { classes, database };
}

function save() {
  const file = new Blob([JSON.stringify(correctedFile(), null, 1)], { type: "application/json" });
  const url = URL.createObjectURL(file);
  make("a", { href: url, download: "corrected.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  unsaved.clear();
  saved = true;
  open?.view.editor.show();
}

addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });

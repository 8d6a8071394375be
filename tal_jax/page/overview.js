// Around the recordings: what to know first, the scores, the training, and what the run is.

function summaryPart() {
  const go = content.summary.find((line) => line.recording != null);
  const show = () => {
    setThreshold(go.score);
    openRecording(content.recordings.findIndex(({ name }) => name === go.recording), go.time);
  };
  return make("div", { class: "card summary" },
    make("h2", {}, "In short"),
    make("ul", {}, content.summary.map((line) => make("li", {}, line.text))),
    go && make("button", { class: "primary", onclick: show }, `Open ${go.recording} there`));
}

function tilesPart() {
  const { scores } = content;
  if (!scores) return null;
  const tious = Object.keys(scores.map), { counts } = scores;
  const tile = (value, name) => make("div", { class: "tile" }, make("b", {}, value), make("span", {}, name));
  return make("div", { class: "tiles" },
    tile(number(scores.map_avg), "mAP in %, average"),
    tious.length > 1 && tile(number(scores.map[tious[0]]), `mAP at tIoU ${tious[0]}`),
    tious.length > 1 && tile(number(scores.map[tious.at(-1)]), `mAP at tIoU ${tious.at(-1)}`),
    tile(counts.recordings.toLocaleString("en"), `${scores.protocol.subset} recordings`),
    tile(counts.ground_truths.toLocaleString("en"), "annotated actions"),
    tile(counts.classes, "classes"));
}

/** The name of a class with its swatch, as a cell that sorts. */
function classCell(name) {
  const show = make("span", { class: "named" }, swatch(content.classes.indexOf(name)), name);
  return { value: name, show };
}

const cell = (value, digits = 1) => ({ value, show: number(value, digits) });

function scoresPart() {
  const { scores } = content;
  if (!scores) return null;
  const tious = Object.keys(scores.map), missing = scores.protocol.recordings_missing.length;
  const mean = (row) => tious.reduce((sum, key) => sum + row[key], 0) / tious.length;
  const rows = Object.entries(scores.ap).map(([name, row]) =>
    [classCell(name), ...tious.map((key) => cell(row[key])), cell(mean(row))]);
  const means = ["mAP", ...tious.map((key) => cell(scores.map[key], 2)), cell(scores.map_avg, 2)];
  const lead = "AP in percent, by class and by the overlap (tIoU) that a detection must reach. "
    + `Protocol: ${scores.protocol.name}. A click on a column sorts.`;
  const counted = scores.protocol.missing === "missed" ? "count as missed." : "are left out.";
  return section("scores", "Scores", lead,
    missing > 0 && make("p", { class: "warn" },
      `${plural(missing, "recording")} without detections ${counted}`),
    make("div", { class: "columns" },
      make("div", { class: "card" }, table("AP (%) by class", ["class", ...tious, "average"], rows, means)),
      curvesCard()));
}

function curvesCard() {
  const { curves } = content;
  if (!curves) return null;
  const holder = make("div"), names = Object.keys(curves.classes);
  let [at, chosen] = [0, ""];
  const points = (name) => curves.classes[name][at].map((value, i) => [i / 40, value / 100]);
  const mean = () => {
    const all = names.map(points);
    return all[0].map(([x], i) => [x, all.reduce((sum, one) => sum + one[i][1], 0) / all.length]);
  };
  const update = () => {
    const series = names.map((name) => ({
      name, points: points(name), color: color(content.classes.indexOf(name)),
        width: name === chosen ? 3 : 1.5,
      opacity: chosen ? (name === chosen ? 1 : 0.15) : 0.55,
    }));
    series.push({ name: "mean of all classes", points: mean(), color: "currentColor", width: chosen ? 1.5 : 3,
      dash: "6 4" });
    holder.replaceChildren(lineChart(`Precision over recall at tIoU ${curves.tious[at]}`, series,
      { x: "recall", y: "precision", xMax: 1, yMax: 1, height: 320 }));
  };
  update();
  const tious = curves.tious.map((tiou, i) => [i, tiou]);
  const classes = [["", "all"], ...names.map((name) => [name, name])];
  return card("Precision and recall",
    `Each line is a class, the dashed one their mean; by the protocol ${content.scores?.protocol.name}.`,
    make("div", { class: "fields" },
      choice("tIoU", tious, (value) => { at = Number(value); update(); }),
      choice("Class", classes, (value) => { chosen = value; update(); })),
    holder);
}

function trainingPart() {
  const found = content.training;
  if (!found || !Object.keys(found.losses).length) return null;
  const names = Object.keys(found.losses), subset = content.scores?.protocol.subset ?? "test";
  const last = Math.max(...names.map((name) => found.losses[name].at(-1)[0]));
  const end = Math.max(last, ...found.map.map(([step]) => step)); // an evaluation may come after them
  // The first steps dwarf the rest: the axis is for what comes after them.
  const settled = (points) => points.filter(([step]) => step > last / 10 || points.length < 5);
  const values = names.flatMap((name) => settled(found.losses[name]).map(([, value]) => value));
  const top = 1.2 * Math.max(1e-6, ...values);
  const series = names.map((name, i) => ({
    name, points: found.losses[name], color: color(i), width: name === "total" ? 3 : 1.8,
    dash: i < COLORS.length ? null : "5 3",
  }));
  const dot = (toX, toY, [step, value]) => draw("circle", { cx: toX(step), cy: toY(value), r: 4,
    fill: color(2) },
    draw("title", {}, `step ${step}: mAP ${number(value, 2)} %`));
  const dots = (toX, toY) => draw("g", {}, found.map.map((point) => dot(toX, toY, point)));
  const minutes = found.seconds ? ` in ${number(found.seconds / 60)} minutes` : "";
  return section("training", "Training", `${plural(last, "step")}${minutes}.`,
    make("div", { class: "columns" },
    card("Losses", "Each as it counts in the total.",
      lineChart("Losses over steps", series, { x: "step", y: "loss", xMax: end, yMax: top }),
      legend(names.map((name, i) => [name, color(i)]))),
    found.map.length > 1 && card("mAP", `Of the ${subset} recordings, in percent.`,
      lineChart("mAP over steps", [{ name: "mAP", points: found.map, color: color(2) }],
        { x: "step", y: "mAP (%)", xMax: end, yMax: 100, more: [dots] }))));
}

function runPart() {
  const { facts, config, notes } = content;
  const fact = ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
  const note = (text) => make("p", { class: "note" }, text);
  const fields = config == null ? note("No config that comes with tal_jax has the name of this one.")
    : config.length ? table("Fields that differ from the default", ["field", "default", "here"], config)
      : note("Every field is as in the config of this name.");
  return section("run", "The run", "", make("div", { class: "columns" },
    card("How it was made", "", make("dl", { class: "facts" }, (facts ?? []).map(fact)),
      (notes ?? []).map(note)),
    card("Config", "", fields)));
}

// Everything above the recordings: summary, scores, curves, diagnosis, training, the run.

function summaryPart() {
  const go = content.summary.find((line) => line.recording != null);
  const lines = content.summary.map((line) => make("li", {}, line.text));
  const open = go && make("button", { class: "primary", onclick: () => {
    setThreshold(go.score);
    openRecording(content.recordings.findIndex(({ name }) => name === go.recording), go.time);
  } }, `Open ${go.recording} there`);
  return make("div", { class: "card summary" }, make("h2", {}, "In short"), make("ul", {}, lines), open);
}

function tilesPart() {
  const { scores } = content, tile = (value, name) => make("div", { class: "tile" }, make("b", {}, value), make("span", {}, name));
  if (!scores) return null;
  const tious = Object.keys(scores.map), { counts } = scores;
  return make("div", { class: "tiles" }, tile(number(scores.map_avg), "mAP in %, average"),
    tious.length > 1 && tile(number(scores.map[tious[0]]), `mAP at tIoU ${tious[0]}`),
    tious.length > 1 && tile(number(scores.map[tious.at(-1)]), `mAP at tIoU ${tious.at(-1)}`),
    tile(counts.recordings.toLocaleString("en"), "test recordings"),
    tile(counts.ground_truths.toLocaleString("en"), "annotated actions"), tile(counts.classes, "classes"));
}

function scoresPart() {
  const { scores } = content;
  if (!scores) return null;
  const tious = Object.keys(scores.map), mean = (row) => tious.reduce((sum, key) => sum + row[key], 0) / tious.length;
  const heat = (value) => ({ value, show: make("span", { class: "heat" }, number(value)) });
  const rows = Object.entries(scores.ap).map(([name, row]) => [
    { value: name, show: make("span", { class: "named" }, swatch(content.classes.indexOf(name)), name) },
    ...tious.map((key) => heat(row[key])), heat(mean(row))]);
  const total = make("p", { class: "total" }, `mAP: ${tious.map((key) => `${number(scores.map[key], 2)} at ${key}`).join(" · ")}`
    + ` · average ${number(scores.map_avg, 2)}`);
  const missing = scores.protocol.recordings_missing.length;
  return section("scores", "Scores", `AP in percent, by class and by the overlap (tIoU) that a detection must reach. `
    + `Protocol: ${scores.protocol.name}. A click on a column sorts.`,
  missing > 0 && make("p", { class: "warn" }, `${plural(missing, "recording")} without detections `
    + (scores.protocol.missing === "missed" ? "count as missed." : "are left out.")),
  make("div", { class: "columns" }, make("div", { class: "card" },
    table("AP (%) by class", ["class", ...tious, "average"], rows), total), curvesCard()));
}

function curvesCard() {
  const { curves } = content;
  if (!curves) return null;
  const holder = make("div"), names = Object.keys(curves.classes);
  let [at, chosen] = [0, ""];
  const points = (name) => curves.classes[name][at].map((value, i) => [i / 40, value / 100]);
  const update = () => {
    const mean = points(names[0]).map(([x], i) => [x, names.reduce((sum, name) => sum + points(name)[i][1], 0) / names.length]);
    const series = names.map((name) => ({ name, points: points(name), color: color(content.classes.indexOf(name)),
      width: name === chosen ? 3 : 1.5, opacity: chosen && name !== chosen ? 0.15 : chosen ? 1 : 0.55 }));
    series.push({ name: "mean of all classes", points: mean, color: "currentColor", width: chosen ? 1.5 : 3, dash: "6 4" });
    holder.replaceChildren(lineChart(`Precision over recall at tIoU ${curves.tious[at]}`, series,
      { x: "recall", y: "precision", xMax: 1, yMax: 1, height: 320 }));
  };
  update();
  return card("Precision and recall", "Each line is a class; the dashed one is the mean. Matched as by the ActivityNet evaluator.",
    make("div", { class: "fields" },
      choice("tIoU", curves.tious.map((tiou, i) => [i, tiou]), (value) => { at = +value; update(); }),
      choice("Class", [["", "all"], ...names.map((name) => [name, name])], (value) => { chosen = value; update(); })), holder);
}

function diagnosisPart() {
  const found = content.diagnosis;
  if (!found) return null;
  if (found.problem) return section("errors", "Errors", "", make("p", { class: "warn" }, `There is no diagnosis: ${found.problem}`));
  const false_ = found.false_positives, kinds = content.types.filter((kind) => kind !== "true positive");
  const most = Math.max(1, ...Object.values(false_.gain).map((gain) => gain ?? 0));
  const profile = stackChart("Kinds of detections by rank", false_.groups.filter(({ detections }) => detections).map(({ shares }, i) => ({
    name: `${i + 1}n`, parts: content.types.map((kind) => ({ kind, value: shares[kind] ?? 0 })) })));
  const gain = bars(kinds.map((kind) => ({ name: kind, value: false_.gain[kind], color: KINDS[kind],
    text: `+${number(false_.gain[kind])} · ${number(false_.shares[kind])} %` })), most);
  return section("errors", "Errors", `What the detections get wrong, after DETAD (Alwassel et al., ECCV 2018). Normalised mAP: ${number(found.map_avg, 2)} %.`,
    make("div", { class: "columns" },
      card("What the best detections are", "Share of each kind in percent, from the best detections to the worse.", profile,
        legend(content.types.map((kind) => [kind, KINDS[kind]]))),
      card("What each kind of error costs", "Points of normalised mAP that would be won without it, and its share of these detections.", gain,
        make("dl", { class: "said-kinds" }, kinds.map((kind) => [make("dt", {}, kind), make("dd", {}, content.said[kind])]).flat()))),
    make("div", { class: "columns" }, bucketsCard(found), bucketsCard(found, true)),
    make("div", { class: "columns" }, boundariesCard(found), calibrationCard(found)),
    confusionCard(found));
}

const CHARACTERISTICS = { coverage: "share of the recording", length: "length in seconds", num_instances: "actions in the recording" };

function bucketsCard(found, missed = false) {
  const groups = Object.entries(found.sensitivity).map(([kind, { buckets }]) => {
    const rows = Object.entries(buckets).map(([name, bucket]) => {
      const value = missed ? found.false_negatives.buckets[kind][name].missed : bucket.map;
      const to = bucket.up_to == null ? "more" : `to ${short(bucket.up_to)}`;
      return { name: `${name}, ${to}`, value, color: missed ? KINDS.missed : KINDS["true positive"],
        text: value == null ? "no action" : `${number(value)} % of ${bucket.ground_truths}` };
    });
    return [make("h4", {}, CHARACTERISTICS[kind] ?? kind), bars(rows, 100)];
  });
  return missed
    ? card("Which actions are missed", `Share that no detection finds; of all ${found.counts.ground_truths}: ${number(found.false_negatives.missed_avg)} %.`, groups)
    : card("Which actions are hard", "Normalised mAP of actions alike, from few or short (XS) to many or long (XL).", groups);
}

function boundariesCard(found) {
  const holder = make("div"), classes = Object.entries(found.boundary_errors.classes);
  const show = (end) => holder.replaceChildren(rangeChart(`Errors of the ${end}`, [["all classes", found.boundary_errors.all], ...classes]
    .map(([name, row]) => ({ name, values: row[`${end}_sec`],
      color: name in found.boundary_errors.classes ? color(content.classes.indexOf(name)) : KINDS.background }))));
  show("start");
  return card("How far starts and ends are off", "Of right detections: from 5 to 95 % (thin), from 25 to 75 % (thick), median.",
    make("div", { class: "fields" }, choice("Boundary", [["start", "start"], ["end", "end"]], show)), holder);
}

function calibrationCard(found) {
  const { bins, best_f1, expected_error } = found.calibration, used = bins.filter(({ detections }) => detections);
  const points = used.map((bin) => [bin.mean_score, bin.true_positives / 100]);
  const dots = (toX, toY) => draw("g", {}, used.map((bin, i) => draw("circle", { cx: toX(points[i][0]), cy: toY(points[i][1]),
    r: Math.min(9, 2.5 + Math.log10(bin.detections) * 1.6), fill: COLORS[0] },
  draw("title", {}, `${bin.detections} detections: score ${number(bin.mean_score, 2)}, right ${number(bin.true_positives)} %`))));
  const chart = lineChart("Share of right detections by score", [
    { name: "as sure as it says", points: [[0, 0], [1, 1]], color: "currentColor", width: 1, dash: "4 4", opacity: 0.6 },
    { name: "detections", points, color: COLORS[0] }], { x: "score", y: "share that is right", xMax: 1, yMax: 1, height: 240, more: [dots] });
  const rows = Object.entries(best_f1).map(([name, best]) => [
    { value: name, show: make("span", { class: "named" }, swatch(content.classes.indexOf(name)), name) },
    { value: best.score, show: best.score == null ? "–" : scoreText(best.score) },
    ...["f1", "precision", "recall"].map((key) => ({ value: best[key], show: number(best[key]) }))]);
  return card("How much a score says", expected_error == null ? "No score is a probability."
    : `Scores differ from the share of right detections by ${number(expected_error)} points.`, chart,
  table("Best threshold of each class, at tIoU 0.5", ["class", "score", "F1", "precision", "recall"], rows));
}

function confusionCard(found) {
  const { classes, counts, missed, background } = found.confusion;
  const lead = "Each row is a true class, each column what it is taken for, with each class at its best threshold. Empty cells are 0.";
  if (classes.length > 30) {
    const pairs = counts.flatMap((row, i) => row.map((count, j) => [classes[i], classes[j], count]))
      .filter(([a, b, count]) => a !== b && count).sort((a, b) => b[2] - a[2]).slice(0, 40);
    return card("Which class is taken for which", "The most frequent mistakes.", table("Mistaken classes", ["true", "taken for", "times"], pairs));
  }
  const cell = (count, total, right) => make("td", { class: right ? "hit" : "miss",
    style: { "background": count ? `color-mix(in srgb, ${right ? "var(--good)" : "var(--bad)"} ${Math.round(15 + 55 * count / Math.max(1, total))}%, transparent)` : "" } },
  count || "");
  const total = (i) => counts[i].reduce((sum, count) => sum + count, missed[i]);
  const head = [...classes.map((name, i) => [name, i]), ["missed"]];
  const body = counts.map((row, i) => make("tr", {}, make("th", { scope: "row" }, classes[i]),
    row.map((count, j) => cell(count, total(i), i === j)), cell(missed[i], total(i), false)));
  body.push(make("tr", {}, make("th", { scope: "row" }, "nothing there"), background.map((count, j) =>
    cell(count, total(j), false)), make("td", {})));
  return card("Which class is taken for which", lead, make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion of classes" },
    make("table", { class: "confusion" }, make("thead", {}, make("tr", {}, make("td"), head.map(([name]) =>
      make("th", { scope: "col" }, make("span", {}, name))))), make("tbody", {}, body))));
}

function trainingPart() {
  const found = content.training;
  if (!found || !Object.keys(found.losses).length) return null;
  const names = Object.keys(found.losses), last = found.losses[names[0]].at(-1)[0];
  const settled = (points) => points.filter(([step]) => step > last / 10 || points.length < 5); // the first ones dwarf the rest
  const top = 1.2 * Math.max(1e-6, ...names.flatMap((name) => settled(found.losses[name]).map(([, value]) => value)));
  const series = names.map((name, i) => ({ name, points: found.losses[name], color: COLORS[i % COLORS.length], width: name === "total" ? 3 : 1.8,
    dash: i < COLORS.length ? null : "5 3" }));
  const dots = (toX, toY) => draw("g", {}, found.map.map(([step, value]) => draw("circle", { cx: toX(step), cy: toY(value), r: 4, fill: COLORS[2] },
    draw("title", {}, `step ${step}: mAP ${number(value, 2)} %`))));
  return section("training", "Training", `${plural(last, "step")}${found.seconds ? ` in ${number(found.seconds / 60)} minutes` : ""}.`,
    make("div", { class: "columns" },
      card("Losses", "As they are added up, over steps.", lineChart("Losses over steps", series, { x: "step", y: "loss", xMax: last, yMax: top }),
        legend(names.map((name, i) => [name, COLORS[i % COLORS.length]]))),
      found.map.length > 1 ? card("mAP", "Of the test recordings, in percent, over steps.", lineChart("mAP over steps",
        [{ name: "mAP", points: found.map, color: COLORS[2] }], { x: "step", y: "mAP (%)", xMax: last, yMax: 100, more: [dots] })) : null));
}

function runPart() {
  const { facts, config, notes } = content;
  const list = make("dl", { class: "facts" }, (facts ?? []).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  const fields = config == null ? make("p", { class: "note" }, "No config that comes with tal_jax has the name of this one.")
    : config.length ? table("Fields that differ from the default", ["field", "default", "here"], config)
      : make("p", { class: "note" }, "Every field is as in the config of this name.");
  return section("run", "The run", "", make("div", { class: "columns" }, card("How it was made", "", list,
    (notes ?? []).map((note) => make("p", { class: "note" }, note))), card("Config", "", fields)));
}

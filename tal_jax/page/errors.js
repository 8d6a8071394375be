// The diagnosis: what the detections get wrong, which actions are hard, and what a score says.

const CHARACTERISTICS = { coverage: "share of the recording", length: "length in seconds",
  num_instances: "actions in the recording" };

function errorsPart() {
  const found = content.diagnosis;
  if (!found) return null;
  if (found.problem) {
    return section("errors", "Errors", "", make("p", { class: "warn" },
      `There is no diagnosis: ${found.problem}`));
  }
  const columns = (...cards) => make("div", { class: "columns" }, cards);
  const lead = "What the detections get wrong, after DETAD (Alwassel et al., ECCV 2018). "
    + `Normalised mAP: ${number(found.map_avg, 2)} %.`;
  return section("errors", "Errors", lead,
    columns(profileCard(found.false_positives), costCard(found.false_positives)),
    columns(hardCard(found), missedCard(found)),
    columns(boundariesCard(found), calibrationCard(found.calibration)),
    confusionCard(found.confusion));
}

function profileCard({ groups }) {
  const filled = groups.filter(({ detections }) => detections);
  const columns = filled.map(({ shares }, i) => (
    { name: `${i + 1}n`, parts: content.types.map((kind) => ({ kind, value: shares[kind] ?? 0 })) }));
  return card("What the best detections are", "Share of each kind in percent, from the best detections on.",
    stackChart("Kinds of detections by rank", columns),
    legend(content.types.map((kind) => [kind, kindColor(kind)])));
}

function costCard({ gain, shares }) {
  const kinds = content.types.filter((kind) => kind !== "true positive");
  const rows = kinds.map((kind) => ({ name: kind, value: gain[kind], color: kindColor(kind),
    text: `+${number(gain[kind])} · ${number(shares[kind])} %` }));
  return card("What each kind of error costs",
    "Points of normalised mAP that the detections gain without it, and its share of them.",
    bars(rows, Math.max(1, ...Object.values(gain).map((points) => points ?? 0))),
    make("dl", { class: "said-kinds" }, kinds.map((kind) =>
      [make("dt", {}, kind), make("dd", {}, content.said[kind])])));
}

/** Bars of the buckets of each characteristic. valueOf: (characteristic, name of a bucket, it) -> percent. */
function bucketBars({ sensitivity }, fill, valueOf) {
  return Object.entries(sensitivity).map(([kind, { buckets }]) => {
    const rows = Object.entries(buckets).map(([name, bucket]) => {
      const value = valueOf(kind, name, bucket);
      return { name: `${name}, ${bucket.up_to == null ? "more" : `to ${short(bucket.up_to)}`}`, value,
        color: fill,
        text: value == null ? "no action" : `${number(value)} % of ${bucket.ground_truths}` };
    });
    return [make("h4", {}, CHARACTERISTICS[kind] ?? kind), bars(rows, 100)];
  });
}

function hardCard(found) {
  return card("Which actions are hard",
    "Normalised mAP of groups of actions, from few or short ones (XS) to many or long ones (XL).",
    bucketBars(found, kindColor("true positive"), (kind, name, bucket) => bucket.map));
}

function missedCard(found) {
  const { missed_avg, buckets } = found.false_negatives;
  return card("Which actions are missed",
    `Share that no detection finds; of all ${found.counts.ground_truths}: ${number(missed_avg)} %.`,
    bucketBars(found, kindColor("missed"), (kind, name) => buckets[kind][name].missed));
}

function boundariesCard({ boundary_errors }) {
  const holder = make("div"), all = ["all classes", boundary_errors.all];
  const show = (end) => {
    const rows = [all, ...Object.entries(boundary_errors.classes)].map(([name, row], i) => (
      { name, values: row[`${end}_sec`], color: i ? color(content.classes.indexOf(name))
        : kindColor("background") }));
    holder.replaceChildren(rangeChart(`Errors of the ${end}`, rows));
  };
  show("start");
  return card("How far starts and ends are off",
    "Of right detections: from 5 to 95 % (thin), from 25 to 75 % (thick), median.",
    make("div", { class: "fields" }, choice("Boundary", [["start", "start"], ["end", "end"]], show)), holder);
}

function calibrationCard({ bins, best_f1, expected_error }) {
  const used = bins.filter(({ detections }) => detections);
  const points = used.map((bin) => [bin.mean_score, bin.true_positives / 100]);
  const size = ({ detections }) => Math.min(9, 2.5 + Math.log10(detections) * 1.6);
  const dots = (toX, toY) => draw("g", {}, used.map((bin, i) => {
    const place = { cx: toX(points[i][0]), cy: toY(points[i][1]), r: size(bin), fill: color(0) };
    const share = `${number(bin.true_positives)} % of ${bin.detections} right`;
    const text = `score ${number(bin.mean_score, 2)}: ${share}`;
    return draw("circle", place, draw("title", {}, text));
  }));
  const sure = { name: "as sure as it says", points: [[0, 0], [1, 1]], color: "currentColor", width: 1,
    dash: "4 4",
    opacity: 0.6 };
  const rows = Object.entries(best_f1).map(([name, best]) => [classCell(name),
    { value: best.score, show: best.score == null ? "–" : scoreText(best.score) },
    cell(best.f1), cell(best.precision), cell(best.recall)]);
  return card("How much a score says", expected_error == null ? "No score is a probability."
    : `Scores differ from the share of right detections by ${number(expected_error)} points.`,
  lineChart("Share of right detections by score", [sure, { name: "detections", points, color: color(0) }],
    { x: "score", y: "share that is right", xMax: 1, yMax: 1, height: 240, more: [dots] }),
  table(`Best threshold of each class, at tIoU ${content.diagnosis.settings.at_tiou}`,
    ["class", "score", "F1", "precision", "recall"], rows));
}

function confusionCard({ classes, counts, missed, background }) {
  if (classes.length > 30) {
    const pairs = counts.flatMap((row, i) => row.map((count, j) => [classes[i], classes[j], count]))
      .filter(([a, b, count]) => a !== b && count).sort((a, b) => b[2] - a[2]).slice(0, 40);
    return card("Which class is taken for which", "The most frequent mistakes.",
      table("Mistaken classes", ["true", "taken for", "times"], pairs));
  }
  const totals = counts.map((row, i) => row.reduce((sum, count) => sum + count, missed[i]));
  const shaded = (count, total, right) => {
    const share = Math.round(15 + (55 * count) / Math.max(1, total));
    const background = count && `color-mix(in srgb, var(--${right ? "good" : "bad"}) ${share}%, transparent)`;
    return make("td", { style: background ? { background } : {} }, count || "");
  };
  const heads = [...classes, "missed"].map((name) => make("th", { scope: "col" }, make("span", {}, name)));
  const body = counts.map((row, i) => make("tr", {}, make("th", { scope: "row" }, classes[i]),
    row.map((count, j) => shaded(count, totals[i], i === j)), shaded(missed[i], totals[i], false)));
  body.push(make("tr", {}, make("th", { scope: "row" }, "nothing there"),
    background.map((count, j) => shaded(count, totals[j], false)), make("td", {})));
  return card("Which class is taken for which",
    "A row is a true class, a column what it is taken for, each at its best threshold. Empty cells are 0.",
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion of classes" },
      make("table", { class: "confusion" }, make("thead", {}, make("tr", {}, make("td"), heads)),
        make("tbody", {}, body))));
}

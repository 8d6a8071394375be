// Several runs side by side: their mAP, how sure the differences are, and which recordings changed.

function comparisonPart() {
  const found = content.comparison;
  if (!found) return null;
  const [base] = content.runs;
  const between = ([low, high]) => `${number(low, 2)} to ${number(high, 2)}`;
  const rows = found.runs.map((run, i) => [content.runs[i], ...run.map.map((value) => ({ value, show: number(value, 2) })),
    { value: run.map_avg, show: number(run.map_avg, 2) }, i ? { value: run.difference, show: signed(run.difference) } : "–",
    i && run.interval ? { value: run.interval[0], show: between(run.interval) } : "–"]);
  const said = found.runs.slice(1).map((run, i) => make("p", {}, sentence(content.runs[i + 1], base, run)));
  const changes = found.recordings.map(({ name, values }) => [
    { value: name, show: make("button", { class: "link", onclick: () => openRecording(content.recordings.findIndex((one) => one.name === name)) }, name) },
    ...values.map((value) => ({ value, show: number(value) })),
    ...values.slice(1).map((value) => ({ value: value - values[0], show: signed(value - values[0]) }))]);
  const others = content.runs.slice(1).map((name) => `${name} − ${base}`);
  return section("comparison", "Runs side by side", `mAP in percent over the same recordings, matched as by the ActivityNet evaluator. The interval is that of 95 % of `
    + `${found.resamples} draws of recordings with replacement, the same for all runs; below it is each recording scored alone.`, ...said,
  make("div", { class: "card" }, table("mAP (%) by run", ["run", ...found.tious, "average", `less ${base}`, "95 % interval"], rows)), make("p"),
  make("div", { class: "card tall" }, table("mAP (%) of each recording alone", ["recording", ...content.runs, ...others], changes)));
}

const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(2)}`;

function sentence(name, base, { difference, interval }) {
  if (!interval) return `${name} differs from ${base} by ${signed(difference)} points.`;
  const sure = interval[0] > 0 ? `${name} is better than ${base}` : interval[1] < 0 ? `${name} is worse than ${base}`
    : `${name} and ${base} cannot be told apart on these recordings`;
  return `${sure}: ${signed(difference)} points, 95 % interval ${interval.map(signed).join(" to ")}.`;
}

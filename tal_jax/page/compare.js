// Several runs side by side: their mAP, how sure the differences are, and which recordings changed.

const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(2)}`;
const signedCell = (value) => ({ value, show: signed(value) });

function comparisonPart() {
  const found = content.comparison;
  if (!found) return null;
  const [base, ...others] = content.runs;
  const rows = found.runs.map(({ map, map_avg, difference, interval }, i) => [
    content.runs[i], ...map.map((value) => cell(value, 2)), cell(map_avg, 2),
      i ? signedCell(difference) : "–",
    i && interval ? { value: interval[0], show: interval.map(signed).join(" to ") } : "–"]);
  const open = (name) => make("button", { class: "link", onclick: () =>
    openRecording(content.recordings.findIndex((one) => one.name === name)) }, name);
  const alone = found.recordings.map(({ name, values }) => [{ value: name, show: open(name) },
    ...values.map((value) => cell(value)),
    ...values.slice(1).map((value) => signedCell(value - values[0]))]);
  const lead = "mAP in percent over the same recordings, matched as by the ActivityNet evaluator. The "
    + `interval is that of 95 % of ${found.resamples} draws of recordings with replacement, the same for `
    + "all runs. The second table scores each recording alone.";
  return section("comparison", "Runs side by side", lead,
    others.map((name, i) => make("p", {}, comparedText(name, base, found.runs[i + 1]))),
    make("div", { class: "card" }, table("mAP (%) by run",
      ["run", ...found.tious, "average", `− ${base}`, "95 % interval"], rows)),
    make("p"),
    make("div", { class: "card tall" }, table("mAP (%) of each recording alone",
      ["recording", ...content.runs, ...others.map((name) => `${name} − ${base}`)], alone)));
}

function comparedText(name, base, { difference, interval }) {
  if (!interval) {
    return `${name} differs from ${base} by ${signed(difference)} points; these recordings are too few to `
      + "say how sure that is.";
  }
  const unsure = `${name} and ${base} cannot be told apart on these recordings`;
  const said = interval[0] > 0 ? `${name} is better than ${base}`
    : interval[1] < 0 ? `${name} is worse than ${base}` : unsure;
  return `${said}: ${signed(difference)} points, 95 % interval ${interval.map(signed).join(" to ")}.`;
}

// Charts as SVG, small enough to read as code.

/** A number of an axis with three digits: "0.25", "12.5k". */
function short(value) {
  return Math.abs(value) >= 10000 ? `${+(value / 1000).toPrecision(3)}k` : String(+value.toPrecision(3));
}

function chart(label, width, height, ...parts) {
  return draw("svg", { class: "chart", role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}`,
    width,
    height }, parts);
}

const line = (name, x1, y1, x2, y2, more = {}) => draw("line", { class: name, x1, y1, x2, y2, ...more });
const words = (name, x, y, text, anchor = "middle", more = {}) =>
  draw("text", { class: name, x, y, "text-anchor": anchor, ...more }, text);

/** Lines over two axes from 0. series: [{name, points: [[x, y]], color, width, dash, opacity}]. */
function lineChart(label, series, { x, y, xMax, yMax, width = 520, height = 280, more = [] }) {
  const left = 46, right = width - 14, top = 12, bottom = height - 38, middle = (top + bottom) / 2;
  const toX = (value) => left + (value / (xMax || 1)) * (right - left);
  const toY = (value) => bottom - (Math.min(value, yMax) / (yMax || 1)) * (bottom - top);
  const axes = [0, 0.25, 0.5, 0.75, 1].map((share) => [
    line("grid", left, toY(share * yMax), right, toY(share * yMax)),
    words("tick", left - 8, toY(share * yMax) + 4, short(share * yMax), "end"),
    words("tick", toX(share * xMax), height - 20, short(share * xMax))]);
  const place = ([a, b]) => `${toX(a).toFixed(1)},${toY(b).toFixed(1)}`;
  const lines = series.map((one) => draw("polyline", { points: one.points.map(place).join(" "), fill: "none",
    stroke: one.color, "stroke-width": one.width ?? 2, "stroke-dasharray": one.dash,
      opacity: one.opacity ?? 1,
    "stroke-linejoin": "round" }, draw("title", {}, one.name)));
  return chart(label, width, height, axes, lines, more.map((add) => add(toX, toY)),
    words("axis", (left + right) / 2, height - 4, x),
    words("axis", 12, middle, y, "middle", { transform: `rotate(-90 12 ${middle})` }));
}

/** Bars to the right, one a row. rows: [{name, value, text, color}], drawn against `max`. */
function bars(rows, max) {
  return make("ul", { class: "bars" }, rows.map(({ name, value, text, color: background }) => {
    const width = `${Math.max(0, Math.min(100, (100 * (value ?? 0)) / max))}%`;
    return make("li", {}, make("span", { class: "bar-name" }, name),
      make("span", { class: "bar-room" }, make("span", { class: "bar-fill", style: { width, background } })),
      make("span", { class: "bar-text" }, text));
  }));
}

/** Upright bars that stand in parts. columns: [{name, parts: [{kind, value}]}], of 100 in all. */
function stackChart(label, columns, width = 520, height = 240) {
  const left = 40, right = width - 8, bottom = height - 38, step = (right - left) / columns.length;
  const toY = (value) => bottom - (value / 100) * (bottom - 10);
  const axis = [0, 50, 100].map((value) => [line("grid", left, toY(value), right, toY(value)),
    words("tick", left - 6, toY(value) + 4, String(value), "end")]);
  const stack = ({ name, parts }, i) => {
    let below = 0;
    const blocks = parts.map(({ kind, value }) => {
      const y = toY(below + value), size = Math.max(0, toY(below) - y);
      below += value;
      return draw("rect", { x: left + (i + 0.14) * step, y, width: 0.72 * step, height: size,
        fill: kindColor(kind) },
        draw("title", {}, `${name}: ${kind} ${number(value)} %`));
    });
    return [blocks, words("tick", left + (i + 0.5) * step, height - 20, name)];
  };
  return chart(label, width, height, axis, columns.map(stack),
    words("axis", width / 2, height - 4, "the best n detections of a class with n actions, the next n, …"));
}

/**
 * Where errors lie, a row for each of [{name, values, color}]: a thin line from 5 to 95 %, a thick one from
 * 25 to 75 %, a mark at the median.
 */
function rangeChart(label, rows, width = 520) {
  const left = 150, right = width - 16, height = 22 * rows.length + 44;
  const ends = rows.flatMap(({ values }) => [values["5%"], values["95%"]]).filter((value) => value != null);
  const most = Math.max(0.1, ...ends.map(Math.abs));
  const toX = (value) => left + ((value + most) / (2 * most)) * (right - left);
  const axis = [-most, -most / 2, 0, most / 2, most].map((value) => [
    line(value ? "grid" : "zero", toX(value), 4, toX(value), height - 38),
    words("tick", toX(value), height - 22, short(value))]);
  const range = ({ name, values, color: stroke }, i) => {
    const y = 14 + 22 * i, title = name.length > 22 ? `${name.slice(0, 21)}…` : name;
    if (values["50%"] == null) return words("tick", left - 8, y + 4, title, "end");
    const [least, low, median, high, top] = ["5%", "25%", "50%", "75%", "95%"].map((key) => toX(values[key]));
    return [words("tick", left - 8, y + 4, title, "end"),
      line("", least, y, Math.max(top, least + 1), y, { stroke, "stroke-width": 2 }),
      line("", low, y, Math.max(high, low + 1), y, { stroke, "stroke-width": 9 }),
      line("median", median, y - 7, median, y + 7)];
  };
  return chart(label, width, height, axis, rows.map(range),
    words("axis", (left + right) / 2, height - 4, "seconds, detected minus true"));
}

/** What colours mean. entries: [[name, colour, and for a class its number]]. */
function legend(entries) {
  const mark = (fill, label) => (label == null
    ? make("span", { class: "swatch", style: { backgroundColor: fill } }) : swatch(label));
  return make("ul", { class: "legend" },
    entries.map(([name, fill, label]) => make("li", {}, mark(fill, label), name)));
}

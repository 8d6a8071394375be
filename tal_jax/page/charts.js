// Charts as SVG, small enough to read as code.

const KINDS = { "true positive": "#5b8db8", "double detection": "#8866bb", "wrong label": "#cc3366",
  localization: "#ee7733", confusion: "#a5761b", background: "#7a808c", missed: "#d4579e" };

/** Lines over two axes. series: [{name, points: [[x, y]], color, width, dash, opacity}]. */
function lineChart(label, series, { x, y, xMax, yMax, xMin = 0, yMin = 0, width = 520, height = 280, more = [] }) {
  const left = 46, right = 14, top = 12, bottom = 38;
  const toX = (value) => left + ((value - xMin) / (xMax - xMin || 1)) * (width - left - right);
  const toY = (value) => height - bottom - ((value - yMin) / (yMax - yMin || 1)) * (height - top - bottom);
  const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const [value, at] = [yMin + share * (yMax - yMin), yMin + share * (yMax - yMin)];
    return [draw("line", { class: "grid", x1: left, x2: width - right, y1: toY(at), y2: toY(at) }),
      draw("text", { class: "tick", x: left - 8, y: toY(at) + 4, "text-anchor": "end" }, short(value))];
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const value = xMin + share * (xMax - xMin);
    return draw("text", { class: "tick", x: toX(value), y: height - 20, "text-anchor": "middle" }, short(value));
  });
  const lines = series.map(({ name, points, color: stroke, width: stroke_width = 2, dash, opacity = 1 }) =>
    draw("polyline", { points: points.map(([a, b]) => `${toX(a).toFixed(1)},${toY(Math.min(b, yMax)).toFixed(1)}`).join(" "),
      fill: "none", stroke, "stroke-width": stroke_width, "stroke-dasharray": dash, opacity, "stroke-linejoin": "round" },
    draw("title", {}, name)));
  return draw("svg", { class: "chart", role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}`, width, height },
    grid.flat(), ticks, lines, more.map((add) => add(toX, toY)),
    draw("text", { class: "axis", x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, x),
    draw("text", { class: "axis", x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle",
      transform: `rotate(-90 12 ${(top + height - bottom) / 2})` }, y));
}

function short(value) {
  if (Math.abs(value) >= 10000) return `${+(value / 1000).toPrecision(3)}k`;
  return String(+value.toPrecision(3));
}

/** Bars to the right, one a row. rows: [{name, value, text, color, label}], drawn against `max`. */
function bars(rows, max) {
  return make("ul", { class: "bars" }, rows.map(({ name, value, text, color: fill, label }) =>
    make("li", {}, make("span", { class: "bar-name" }, label != null && swatch(label), name),
      make("span", { class: "bar-room" }, make("span", { class: "bar-fill",
        style: { width: `${Math.max(0, Math.min(100, (100 * (value ?? 0)) / max))}%`, background: fill } })),
      make("span", { class: "bar-text" }, text))));
}

/** Upright bars that stand in parts. columns: [{name, parts: [{kind, value}]}], of 100 in all. */
function stackChart(label, columns, width = 520, height = 240) {
  const left = 40, bottom = 38, step = (width - left - 8) / columns.length;
  const toY = (value) => height - bottom - (value / 100) * (height - bottom - 10);
  return draw("svg", { class: "chart", role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}`, width, height },
    [0, 50, 100].map((value) => [
      draw("line", { class: "grid", x1: left, x2: width - 8, y1: toY(value), y2: toY(value) }),
      draw("text", { class: "tick", x: left - 6, y: toY(value) + 4, "text-anchor": "end" }, `${value}`)]).flat(),
    columns.map(({ name, parts }, i) => {
      let below = 0;
      return [...parts.map(({ kind, value }) => {
        const top = toY(below + value), size = toY(below) - top;
        below += value;
        return draw("rect", { x: left + i * step + step * 0.14, y: top, width: step * 0.72, height: Math.max(0, size),
          fill: KINDS[kind] }, draw("title", {}, `${name}: ${kind} ${number(value)} %`));
      }), draw("text", { class: "tick", x: left + (i + 0.5) * step, y: height - 20, "text-anchor": "middle" }, name)];
    }).flat(),
    draw("text", { class: "axis", x: width / 2, y: height - 4, "text-anchor": "middle" },
      "the best n detections of each class with n actions, the next n, …"));
}

/** Where errors lie: a thin line from 5 to 95 %, a thick one from 25 to 75 %, a mark at the median. */
function rangeChart(label, rows, width = 520) {
  const left = 150, right = 16, line = 22, height = rows.length * line + 44;
  const ends = rows.flatMap(({ values }) => [values["5%"], values["95%"]]).filter((value) => value != null);
  const most = Math.max(0.1, ...ends.map(Math.abs));
  const toX = (value) => left + ((value + most) / (2 * most)) * (width - left - right);
  const part = (values, low, high, y, stroke, size) => values[low] != null && draw("line", { x1: toX(values[low]),
    x2: Math.max(toX(values[high]), toX(values[low]) + 1), y1: y, y2: y, stroke, "stroke-width": size });
  return draw("svg", { class: "chart", role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}`, width, height },
    [-most, -most / 2, 0, most / 2, most].map((value) => [
      draw("line", { class: value ? "grid" : "zero", x1: toX(value), x2: toX(value), y1: 4, y2: height - 38 }),
      draw("text", { class: "tick", x: toX(value), y: height - 22, "text-anchor": "middle" }, short(value))]).flat(),
    rows.map(({ name, values, color: stroke }, i) => {
      const y = 14 + i * line;
      return [draw("text", { class: "tick", x: left - 8, y: y + 4, "text-anchor": "end" },
        name.length > 22 ? `${name.slice(0, 21)}…` : name),
      part(values, "5%", "95%", y, stroke, 2), part(values, "25%", "75%", y, stroke, 9),
      values["50%"] != null && draw("line", { class: "median", x1: toX(values["50%"]), x2: toX(values["50%"]), y1: y - 7, y2: y + 7 })];
    }).flat().filter(Boolean),
    draw("text", { class: "axis", x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" },
      "seconds, detected minus true"));
}

/** What colours mean. entries: [[name, colour]]. */
function legend(entries) {
  return make("ul", { class: "legend" }, entries.map(([name, fill, label]) => make("li", {},
    label != null ? swatch(label) : make("span", { class: "swatch", style: { backgroundColor: fill } }), name)));
}

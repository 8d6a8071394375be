"use strict";
// What all parts of the page share: its content, elements, colours, times, tables.
// Names and labels are written as text alone (textContent), never as markup.

const content = JSON.parse(document.getElementById("content").textContent);
const COLORS = content.colors; // that colour-blind eyes tell apart
const state = { threshold: content.threshold ?? 0, label: -1, run: 0 };
const redraws = new Set(); // functions that draw what depends on the score

/** An HTML element: attributes, or listeners where the name begins with "on"; children are nodes or texts. */
function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element, as `make`. */
function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

const dark = matchMedia("(prefers-color-scheme: dark)"), theme = new Map(), widths = new Map();
const patterns = new Map(), looks = new Map();
dark.addEventListener("change", () => [theme, patterns, looks].forEach((known) => known.clear()));

/** How a colour "#rrggbb" is seen: {fill, light}; on dark paper a third of the way to white. */
function lookOf(hex) {
  if (!looks.has(hex)) {
    const parts = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const paler = parts.map((part) => Math.round(part + (255 - part) / 3));
    const [red, green, blue] = dark.matches ? paler : parts;
    const light = 0.3 * red + 0.59 * green + 0.11 * blue > 150;
    looks.set(hex, { fill: `rgb(${red} ${green} ${blue})`, light });
  }
  return looks.get(hex);
}

const colorOf = (label) => COLORS[label % COLORS.length];
const color = (label) => lookOf(colorOf(label)).fill;
const kindColor = (kind) => lookOf(content.type_colors[kind]).fill; // of a kind of error, see figures.py
const texture = (label) => (label + Math.floor(label / COLORS.length)) % 4; // plain, stripes, dots, lines
/** A colour of page.css, light or dark. */
function themed(name) {
  const style = getComputedStyle(document.documentElement);
  if (!theme.has(name)) theme.set(name, style.getPropertyValue(`--${name}`).trim());
  return theme.get(name);
}

const number = (value, digits = 1) => (value == null ? "–" : value.toFixed(digits));
const plural = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
const scoreText = (score) => (score < 0.1 ? score.toPrecision(2) : score.toFixed(score < 10 ? 2 : 1));

/** A small square of a class: its colour and its pattern. */
function swatch(label) {
  return make("span", { class: `swatch texture${texture(label)}`, style: { backgroundColor: color(label) } });
}

/** 65.25 s in a recording of `duration` s as "65.3", or "1:05.3" where it lasts more than three minutes. */
function clock(seconds, duration, digits = 1) {
  if (duration <= 180) return seconds.toFixed(digits);
  const whole = Math.floor(seconds / 60), rest = (seconds - 60 * whole).toFixed(digits);
  const hours = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  return `${duration < 3600 ? whole : hours}:${rest.padStart(digits ? 3 + digits : 2, "0")}`;
}

/** A round step of a time axis with at most `most` ticks over `span` seconds. */
function tickStep(span, most) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200];
  return steps.find((step) => span / step <= most) ?? 86400;
}

/**
 * A table whose columns sort by a click. rows: arrays of values, or of {value, show} with what is shown.
 * foot: the last row, which stays where it is.
 */
function table(caption, headers, rows, foot) {
  const body = make("tbody");
  const of = (entry) => (typeof entry === "object" ? entry : { value: entry, show: entry });
  const value = (entry) => of(entry ?? "–").value, shown = (entry) => of(entry ?? "–").show;
  const line = ([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, shown(first)),
    rest.map((entry) => make("td", {}, shown(entry))));
  const heads = headers.map((header, i) =>
    make("th", { scope: "col" }, make("button", { class: "sort", onclick: () => sort(i) }, header)));
  let column = -1, rising = true;
  function sort(i) {
    rising = i === column ? !rising : i === 0;
    column = i;
    const order = [...rows].sort((a, b) => {
      const [x, y] = [value(a[i]), value(b[i])];
      if (x == null || y == null) return (x == null) - (y == null);
      return (x < y ? -1 : x > y ? 1 : 0) * (rising ? 1 : -1);
    });
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[i].setAttribute("aria-sort", rising ? "ascending" : "descending");
    body.replaceChildren(...order.map(line));
  }
  body.append(...rows.map(line));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, heads)), body,
      foot && make("tfoot", {}, line(foot))));
}

/** A labelled select. options: [[value, text]]. */
function choice(label, options, onchange, value) {
  const option = ([key, text]) =>
    make("option", { value: key, selected: String(key) === String(value) }, text);
  const select = make("select", { onchange: () => onchange(select.value) }, options.map(option));
  return make("label", { class: "field" }, make("span", {}, label), select);
}

function section(id, title, lead, ...children) {
  return make("section", { id, "aria-labelledby": `${id}-title` },
    make("h2", { id: `${id}-title` }, title), lead && make("p", { class: "lead" }, lead), children);
}

function card(title, lead, ...children) {
  return make("div", { class: "card" }, make("h3", {}, title), lead && make("p", { class: "note" }, lead),
    children);
}

/** What fills the bar of a class on a canvas: its colour with its pattern. */
function fillOf(context, label) {
  const key = label % (4 * COLORS.length);
  if (!patterns.has(key)) {
    const tile = make("canvas", { width: 8, height: 8 }), pen = tile.getContext("2d"), kind = texture(label);
    pen.fillStyle = color(label);
    pen.fillRect(0, 0, 8, 8);
    pen.strokeStyle = pen.fillStyle = "rgba(255,255,255,.42)";
    pen.lineWidth = 1.6;
    pen.beginPath();
    if (kind === 1) for (const x of [-8, 0, 8]) { pen.moveTo(x, 8); pen.lineTo(x + 8, 0); }
    if (kind === 2) { pen.arc(4, 4, 1.5, 0, 7); pen.fill(); pen.beginPath(); }
    if (kind === 3) { pen.moveTo(0, 4); pen.lineTo(8, 4); }
    pen.stroke();
    patterns.set(key, context.createPattern(tile, "repeat"));
  }
  return patterns.get(key);
}

/** Prepares a canvas of some CSS pixels for a sharp picture; returns its context. */
function sharp(canvas, width, height) {
  const scale = window.devicePixelRatio || 1, context = canvas.getContext("2d");
  const [x, y] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== x || canvas.height !== y) Object.assign(canvas, { width: x, height: y });
  canvas.style.height = `${height}px`;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "600 10px system-ui, sans-serif";
  context.textBaseline = "middle";
  return context;
}

/**
 * A bar of a class, {x, y, width, height}: filled, an outline where it is wrong, grey where it is not scored.
 * With `named` the name of the class stands in it where it has room; else it has the pattern of the class.
 */
function bar(context, label, { x, y, width, height }, { type = 0, strength = 1, named = false } = {}) {
  const wrong = type > 0, scored = type >= 0;
  const text = content.classes[label], narrow = width < 7;
  if (named && width > 26 && !widths.has(text)) widths.set(text, context.measureText(text).width);
  const written = named && width > 26 && widths.get(text) < width - 9;
  width = Math.max(width, 2);
  context.beginPath();
  if (narrow) context.rect(x, y, width, height); else context.roundRect(x, y, width, height, 3);
  if (wrong) {
    context.fillStyle = themed("sheet"); // hides what lies under it
    context.fill();
    context.globalAlpha = 0.08 + 0.14 * strength;
  } else context.globalAlpha = 0.35 + 0.65 * strength;
  if (!scored) context.fillStyle = themed("line");
  else context.fillStyle = wrong || written || narrow ? color(label) : fillOf(context, label);
  context.fill();
  if (wrong) {
    context.globalAlpha = 0.5 + 0.5 * strength;
    context.lineWidth = 1.5;
    context.strokeStyle = color(label);
    context.stroke();
  }
  context.globalAlpha = 1;
  if (!written) return;
  const light = lookOf(colorOf(label)).light, onPaper = wrong || !scored || strength < 0.5;
  context.fillStyle = onPaper ? themed("ink") : light ? "#15181e" : "#fff";
  context.fillText(text, x + 5, y + height / 2 + 0.5);
}

/** Sets the score from which on detections are shown, and draws again what depends on it. */
function setThreshold(value) {
  const [low, high] = scoreRange();
  state.threshold = Math.min(Math.max(value, low), high);
  for (const redraw of redraws) redraw();
}

/** [lowest, highest score] of the slider: 0, or below where a score is, to the best one. */
function scoreRange() {
  scoreRange.known ??= content.recordings.reduce((range, recording) => {
    for (const { score } of recording.found)
      if (score.length) range = [Math.min(range[0], score[score.length - 1]), Math.max(range[1], score[0])];
    return range;
  }, [0, 1e-6]);
  return scoreRange.known;
}

/** A slider for the score, with what it says. count: gives a text for the current score. */
function slider(count) {
  const [low, high] = scoreRange();
  const input = make("input", { type: "range", min: 0, max: 1000, step: 1,
    "aria-label": "Lowest score that is shown",
    oninput: () => setThreshold(low + (input.value / 1000) * (high - low)) });
  const output = make("output", {}), said = make("span", { class: "said" });
  const update = () => {
    const place = Math.round((1000 * (state.threshold - low)) / (high - low));
    if (document.activeElement !== input || Math.abs(place - input.value) > 1) input.value = place;
    input.setAttribute("aria-valuetext", `score ${scoreText(state.threshold)} or more`);
    output.textContent = `≥ ${scoreText(state.threshold)}`;
    said.textContent = count();
  };
  redraws.add(update);
  update();
  const element = make("div", { class: "slider" }, make("span", { class: "name" }, "Score"), input, output,
    said);
  return Object.assign(element, { update });
}

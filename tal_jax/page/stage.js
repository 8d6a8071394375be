// The picture of a recording: its signal, a lane for each class with detections over truth, a playhead.

const canvas = part(".stage canvas"), gutter = part(".gutter"), playhead = part(".playhead");
new ResizeObserver(() => paint()).observe(scroller), scroller.addEventListener("scroll", () => paint());

/** Puts the lanes and bars of the open recording in their places; `paint` draws what is between them. */
function drawStage() {
  const { items, lanes, chosen, recording: { duration, truth, signal, corrected } } = view;
  const row = (className, ...children) => make("div", { className }, ...children);
  const strips = signal?.channels ?? [], grip = (className) => make("i", { className });
  const bar = (kind) => (item) => {
    const element = Object.assign(barOf(item, duration), { item });
    element.classList.add(kind, item === chosen ? "chosen" : kind);
    if (corrected && kind === "item") element.append(...["start", "end"].map(grip));
    return element;
  };
  const lane = (label) => {
    const [own, known] = [items, truth].map((all) => all.filter((one) => one.label === label));
    own.sort((a, b) => a.score - b.score); // the best ones are on top
    return Object.assign(row("lane", ...own.map(bar("item")), ...known.map(bar("truth"))), { label });
  };
  gutter.replaceChildren(row("axis"), ...strips.map(({ name }) => row("strip", name)),
    ...lanes.map((label) => row("lane", swatch(label), content.classes[label])));
  track.classList.toggle("editing", Boolean(corrected));
  track.replaceChildren(row("axis"), ...strips.map(() => row("strip")), ...lanes.map(lane), playhead);
  paint();
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200];

/** Paints the time axis, the signal, and the activation sequences of classes over what is to be seen. */
function paint() {
  if (!view) return;
  const { recording: { duration, signal, cas } } = view, [from, to] = span();
  const width = scroller.clientWidth, height = track.clientHeight, scale = window.devicePixelRatio || 1;
  Object.assign(canvas, { width: width * scale, height: height * scale });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const context = canvas.getContext("2d"), { color, accentColor } = getComputedStyle(canvas);
  context.scale(scale, scale);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = context.strokeStyle = color;
  const step = STEPS.find((seconds) => (to - from) / seconds <= Math.max(2, width / 80)) ?? 86400;
  for (let at = Math.ceil(from / step) * step; at <= to + 1e-9; at += step) {
    const x = Math.round(((at - from) / (to - from)) * width);
    context.fillText(clock(at, duration, step < 1 ? 1 : 0), x + 3, 13);
    context.fillRect(x, 18, 0.3, height);
  }
  const draw = (of, channel, { offsetTop, clientHeight }) => channel && // a class that is added has none
    drawChannel(context, of, channel, { from, to, width, top: offsetTop + 3, height: clientHeight - 7 });
  track.querySelectorAll(".strip").forEach((strip, i) => draw(signal, signal.channels[i], strip));
  context.strokeStyle = accentColor;
  if (cas) track.querySelectorAll(".lane").forEach((lane) => draw(cas, cas.channels[lane.label], lane));
}

/**
 * A channel of bytes (see signals.py) from one time to another. Of the parts of it that fall on a pixel, the
 * lowest and the highest are joined, so that no peak is lost at any zoom.
 */
function drawChannel(context, { start, step, pairs }, channel, { from, to, width, top, height }) {
  channel.bytes ??= Uint8Array.from(atob(channel.data), (character) => character.charCodeAt(0));
  const { bytes } = channel, size = pairs ? 2 : 1, perSecond = width / (to - from);
  const toY = (value) => top + (height * (255 - value)) / 254, joined = Math.ceil(1 / step / perSecond);
  const first = Math.max(0, Math.floor((from - start) / step / joined - 1) * joined);
  context.beginPath();
  for (let i = first; i * size < bytes.length && start + (i - joined) * step < to; i += joined) {
    const values = bytes.subarray(i * size, (i + joined) * size).filter(Boolean); // 0: there is none
    const x = (start + (i + joined / 2) * step - from) * perSecond;
    if (!values.length) continue;
    context.lineTo(x, toY(Math.max(...values)));
    context.lineTo(x, toY(Math.min(...values)));
  }
  context.stroke();
}

const timeAt = ({ clientX }) =>
  ((clientX - track.getBoundingClientRect().left) / track.clientWidth) * view.recording.duration;

let hasMoved = false; // the pointer, since it was pressed
track.addEventListener("pointerdown", (event) => {
  const bar = event.target.closest(".item"), begin = timeAt(event), { scrollLeft } = scroller;
  const drags = bar && view.recording.corrected;
  let place = null;
  hasMoved = false;
  if (event.button) return;
  track.onpointermove = (now) => {
    hasMoved ||= Math.abs(now.clientX - event.clientX) > 3;
    if (!hasMoved || !now.buttons) return; // released beside the track
    track.setPointerCapture(event.pointerId);
    if (drags) place = movedBy(bar.item, event.target.className, timeAt(now) - begin);
    if (drags) placeBar(bar, place, view.recording.duration);
    else scroller.scrollLeft = scrollLeft + event.clientX - now.clientX;
  };
  track.onpointerup = track.onpointercancel = () => { // a touch that scrolls the page cancels
    track.onpointermove = track.onpointerup = track.onpointercancel = null;
    if (place && bar.item !== view.chosen) { document.activeElement.blur(); view.chosen = bar.item; }
    if (place) alter(place);
  };
});
track.addEventListener("click", (event) => {
  const bar = event.target.closest(".item"), lane = event.target.closest(".lane");
  if (hasMoved) return;
  if (event.detail === 2 && lane && !bar) { add(timeAt(event), lane.label); return; }
  if (!bar) seek(timeAt(event));
  choose(bar?.item ?? null, bar && !view.recording.corrected);
});
scroller.addEventListener("wheel", (event) => { // with Shift the browser scrolls
  if (!event.ctrlKey) return;
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
}, { passive: false });

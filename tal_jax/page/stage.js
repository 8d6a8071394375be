// The picture of a recording: its signal, a lane for each class with detections over truth, a playhead.

const LANE = 42, STRIP = 38, AXIS = 22, GUTTER = 132, MARGIN = 8; // in pixels

/** The bytes of a channel, see signals.py. */
function bytesOf(channel) {
  channel.bytes ??= Uint8Array.from(atob(channel.data), (character) => character.charCodeAt(0));
  return channel.bytes;
}

/**
 * A channel from one time to another in a box {x, y, width, height}. Where a pixel holds several parts of it,
 * the lowest and the highest of them are joined, so that no peak is lost at any zoom.
 */
function drawChannel(context, { start, step, pairs }, channel, from, to, { x, y, width, height }) {
  const bytes = bytesOf(channel), size = pairs ? 2 : 1, count = bytes.length / size;
  const perPixel = (to - from) / width / step, toY = (value) => y + height - ((value - 1) / 254) * height;
  context.beginPath();
  if (perPixel < 1) {
    const first = Math.max(0, Math.floor((from - start) / step) - 1);
    const last = Math.min(count - 1, Math.ceil((to - start) / step) + 1);
    for (let i = size * first; i < size * (last + 1); i++) {
      const at = start + (Math.floor(i / size) + 0.5) * step;
      if (bytes[i]) context.lineTo(x + ((at - from) / (to - from)) * width, toY(bytes[i]));
    }
  } else {
    for (let column = 0; column < width; column++) {
      const first = Math.max(0, Math.floor((from + column * perPixel * step - start) / step));
      const last = Math.min(count, Math.floor((from + (column + 1) * perPixel * step - start) / step) + 1);
      let [low, high] = [256, 0];
      for (let i = size * first; i < size * last; i++) {
        if (bytes[i] && bytes[i] < low) low = bytes[i];
        if (bytes[i] > high) high = bytes[i];
      }
      if (!high) continue;
      context.moveTo(x + column, toY(high));
      context.lineTo(x + column, toY(low) + 0.8);
    }
  }
  context.stroke();
}

/** The stage of a view: {element, canvas, paint, moveHead, toX, toTime, hit}. */
function makeStage(view) {
  const { recording } = view, { duration, truth, signal, cas } = recording, channels = signal?.channels ?? [];
  const canvas = make("canvas", { class: "stage", "aria-hidden": "true" });
  const head = make("div", { class: "playhead" });
  const element = make("div", { class: "stage-box" }, canvas, head);
  const top = AXIS + STRIP * channels.length + (channels.length ? 10 : 0);
  const room = () => canvas.clientWidth - GUTTER - MARGIN;
  const toX = (seconds) => GUTTER + ((seconds - view.from) / (view.to - view.from)) * room();
  const toTime = (x) => view.from + ((x - GUTTER) / room()) * (view.to - view.from);
  const span = ({ start, end }) => [toX(start / 1000), toX(end / 1000)];
  let context;

  function paint() {
    const width = element.clientWidth, height = top + LANE * Math.max(1, view.lanes.length) + 6;
    if (!width) return;
    context = sharp(canvas, width, height);
    head.style.height = `${height - AXIS}px`;
    view.lanes.forEach((_, i) => {
      context.fillStyle = themed(i % 2 ? "sheet" : "wash");
      context.fillRect(0, top + LANE * i, width, LANE);
    });
    paintAxis(height);
    context.lineWidth = 1;
    channels.forEach((channel, i) => {
      const y = AXIS + STRIP * i + 3;
      gutterText(channel.name, y + STRIP / 2 - 2, themed("muted"));
      context.strokeStyle = themed("muted");
      clipped(() => drawChannel(context, signal, channel, view.from, view.to, box(y, STRIP - 7)));
    });
    view.lanes.forEach((label, i) => paintLane(label, top + LANE * i));
    if (!view.lanes.length) gutterText("nothing to show", top + 20, themed("muted"));
    moveHead();
  }

  const box = (y, height) => ({ x: GUTTER, y, width: room(), height });

  function clipped(painting) {
    context.save();
    context.beginPath();
    context.rect(GUTTER, 0, room(), canvas.height);
    context.clip();
    painting();
    context.restore();
  }

  function gutterText(text, y, fill) {
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillStyle = fill;
    context.fillText(text.length > 17 ? `${text.slice(0, 16)}…` : text, 22, y, GUTTER - 28);
  }

  function paintAxis(height) {
    const step = tickStep(view.to - view.from, Math.max(2, room() / 80));
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (let at = Math.ceil(view.from / step) * step; at <= view.to + 1e-9; at += step) {
      context.fillStyle = themed("line");
      context.fillRect(Math.round(toX(at)), AXIS - 4, 1, height - AXIS);
      context.fillStyle = themed("muted");
      context.fillText(clock(at, duration, step < 1 ? 1 : 0), toX(at) + 3, 9);
    }
  }

  function paintLane(label, y) {
    context.fillStyle = fillOf(context, label);
    context.beginPath();
    context.roundRect(4, y + LANE / 2 - 6, 12, 12, 3);
    context.fill();
    gutterText(content.classes[label], y + LANE / 2, themed("ink"));
    const { truths } = recording.found[state.run], items = view.items.filter((item) => item.label === label);
    clipped(() => {
      for (const item of items.sort((a, b) => (a.score ?? 1) - (b.score ?? 1))) paintItem(item, y);
      truth.label.forEach((other, i) => {
        if (other !== label) return;
        const [left, right] = span({ start: truth.start[i], end: truth.end[i] });
        const size = Math.max(2, right - left);
        context.fillStyle = context.strokeStyle = themed("ink");
        context.lineWidth = 1;
        if (truths && !view.corrects() && !(truths[i] >= state.threshold)) {
          context.strokeRect(left + 0.5, y + 30.5, size - 1, 5);
        } else context.fillRect(left, y + 30, size, 6);
      });
      context.strokeStyle = themed("ink");
      context.lineWidth = 1.3;
      if (cas) drawChannel(context, cas, cas.channels[label], view.from, view.to, box(y + 3, LANE - 8));
    });
  }

  function paintItem(item, y) {
    const [left, right] = span(item);
    const strength = item.score == null ? 1 : Math.min(1, item.score / scoreRange()[1]);
    const place = { x: left, y: y + 5, width: right - left, height: 20 };
    bar(context, item.label, place, { type: item.type, strength });
    if (item.id !== view.chosen) return;
    context.strokeStyle = themed("ink");
    context.lineWidth = 2;
    context.strokeRect(left - 2, y + 3, Math.max(right - left, 2) + 4, 24);
  }

  function moveHead() {
    const x = toX(view.time);
    head.style.transform = `translateX(${x}px)`;
    head.style.visibility = x < GUTTER - 1 || x > canvas.clientWidth - MARGIN + 1 ? "hidden" : "visible";
  }

  /** What lies at a place: {label, item, part}, part of the item: "start", "end" or "body". */
  function hit({ offsetX: x, offsetY: y }) {
    const label = view.lanes[Math.floor((y - top) / LANE)];
    const touches = ([left, right]) => left < x + 6 && right > x - 6;
    const near = view.items.filter((item) => item.label === label && touches(span(item)));
    near.sort((a, b) => (b.id === view.chosen) - (a.id === view.chosen) || (b.score ?? 0) - (a.score ?? 0));
    if (!near.length) return { label };
    const [left, right] = span(near[0]).map((end) => Math.abs(x - end));
    const end = left < right ? "start" : "end";
    return { label, item: near[0], part: Math.min(left, right) > 6 ? "body" : end };
  }

  return { element, canvas, paint, moveHead, toX, toTime, hit, top };
}

// One recording beside its answer: its video or sound, the list of detections, and where in time one is.

const single = part("#single"), player = part("video"), scroller = part(".scroller"), track = part(".track");

/** Opens a recording, at a time in seconds if there is one. */
function openRecording(index, time) {
  const recording = content.recordings[index], { name, duration, media, signal } = recording;
  const count = content.recordings.length, beside = (by) => (index + by + count) % count; // they go round
  view = { recording, time: 0, chosen: null, playing: false, items: [], lanes: [] };
  part("#name").textContent = name;
  for (const link of parts(".beside")) link.href = `#recording-${beside(Number(link.dataset.by))}`;
  part("#more").textContent = signal?.more ?? "";
  part("#from").lastElementChild.disabled = !recording.truth.length;
  part("#problem").hidden = true;
  Object.assign(player, { hidden: !media, className: media?.sound ? "sound" : "" });
  if (media) player.src = media.src; else player.removeAttribute("src");
  redraw();
  if (time == null || duration <= 60) show(0, duration); else show(time - 20, 60); // a minute around it
  seek(time ?? 0);
}

/** Draws the open recording again: what has the score, or what it is corrected to. */
function redraw() {
  const { truth, found, corrected } = view.recording, few = content.classes.length <= 16;
  view.items = corrected ?? found[state.run].filter(isHigh).sort(byTime);
  const used = [...truth, ...view.items].map(({ label }) => label);
  const lanes = new Set(corrected && few ? content.classes.keys() : used);
  view.lanes = [...lanes].sort((a, b) => a - b);
  drawStage();
  showList();
  showEditor();
}

/** The first items as a table, in which a click on a start plays the item. */
function showList() {
  const { items, chosen, recording: { duration, truth, corrected } } = view, most = 400;
  const [table] = part(".list").children;
  const count = plural(items.length, corrected ? "corrected action" : "detection");
  const first = items.length > most ? `the first ${most} of ` : "";
  table.caption.textContent = `${first}${count}${truth.length ? `, ${truth.length} annotated` : ""}`;
  table.tBodies[0].replaceChildren(...items.slice(0, most).map((item) => {
    const [from, to] = [item.start, item.end].map((ms) => clock(ms / 1000, duration, 2));
    const start = make("button", { className: "link", onclick: () => choose(item, true) }, from);
    const cells = [[start], [to], [swatch(item.label), content.classes[item.label]],
      [item.score == null ? "" : scoreText(item.score)], [verdict(item)]];
    return make("tr", { ariaCurrent: item === chosen ? "true" : null },
      ...cells.map((shown) => make("td", {}, ...shown)));
  }));
  const current = table.querySelector("[aria-current]");
  if (current) part(".list").scrollTop = current.offsetTop - part(".list").clientHeight / 2;
}

/** Chooses an item, from whose start on the recording perhaps plays; null chooses nothing. */
function choose(item, plays = false) {
  view.chosen = item && !view.items.includes(item) ? view.chosen : item; // it was just changed
  if (item) seek(item.start / 1000);
  if (plays) play(true);
  redraw();
}

/** Chooses the next item, or with -1 the previous one; from the playhead where none is chosen. */
function neighbour(step) {
  const { items, chosen, time } = view, at = items.indexOf(chosen);
  const before = items.filter(({ start }) => start / 1000 < time).length;
  const next = items[at >= 0 ? at + step : before - (step < 0)];
  if (next) choose(next);
}

const isReady = () => view.recording.media && player.readyState > 0;

/** Shows the playhead, wherever it is. */
function showTime() {
  const { time, recording: { duration } } = view, [from, to] = span();
  if (time < from || time > to) show(time - 0.2 * (to - from), to - from);
  playhead.style.left = `${(100 * time) / duration}%`;
  part("#time").textContent = `${clock(time, duration)} / ${clock(duration, duration)}`;
}

function seek(seconds) {
  view.time = clamp(seconds, 0, view.recording.duration);
  if (isReady()) player.currentTime = view.time;
  showTime();
}

/** [from, to] in seconds of what is to be seen of the recording. */
function span() {
  const perPixel = view.recording.duration / track.clientWidth, from = scroller.scrollLeft * perPixel;
  return [from, from + scroller.clientWidth * perPixel];
}

/** Shows so many seconds from a time on, within the recording. Browsers have no wider tracks than this. */
function show(from, seconds) {
  const { duration } = view.recording, size = Math.min(duration, Math.max(0.5, duration / 4000, seconds));
  track.style.width = `${(100 * duration) / size}%`;
  scroller.scrollLeft = (from / duration) * track.clientWidth;
  paint();
}

function zoom(factor, about = view.time) {
  const [from, to] = span(), size = to - from, share = clamp((about - from) / size, 0, 1);
  show(about - share * Math.min(view.recording.duration, size * factor), size * factor);
}

/** Plays or pauses; without a video or sound the playhead runs in real time. */
function play(on) {
  const begun = view, { playing, recording: { duration } } = view;
  view.playing = on;
  part("#play").textContent = on ? "Pause" : "Play";
  if (isReady()) player[on ? "play" : "pause"]()?.catch(() => play(false));
  if (!on || playing) return;
  if (view.time >= duration) seek(0);
  let before = performance.now();
  const tick = (now) => {
    if (view !== begun || !view.playing) return;
    view.time = Math.min(duration, isReady() ? player.currentTime : view.time + (now - before) / 1000);
    before = now;
    if (view.time >= duration) play(false);
    showTime();
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

Object.assign(player, {
  onplay: () => view.playing || play(true),
  onpause: () => view?.playing && play(false),
  onseeked: () => { view.time = player.currentTime; showTime(); },
  onloadedmetadata() {
    const { recording, time } = view, { duration } = player;
    if (!recording.last && isFinite(duration)) { // nothing else says how long the recording is
      Object.assign(recording, { last: 1000 * duration, duration: Math.max(recording.duration, duration) });
      redraw();
    }
    player.currentTime = time;
    if (view.playing) player.play();
  },
  onerror() {
    player.hidden = true;
    part("#problem").hidden = false;
    part("#problem q").textContent = decodeURIComponent(view.recording.media.src);
  },
});

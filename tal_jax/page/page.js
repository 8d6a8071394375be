// Puts the page together; what is open stands in the address, so that the browser's Back works.

const page = document.getElementById("page");
let open = null; // {view, index}, while a recording is open

function openRecording(index, time) {
  pending = time;
  if (location.hash === `#recording-${index}`) route(); else location.hash = `#recording-${index}`;
}

let pending, overviewTop = 0;
const main = make("main", {}), overview = make("div", {}), single = make("div", {});
const closeRecording = () => { location.hash = "#recordings"; };

function route() {
  const index = Number((location.hash.match(/^#recording-(\d+)$/) ?? [])[1] ?? (content.predicted ? 0 : -1));
  if (!open) overviewTop = scrollY;
  open?.view.leave();
  open = null;
  if (content.recordings[index]) {
    const view = recordingView(index, pending, content.predicted ? null : closeRecording);
    open = { view, index };
    single.replaceChildren(view.part);
    overview.hidden = true;
    if (pending != null && view.recording.duration > 60) [view.from, view.to] = around(pending, view.recording.duration);
    pending = undefined;
    view.redraw();
    view.choose(null);
    view.seek(view.time);
    scrollTo(0, 0);
  } else {
    single.replaceChildren();
    overview.hidden = false;
    if (location.hash === "#recordings") scrollTo(0, overviewTop);
  }
}

/** A minute around a time, within a recording. */
function around(time, duration) {
  const from = Math.min(Math.max(0, time - 20), duration - 60);
  return [from, from + 60];
}

function build() {
  const head = make("header", {}, make("p", { class: "eyebrow" }, content.predicted ? "tal_jax · prediction" : "tal_jax · report"),
    !content.predicted && make("h1", {}, content.title));
  if (content.predicted) {
    main.append(head, single, ...content.notes.map((note) => make("p", { class: "note" }, note)));
  } else {
    const parts = [content.recordings.length && recordingsPart(), comparisonPart(), scoresPart(), diagnosisPart(), trainingPart(), runPart()].filter(Boolean);
    const links = parts.map((part) => make("a", { href: `#${part.id}` }, part.querySelector("h2").textContent));
    head.append(tilesPart() ?? "", make("nav", { "aria-label": "Parts of the page" }, links));
    overview.append(head, content.summary.length ? summaryPart() : "", ...parts);
    main.append(overview, single);
  }
  page.append(main);
  addEventListener("hashchange", route);
  route();
}

build();

// Puts the page together; what is open stands in the address, so that the browser's Back works.

let open = null, pending, overviewTop = 0; // {view} of the open recording; the time to open it at
const main = make("main", {}), overview = make("div", {}), single = make("div", {});

function openRecording(index, time) {
  pending = time;
  if (location.hash === `#recording-${index}`) route(); else location.hash = `#recording-${index}`;
}

const closeRecording = () => { location.hash = "#recordings"; };

/** Shows what the address names: a recording, or all of the page. */
function route() {
  const named = location.hash.match(/^#recording-(\d+)$/), index = named ? Number(named[1]) : 0;
  if (!open) overviewTop = scrollY;
  open?.view.leave();
  open = null;
  const opens = (named || content.predicted) && content.recordings[index];
  overview.hidden = Boolean(opens);
  single.replaceChildren();
  if (!opens) {
    if (location.hash === "#recordings") scrollTo(0, overviewTop);
    return;
  }
  const view = recordingView(index, pending, content.predicted ? null : closeRecording);
  open = { view };
  single.replaceChildren(view.part);
  if (pending != null && opens.duration > 60) { // a minute around it
    view.from = Math.min(Math.max(0, pending - 20), opens.duration - 60);
    view.to = view.from + 60;
  }
  pending = undefined;
  view.choose(null);
  view.seek(view.time);
  scrollTo(0, 0);
}

function build() {
  const config = content.facts?.find(([name]) => name === "config")?.[1];
  const kind = content.predicted ? "prediction" : "report";
  const eyebrow = make("p", { class: "eyebrow" }, ["tal_jax", kind, config].filter(Boolean).join(" · "));
  if (content.predicted) {
    main.append(eyebrow, single, ...content.notes.map((note) => make("p", { class: "note" }, note)));
  } else {
    const parts = [content.recordings.length && recordingsPart(), comparisonPart(), scoresPart(),
      errorsPart(),
      trainingPart(), runPart()].filter(Boolean);
    const links = parts.map(({ id, firstChild }) => make("a", { href: `#${id}` }, firstChild.textContent));
    overview.append(make("header", {}, eyebrow, make("h1", {}, content.title), tilesPart(),
      make("nav", { "aria-label": "Parts of the page" }, links)));
    overview.append(...[content.summary.length && summaryPart(), ...parts].filter(Boolean));
    main.append(overview, single);
  }
  document.getElementById("page").append(main);
  addEventListener("hashchange", route);
  route();
}

build();

// A page that is watched is loaded again when the run has changed, but not under the hands of a person.

const RENEW_MS = 5000, REST_MS = 20000, KEPT = `threshold of ${location.pathname}`;
if (content.state) {
  const [low, high] = scoreRange(), kept = sessionStorage.getItem(KEPT), opened = state.threshold;
  if (kept !== null) state.threshold = Math.min(Math.max(Number(kept), low), high);
  let touched = 0;
  const touch = () => { touched = Date.now(); }; // the person did something
  for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, touch);
  setInterval(async () => {
    const answer = await fetch("state").catch(() => null); // the server may have ended
    if (!answer?.ok || await answer.text() === content.state) return;
    if (open || !saved || Date.now() - touched < REST_MS) return;
    if (kept !== null || state.threshold !== opened) sessionStorage.setItem(KEPT, state.threshold);
    if ((await fetch(location.pathname)).ok) location.reload(); // a file may be half written
  }, RENEW_MS);
}

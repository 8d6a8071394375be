// A page that is watched is loaded again when the run has changed, but not under the hands of a person.

const RENEW_MS = 5000, KEPT = "tal_jax threshold";
if (content.state) {
  state.threshold = Number(sessionStorage.getItem(KEPT) ?? state.threshold);
  setInterval(async () => {
    const answer = await fetch("state").catch(() => null); // the server may have ended
    if (!answer?.ok || await answer.text() === content.state || open || !saved) return;
    sessionStorage.setItem(KEPT, state.threshold);
    location.reload();
  }, RENEW_MS);
}

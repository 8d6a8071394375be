// What the pointer and the keyboard do in the view of a recording.

/** Lets the pointer choose, drag, pan and zoom on the stage of a view. */
function followPointer(view) {
  const { editor, stage } = view, { canvas, toTime, hit } = stage;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.offsetX < GUTTER || event.button) return;
    const { item, part } = hit(event), from = view.from, startX = event.offsetX;
    const drag = editor.rows && item ? editor.drag(item, part) : null;
    const perPixel = (view.to - view.from) / (canvas.clientWidth - GUTTER - MARGIN);
    const over = new AbortController(), { signal } = over;
    let moved = false;
    canvas.setPointerCapture(event.pointerId);
    const move = (now) => {
      moved ||= Math.abs(now.offsetX - startX) > 3;
      if (!moved) return;
      const by = (now.offsetX - startX) * perPixel;
      if (drag) { drag.move(by); stage.paint(); } else view.show(from - by, view.to - view.from);
    };
    const end = () => {
      over.abort();
      drag?.end(moved);
      if (moved && drag) view.choose(view.items.find(({ id }) => id === item.id));
    };
    const click = () => {
      end();
      if (moved) return;
      if (!item) view.seek(toTime(startX));
      view.choose(item, !editor.rows);
    };
    canvas.addEventListener("pointermove", move, { signal });
    canvas.addEventListener("pointerup", click, { signal });
    canvas.addEventListener("pointercancel", end, { signal }); // a touch that scrolls the page
  });
  canvas.addEventListener("pointermove", (event) => {
    const { item, part } = hit(event), grips = part === "body" ? "grab" : "ew-resize";
    canvas.style.cursor = item ? (editor.rows ? grips : "pointer") : "crosshair";
  });
  canvas.addEventListener("dblclick", (event) => {
    const { item, label } = hit(event);
    if (editor.rows && !item) editor.add(toTime(event.offsetX), label);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return; // else the page scrolls
    event.preventDefault();
    const size = view.to - view.from, by = event.deltaY || event.deltaX;
    if (event.ctrlKey) view.zoom(by > 0 ? 1.25 : 0.8, toTime(event.offsetX));
    else view.show(view.from + (by / 500) * size, size);
  }, { passive: false });
}

/** The listener to the keys of a view; `close` leaves it, or is null. */
function keyListener(view, close) {
  const [low, high] = scoreRange(), step = (high - low) / 50;
  const keys = {
    ArrowRight: () => view.neighbour(1), ArrowLeft: () => view.neighbour(-1),
    ArrowUp: () => setThreshold(state.threshold + step),
    ArrowDown: () => setThreshold(state.threshold - step),
    " ": () => view.toggle(), Escape: () => close?.(),
    "+": () => view.zoom(0.5), "=": () => view.zoom(0.5), "-": () => view.zoom(2), ...view.editor.keys,
  };
  return (event) => {
    const { tagName, type } = event.target;
    const name = (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + event.key;
    const writes = tagName === "SELECT" || (tagName === "INPUT" && type !== "range");
    const own = (tagName === "BUTTON" && event.key === " ")
      || (type === "range" && event.key.startsWith("Arrow"));
    if (!keys[name] || event.altKey || own || (writes && name !== "Escape")) return;
    event.preventDefault();
    keys[name]();
  };
}

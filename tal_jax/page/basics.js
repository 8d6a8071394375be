"use strict";
// What all scripts of the page share: its content, elements, bars, times.
// Names and labels are written as text alone (textContent), never as markup.

const content = JSON.parse(document.getElementById("content").textContent);
const state = { threshold: content.threshold ?? 0, label: -1, run: 0 }; // the label -1: all classes
let view = null; // of the recording that is open, see recording.js

const part = (selector) => document.querySelector(selector);
const parts = (selector) => [...document.querySelectorAll(selector)];

/** An HTML element with these properties; children are nodes or texts. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Actions are {label, start, end (ms)}. A truth has foundAt, the score of the detection of each run that
// finds it; a detection has its score and type. Of a run, rest is how many wrong detections the page lacks.
for (const recording of content.recordings) {
  recording.truth = recording.truth.map(([label, start, end, ...foundAt]) =>
    ({ label, start, end, foundAt: foundAt.map((score) => score ?? -Infinity) }));
  recording.found = recording.found.map(({ rows, rest }) => Object.assign(rows.map(
    ([label, start, end, score, type]) => ({ label, start, end, score, type })), { rest }));
  recording.history = []; // see edit.js
}

const clamp = (value, low, high) => Math.max(low, Math.min(value, high));
const byTime = (a, b) => a.start - b.start || a.end - b.end;
const plural = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
const scoreText = (score) => (score < 0.1 ? score.toPrecision(2) : score.toFixed(score < 10 ? 2 : 1));

/** 65.25 s in a recording of `duration` s as "65.3", or "1:05.3" where it lasts more than three minutes. */
function clock(seconds, duration, digits = 1) {
  if (duration <= 180) return seconds.toFixed(digits);
  seconds = Number(seconds.toFixed(digits)); // 59.97 is a minute
  const minutes = Math.floor(seconds / 60), rest = (seconds - 60 * minutes).toFixed(digits);
  const hours = `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}`;
  return `${duration < 3600 ? minutes : hours}:${rest.padStart(digits ? 3 + digits : 2, "0")}`;
}

/** Whether the list shows the class of an action, as an open recording always does; and the score. */
const isChosen = ({ label }) => view || state.label < 0 || label === state.label;
const isHigh = ({ score }) => score >= state.threshold;

/** What a detection is, as far as it is judged: "right", a kind of error, "not scored" or "". */
const verdict = ({ type }) => content.verdicts[type] ?? "";

/** What recordings show at the score, in numbers; rest: of wrong detections that the page lacks, at most. */
function tally(recordings) {
  const count = { right: 0, wrong: 0, truths: 0, rest: 0 }, { run, threshold } = state;
  for (const { truth, found: { [run]: found } } of recordings) {
    const truths = truth.filter(isChosen);
    count.truths += truths.length;
    count.right += truths.filter(({ foundAt }) => foundAt[run] >= threshold).length;
    count.wrong += found.filter((one) => one.type > 0 && isHigh(one) && isChosen(one)).length;
    if (found.every(isHigh)) count.rest += found.rest;
  }
  return { ...count, errors: count.wrong + count.truths - count.right };
}

/** The classes (in CSS) of the colour and the pattern of a class of actions; a small square of them. */
const looksOf = (label) =>
  `c${label % content.colors} t${(label + Math.floor(label / content.colors)) % 4}`;
const swatch = (label) => make("span", { className: `swatch ${looksOf(label)}` });

/** The bar of an action within `duration` s: filled, an outline where it is wrong, grey where not scored. */
function barOf(action, duration) {
  const { label, start, end, score, type, foundAt } = action, name = content.classes[label];
  const strength = Math.round(3 * clamp((score ?? Infinity) / content.range[1], 0, 1));
  const isWrong = type > 0 || foundAt?.[state.run] < state.threshold, kind = type < 0 ? "unscored" : "";
  const time = `${clock(start / 1000, duration)} to ${clock(end / 1000, duration)}`;
  const said = [name, score != null && `score ${scoreText(score)}`, verdict(action), time];
  const bar = make("div", { className: `bar ${looksOf(label)} s${strength} ${isWrong ? "wrong" : kind}` });
  bar.title = said.filter(Boolean).join(", ");
  if (end - start > (6 * name.length + 12) * duration) bar.textContent = name; // of 1000 pixels: it has room
  placeBar(bar, action, duration);
  return bar;
}

const placeBar = ({ style }, { start, end }, duration) => Object.assign(style,
  { left: `${start / duration / 10}%`, width: `${(end - start) / duration / 10}%` });

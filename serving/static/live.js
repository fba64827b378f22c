// The live tab: what the service does now and has done since its start, from /metrics.

import { request } from "./requests.js";
import { cellLabel, make, makeBar, makeSvg, percent, whole } from "./dom.js";
import { driftOf, makeDrift } from "./drift.js";
import { countersOf, parseMetrics } from "./metrics.js";

const EVERY = 2000; // milliseconds
const KEPT = 60; // points of a sparkline
const TILES = {
  requests: "Requests per second",
  images: "Images per second",
  latency: "Milliseconds per request",
};

/** Fill the tab and return `open(whether)`, which starts and stops the looks at the metrics. */
export function startLive(frame, model) {
  const tiles = Object.fromEntries(Object.entries(TILES).map(([key, title]) => [key, makeTile(title)]));
  const load = makeLoad(model);
  const drift = makeDrift(model);
  const fault = make("p", { class: "fault", role: "alert" });
  const notes = make("p", { class: "soft" });
  fault.hidden = true;
  frame.replaceChildren(fault, make("div", { class: "tiles" }, ...Object.values(tiles).map((tile) => tile.card)),
    load.card, drift.card, notes);
  let timer = null, before = null, looking = false;

  async function look() {
    if (looking) return; // a slow service gets no second request before it has answered
    looking = true;
    try {
      const { body } = await request("metrics");
      const samples = parseMetrics(body);
      const now = { ...countersOf(samples, model), at: performance.now() };
      showRates(tiles, now, before);
      load.show(now);
      drift.show(driftOf(samples, model));
      notes.textContent = noteOf(now);
      before = now;
      fault.hidden = true;
    } catch (error) {
      if (fault.textContent !== error.message) fault.textContent = error.message; // or it would be read out each time
      fault.hidden = false;
    } finally {
      looking = false;
    }
  }

  const open = (whether) => {
    clearInterval(timer);
    before = null;
    if (!whether) return;
    timer = setInterval(() => document.hidden || look(), EVERY);
    look();
  };
  return { open };
}

/** Show what happened between two looks; at the first there is nothing to compare with. */
function showRates(tiles, now, before) {
  const { requests, images, timed, seconds } = now;
  const mean = timed ? `mean ${milliseconds(seconds / timed)} ms since start` : "none yet";
  const passed = before && (now.at - before.at) / 1000;
  const gained = (key) => (before ? Math.max(0, now[key] - before[key]) : 0); // a restart begins again at 0
  const latency = gained("timed") ? (1000 * gained("seconds")) / gained("timed") : null;
  tiles.requests.show(before ? gained("requests") / passed : null, `${whole(requests)} since start`);
  tiles.images.show(before ? gained("images") / passed : null, `${whole(images)} since start`);
  tiles.latency.show(latency, mean, 2);
}

function makeTile(title) {
  const value = make("p", { class: "value" }, "–");
  const note = make("p", { class: "soft small" });
  const spark = makeSpark();
  const points = [];
  const show = (number, words, digits = 1) => {
    value.textContent = number === null ? "–" : number.toFixed(digits);
    note.textContent = words;
    if (number !== null) points.push(number);
    points.splice(0, points.length - KEPT);
    if (points.length) spark.draw(points);
  };
  return { card: make("section", { class: "card tile" }, make("h2", {}, title), value, spark.svg, note), show };
}

function makeSpark() {
  const path = makeSvg("polyline", { class: "spark" });
  const attributes = { viewBox: `0 0 ${KEPT - 1} 30`, preserveAspectRatio: "none", "aria-hidden": "true" };
  const draw = (points) => {
    const top = Math.max(...points, 1e-9);
    const places = points.map((point, index) => `${KEPT - points.length + index},${29 - (28 * point) / top}`);
    path.setAttribute("points", places.join(" "));
  };
  return { svg: makeSvg("svg", attributes, path), draw };
}

function makeLoad(model) {
  const bars = model.class_map.values.map((rows, index) => {
    const cells = rows.map((row, coarse) => cellLabel(model, row, coarse));
    return makeBar(`expert ${index}: ${cells.join(", ")}`);
  });
  const list = make("ol", { class: "bars wide" }, ...bars.map((bar) => bar.line));
  const show = ({ load }) => {
    const all = load.reduce((total, images) => total + images, 0);
    load.forEach((images, index) => bars[index].move(all ? images / all : 0, all ? percent(images / all) : "–"));
  };
  return { card: make("section", { class: "card" }, make("h2", {}, "Expert load since start"), list), show };
}

function noteOf({ predicted, abstained, refused }) {
  const reasons = Object.entries(refused).map(([reason, count]) => `${reason.replaceAll("_", " ")} ${whole(count)}`);
  const refusals = reasons.length ? `Requests refused: ${reasons.join(", ")}.` : "No requests were refused.";
  return `The model abstained from ${whole(abstained)} of ${whole(predicted)} images. ${refusals}`;
}

const milliseconds = (seconds) => (1000 * seconds).toFixed(2);

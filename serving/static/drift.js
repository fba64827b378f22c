// Drift: the last images, as the workers' windows have them, beside the reference that the bundle keeps.

import { classNames, make, makeSvg, percent, whole } from "./dom.js";
import { largest, sum } from "./metrics.js";

const WIDTH = 240, HEIGHT = 72, GAP = 0.2; // the gap is a share of a bin
const FEW = 100; // images, ten for each of the ten bins of confidence and brightness
const TITLES = { expert_load: "Expert load", guess: "Guessed class", confidence: "Confidence", brightness: "Brightness" };

/** A model's drift by the metrics: images in the windows, and for each distribution its index and counts. */
export function driftOf(samples, { name, version, drift }) {
  const mine = ({ model, version: other }) => model === name && other === version;
  if (!drift) return null;
  const shifts = Object.entries(countsOf(drift)).map(([distribution, reference]) => {
    const of = (labels) => mine(labels) && labels.distribution === distribution;
    return {
      distribution,
      psi: largest(samples, "clustnet_drift_psi", of),
      alarm: largest(samples, "clustnet_drift_alarm", of) > 0,
      live: reference.map((_, bin) => sum(samples, "clustnet_drift_bin_images", (labels) =>
        of(labels) && labels.bin === String(bin))),
    };
  });
  return { images: sum(samples, "clustnet_drift_window_images", mine), shifts };
}

const countsOf = ({ expert_load, guess, confidence, brightness }) =>
  ({ expert_load, guess, confidence: confidence.counts, brightness: brightness.counts });

/** Make the card; `show(found)` takes what `driftOf` gives. */
export function makeDrift(model) {
  const words = make("p", { role: "status" });
  const card = make("section", { class: "card" }, make("h2", {}, "Drift"), words);
  if (!model.drift) {
    words.textContent = "This bundle holds no reference for drift; export its run again to watch drift.";
    return { card, show: () => {} };
  }
  const charts = Object.entries(countsOf(model.drift)).map(([name, reference]) =>
    makeChart(name, reference, binNames(model)[name]));
  const key = `Bars: the last images. Line: ${whole(model.drift.images)} images of ${model.drift.data}.`;
  card.append(make("div", { class: "shifts" }, ...charts.map((chart) => chart.figure)),
    make("p", { class: "soft small" }, key));
  const show = ({ images, shifts }) => {
    const sentence = sentenceOf(images, shifts, model.drift.data);
    if (words.textContent !== sentence) words.textContent = sentence; // a screen reader says it when it changes
    shifts.forEach((shift, index) => charts[index].show(shift));
  };
  return { card, show };
}

function sentenceOf(images, shifts, data) {
  if (!images) return "No image has arrived yet.";
  const last = images === 1 ? "the last image" : `the last ${whole(images)} images`;
  const names = shifts.filter((shift) => shift.alarm).map((shift) => TITLES[shift.distribution].toLowerCase());
  if (!names.length && images < FEW) return `No sign of drift yet, but ${last} ${images === 1 ? "is" : "are"} few to tell from.`;
  if (!names.length) return `No sign of drift in ${last}.`;
  const listed = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0];
  return `Drift: in ${listed} ${last} differ from ${data}.`;
}

/** The names of the bins of each distribution, for those who point at a bar. */
function binNames(model) {
  const { experts, drift: { confidence, brightness } } = model;
  return {
    expert_load: Array.from({ length: experts }, (_, index) => `expert ${index}`),
    guess: classNames(model),
    confidence: ranges(confidence.edges),
    brightness: ranges(brightness.edges),
  };
}

const ranges = (edges) => [...edges, null].map((edge, index) =>
  index === 0 ? `under ${edge.toFixed(3)}` : `from ${edges[index - 1].toFixed(3)}`);

function makeChart(name, counts, bins) {
  const reference = shares(counts);
  const top = Math.max(...reference);
  const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const titles = counts.map(() => makeSvg("title"));
  const step = WIDTH / counts.length;
  const bars = counts.map((_, index) =>
    makeSvg("rect", { class: "live", x: (index + GAP / 2) * step, width: (1 - GAP) * step }, titles[index]));
  const line = makeSvg("path", { class: "usual" });
  svg.append(...bars, line);
  const value = make("span", { class: "number" });
  const caption = make("figcaption", {}, make("span", {}, TITLES[name]), value);
  const show = ({ psi, alarm, live }) => {
    const now = shares(live), highest = Math.max(top, ...now);
    const y = (share) => HEIGHT - 2 - (share / highest) * (HEIGHT - 4);
    now.forEach((share, index) => {
      bars[index].setAttribute("y", y(share));
      bars[index].setAttribute("height", HEIGHT - y(share));
      titles[index].textContent = `${bins[index]}: ${percent(share)}, usually ${percent(reference[index])}`;
    });
    line.setAttribute("d", reference.map((share, index) => `M${index * step},${y(share)}h${step}`).join(""));
    value.textContent = `PSI ${psi.toFixed(2)}`;
    figure.classList.toggle("alarm", alarm);
    svg.setAttribute("aria-label", `${TITLES[name]}: ${alarm ? "drift" : "no alarm"}, PSI ${psi.toFixed(2)}`);
  };
  const figure = make("figure", {}, caption, svg);
  return { figure, show };
}

function shares(counts) {
  const all = counts.reduce((total, count) => total + count, 0);
  return counts.map((count) => (all ? count / all : 0));
}

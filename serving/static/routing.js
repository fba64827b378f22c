// The routing as a diagram: gate -> experts -> guess; a line is as wide as its weight.

import { cellLabel, isDivided, make, makeSvg, percent } from "./dom.js";

const WIDTH = 412, ROW = 62, HEAD = 28, BOX = 50;
const GATE = { left: 1, width: 56 };
const EXPERT = { left: 104, width: 204, name: 76 };
const GUESS = { left: 355, width: 56 };
const THINNEST = 1.5, THICKEST = 16;
const LONGEST = 13; // characters that fit into a box

/** Put the diagram of a model into `frame` and return the function that shows a prediction, null for none. */
export function makeRouting(frame, model) {
  const middle = HEAD + (model.experts * ROW) / 2;
  const experts = model.class_map.values.map((pair, index) => makeExpert(model, pair, index, middle));
  const gate = node(GATE, middle, "gate");
  const guess = node(GUESS, middle, "?");
  const height = HEAD + model.experts * ROW;
  const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", class: "routing" });
  const lines = experts.flatMap((expert) => expert.lines);
  const boxes = [...experts, gate, guess].map((part) => part.group);
  svg.append(...heads(model), makeSvg("g", {}, ...lines), ...boxes);
  frame.replaceChildren(make("div", { class: "diagram" }, svg));
  return (prediction) => {
    svg.setAttribute("aria-label", spoken(prediction));
    guess.write(prediction ? prediction.guess.label : "?");
    for (const expert of experts) expert.show(prediction);
  };
}

function heads(model) {
  if (!isDivided(model)) return [];
  return model.coarse_labels.map((label, side) => fit(text(cellMiddle(side, 2), 16, "", "label"), label));
}

/** One expert's box and its two lines; `show(prediction)` moves them. */
function makeExpert(model, pair, index, middle) {
  const y = HEAD + index * ROW + ROW / 2;
  const centre = EXPERT.left + EXPERT.name / 2;
  const weight = text(centre, y + 17, "", "label");
  const name = text(centre, y - 3, `expert ${index}`, "label");
  const cells = pair.map((row, side) => makeCell(cellLabel(row, model.fine_classes), side, pair.length, y));
  const group = makeSvg("g", {}, box(EXPERT.left, y, EXPERT.width, "box"), name, weight, ...cells);
  const lines = [
    line(GATE.left + GATE.width, middle, EXPERT.left, y),
    line(EXPERT.left + EXPERT.width, y, GUESS.left, middle),
  ];
  const show = (prediction) => {
    const chosen = prediction?.expert === index;
    const shares = prediction ? sharesOf(prediction, index, model.routing) : [0, 0];
    lines.forEach((path, part) => widen(path, shares[part], chosen));
    weight.textContent = prediction ? percent(shares[0]) : "";
    group.classList.toggle("chosen", chosen);
    const side = chosen ? Math.max(0, model.coarse_labels.indexOf(prediction.binary?.label)) : -1;
    cells.forEach((cell, of) => cell.classList.toggle("chosen", of === side));
  };
  return { group, lines, show };
}

/** The weight that the gate gives an expert, and the weight with which it takes part in the guess. */
function sharesOf(prediction, index, kind) {
  const share = prediction.routing[index];
  return [share, kind === "hard" ? Number(prediction.expert === index) : share];
}

/** One of an expert's `count` cells, one for each coarse label. */
function makeCell(label, side, count, y) {
  const width = cellWidth(count) - 6;
  const x = cellMiddle(side, count) - width / 2;
  const shape = makeSvg("rect", { x, y: y - BOX / 2 + 5, width, height: BOX - 10, rx: 6 });
  return makeSvg("g", { class: "cell" }, shape, fit(text(cellMiddle(side, count), y + 6, "", "class"), label));
}

const cellWidth = (count) => (EXPERT.width - EXPERT.name - 2) / count;

const cellMiddle = (side, count) => EXPERT.left + EXPERT.name + (side + 0.5) * cellWidth(count);

function node({ left, width }, y, label) {
  const words = text(left + width / 2, y + 6, label, "class");
  return { group: makeSvg("g", {}, box(left, y, width, "box"), words), write: (guess) => fit(words, guess) };
}

/** Write words so that they fit into a box: smaller, then narrower, then cut short. */
function fit(element, words) {
  element.textContent = words.length > LONGEST ? `${words.slice(0, LONGEST - 1)}…` : words;
  element.classList.toggle("long", words.length > 4);
  if (words.length > 7) element.setAttribute("textLength", 50);
  else element.removeAttribute("textLength");
  element.setAttribute("lengthAdjust", "spacingAndGlyphs");
  return element;
}

function line(x1, y1, x2, y2) {
  const bend = (x1 + x2) / 2;
  return makeSvg("path", { d: `M${x1} ${y1}C${bend} ${y1} ${bend} ${y2} ${x2} ${y2}`, class: "line" });
}

function widen(path, share, chosen) {
  path.setAttribute("stroke-width", THINNEST + share * (THICKEST - THINNEST));
  path.classList.toggle("chosen", chosen);
  if (chosen) path.parentNode.append(path); // above the others
}

const box = (x, y, width, kind) => makeSvg("rect", { x, y: y - BOX / 2, width, height: BOX, rx: 9, class: kind });
const text = (x, y, words, kind) => makeSvg("text", { x, y, class: kind }, words);

function spoken(prediction) {
  if (!prediction) return "Routing diagram: no image yet.";
  const shares = prediction.routing.map((share, index) => `expert ${index} ${percent(share)}`);
  return `Routing: ${shares.join(", ")}; guess ${prediction.guess.label}.`;
}

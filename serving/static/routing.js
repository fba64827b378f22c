// The routing as a diagram: gate -> experts -> guess; a line is as wide as its weight.

import { cellLabel, cellSubtype, hasCoarseLabels, make, makeSvg, percent } from "./dom.js";

const ROW = 62, HEAD = 28, BOX = 50;
const GATE = { left: 1, width: 56 };
const EXPERT = { left: 104, name: 76, cell: 63, cells: 126 }; // the least width of a cell, and of all of them
const GUESS = { gap: 47, width: 56 };
const SMALLEST = 0.8; // scale under which a diagram of many coarse labels scrolls
const THINNEST = 1.5, THICKEST = 16;
const LONGEST = 13; // characters that fit into a box

/**
 * Put the diagram of a model into `frame` and return the function that shows a prediction, null for none.
 * A click on a cell calls `open(subtype)`, if given; the bars of the classes do the same for the keyboard.
 */
export function makeRouting(frame, model, open) {
  const middle = HEAD + (model.experts * ROW) / 2;
  const right = EXPERT.left + expertWidth(model.coarse_labels.length);
  const width = right + GUESS.gap + GUESS.width + 1;
  const experts = model.class_map.values.map((rows, index) => makeExpert(model, rows, index, middle, open));
  const gate = node(GATE, middle, "gate");
  const guess = node({ left: right + GUESS.gap, width: GUESS.width }, middle, "?");
  const height = HEAD + model.experts * ROW;
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "routing" });
  const lines = experts.flatMap((expert) => expert.lines);
  const boxes = [...experts, gate, guess].map((part) => part.group);
  svg.classList.toggle("opens", Boolean(open));
  svg.append(...heads(model), makeSvg("g", {}, ...lines), ...boxes);
  svg.style.setProperty("min-width", `${model.coarse_labels.length > 3 ? SMALLEST * width : 0}px`);
  frame.replaceChildren(make("div", { class: "diagram" }, svg));
  return (prediction) => {
    svg.setAttribute("aria-label", spoken(prediction));
    guess.write(prediction ? prediction.guess.label : "?");
    for (const expert of experts) expert.show(prediction);
  };
}

function heads(model) {
  if (!hasCoarseLabels(model)) return [];
  const count = model.coarse_labels.length;
  return model.coarse_labels.map((label, coarse) => fit(text(cellMiddle(coarse, count), 16, "", "label"), label));
}

/** One expert's box and its two lines; `show(prediction)` moves them. */
function makeExpert(model, rows, index, middle, open) {
  const y = HEAD + index * ROW + ROW / 2;
  const centre = EXPERT.left + EXPERT.name / 2;
  const weight = text(centre, y + 17, "", "label");
  const name = text(centre, y - 3, `expert ${index}`, "label");
  const cells = rows.map((row, coarse) => {
    const cell = makeCell(shortLabel(model, row, coarse), coarse, rows.length, y);
    const subtype = cellSubtype(model, row, coarse);
    if (open && subtype !== null) cell.addEventListener("click", () => open(subtype));
    return cell;
  });
  const width = expertWidth(rows.length);
  const right = EXPERT.left + width;
  const group = makeSvg("g", {}, box(EXPERT.left, y, width, "box"), name, weight, ...cells);
  const lines = [
    line(GATE.left + GATE.width, middle, EXPERT.left, y),
    line(right, y, right + GUESS.gap, middle),
  ];
  const show = (prediction) => {
    const chosen = prediction?.expert === index;
    const shares = prediction ? sharesOf(prediction, index, model.routing) : [0, 0];
    lines.forEach((path, part) => widen(path, shares[part], chosen));
    weight.textContent = prediction ? percent(shares[0]) : "";
    group.classList.toggle("chosen", chosen);
    const lit = chosen ? model.coarse_labels.indexOf(prediction.coarse.label) : -1;
    cells.forEach((cell, coarse) => cell.classList.toggle("chosen", coarse === lit));
  };
  return { group, lines, show };
}

/** The weight that the gate gives an expert, and its weight in the guess. */
function sharesOf(prediction, index, kind) {
  const share = prediction.routing[index];
  return [share, kind === "hard" ? Number(prediction.expert === index) : share];
}

/** One of an expert's `count` cells, one for each coarse label. */
function makeCell(label, coarse, count, y) {
  const width = cellWidth(count) - 6;
  const x = cellMiddle(coarse, count) - width / 2;
  const shape = makeSvg("rect", { x, y: y - BOX / 2 + 5, width, height: BOX - 10, rx: 6 });
  return makeSvg("g", { class: "cell" }, shape, fit(text(cellMiddle(coarse, count), y + 6, "", "class"), label));
}

/** A cell's class, which stands under its coarse label: "cat/2" is "2" there. */
function shortLabel(model, row, coarse) {
  const label = cellLabel(model, row, coarse), prefix = `${model.coarse_labels[coarse]}/`;
  return label.startsWith(prefix) ? label.slice(prefix.length) : label;
}

const cellWidth = (count) => Math.max(EXPERT.cell, EXPERT.cells / count);

const expertWidth = (count) => EXPERT.name + 2 + count * cellWidth(count);

const cellMiddle = (coarse, count) => EXPERT.left + EXPERT.name + (coarse + 0.5) * cellWidth(count);

function node({ left, width }, y, label) {
  const words = text(left + width / 2, y + 6, label, "class");
  return { group: makeSvg("g", {}, box(left, y, width, "box"), words), write: (guess) => fit(words, guess) };
}

/** Write words so that they fit into a box: smaller, then narrower, then without their middle. */
function fit(element, words) {
  const half = (LONGEST - 1) / 2;
  element.textContent = words.length > LONGEST ? `${words.slice(0, half)}…${words.slice(-half)}` : words;
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

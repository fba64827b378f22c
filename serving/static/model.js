// The model tab: card, scores with their protocol, cells, and the evaluation where the bundle carries one.

import { makeBudget } from "./budget.js";
import { cellLabel, classNames, hasCoarseLabels, make, percent, setShare, whole } from "./dom.js";

const LOAD = "expert_load/";

/** Fill the tab once; a model that is loaded meanwhile shows when the page is loaded again. */
export function showModel(frame, model) {
  frame.replaceChildren(...[cardOf(model), scoresOf(model), model.tree ? null : cellsOf(model), ...evaluationOf(model)].filter(Boolean));
}

function section(title, ...children) {
  return make("section", { class: "card" }, make("h2", {}, title), ...children);
}

function cardOf(model) {
  const { input } = model;
  const facts = {
    Version: model.version,
    Created: model.created.replace("T", " ").replace("Z", " UTC"),
    Training: `method ${model.method} on ${model.abstention.data} ${seenBy(model)}`,
    Naming: namingOf(model),
    ...(hasCoarseLabels(model) ? { Coarse: `${model.coarse_labels.length} labels: ${model.coarse_labels.join(", ")}` } : {}),
    Guesses: `${whole(model.subtypes.length)} classes: ${classNames(model).join(", ")}`,
    Routing: model.tree ? `a tree of ${whole(model.tree.length)} labels` : `${model.routing}, ${model.experts} experts`,
    Input: `${input.dtype} ${input.shape.join("×")}; ${input.meaning}`,
    Recipe: code(model.config_hash),
    Source: model.source_commit ? code(model.source_commit) : "unknown",
  };
  const lines = Object.entries(facts).map(([key, value]) =>
    make("div", {}, make("dt", {}, key), make("dd", {}, value)));
  return section(model.name, make("dl", {}, ...lines));
}

/** Which labels the training saw. */
function seenBy(model) {
  if (model.tree) return "with the labels of every level";
  return hasCoarseLabels(model) ? "with coarse labels alone" : "without labels";
}

/** Where the names of the cells are from. */
function namingOf({ class_map: map, subtypes, tree }) {
  if (tree) return "a person named every label of the tree";
  if (map.kind === "references") return `${whole(map.reference_images)} labelled images of ${map.data} named the cells`;
  const named = subtypes.filter((subtype) => subtype.named).length;
  return `each cell in use is a subtype; a person named ${whole(named)} of ${whole(subtypes.length)}`;
}

const code = (hash) => make("code", { title: hash }, hash.slice(0, 12));

function scoresOf({ scores }) {
  const shown = scores.filter((score) => !score.name.startsWith(LOAD));
  if (!shown.length) return null;
  const rows = shown.map(({ name, value, protocol }) => [spelled(name), value.toFixed(4), protocol]);
  const { seed, images, split } = shown[0];
  const caption = `One run, seed ${seed}, on the ${whole(images)} images of the ${split} split.`;
  return section("Scores", table(caption, ["Score", "Value", "Protocol"], rows, "text"));
}

/** "group_accuracy/0-4" -> "Group accuracy, 0-4" */
function spelled(name) {
  const words = name.replace("/", ", ").replaceAll("_", " ");
  return /^(nmi|ari)$/.test(words) ? words.toUpperCase() : words[0].toUpperCase() + words.slice(1);
}

function cellsOf(model) {
  const loads = new Map(model.scores.map((score) => [score.name, score.value]));
  const loadOf = (name) => (loads.has(name) ? percent(loads.get(name)) : "–");
  const rows = model.class_map.values.map((cells, index) =>
    [String(index), ...cells.map((row, coarse) => cellLabel(model, row, coarse)), loadOf(`${LOAD}${index}`)]);
  const caption = `The most probable class of each expert's images${hasCoarseLabels(model) ? ", by their coarse label" : ""}.`;
  const columns = hasCoarseLabels(model) ? model.coarse_labels : ["Class"];
  return section("What each cell stands for", table(caption, ["Expert", ...columns, "Load"], rows));
}

function evaluationOf(model) {
  const { evaluation, experts } = model;
  if (!evaluation) return [];
  const classes = classNames(model);
  const { images, data, seed, confusion, experts: byExpert, budget } = evaluation;
  const measured = `${whole(images)} images of ${data}, seed ${seed}.`;
  const numbers = Array.from({ length: experts }, (_, index) => String(index));
  const confusions = heatmap(`True class by guess; ${measured}`, "True", classes, classes, confusion);
  const loads = heatmap(`Images of each class by expert; ${measured}`, "Expert", numbers, classes, byExpert);
  return [
    section("Confusion matrix", confusions),
    section("Experts by class", loads),
    section("What labelled images are worth", makeBudget(budget, data)),
  ];
}

/** A table of counts, each shaded beside the greatest of its row. */
function heatmap(caption, corner, rows, columns, counts) {
  const body = counts.map((row, index) => [rows[index], ...row.map(String)]);
  const made = table(caption, [corner, ...columns], body, "heat");
  const lines = made.querySelectorAll("tbody tr");
  counts.forEach((row, index) => shade(lines[index].querySelectorAll("td"), row));
  return made;
}

function shade(cells, counts) {
  const most = Math.max(...counts, 1);
  counts.forEach((count, index) => {
    setShare(cells[index], Math.sqrt(count / most)); // so that a few mistakes are seen beside thousands
    cells[index].classList.toggle("full", count / most > 0.5);
    cells[index].classList.toggle("none", count === 0);
  });
}

/** A table whose first column heads its rows, under its caption; it scrolls where it is too wide. */
function table(caption, heads, rows, kind = "") {
  const head = make("tr", {}, ...heads.map((word) => make("th", { scope: "col" }, word)));
  const body = rows.map(([first, ...others]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...others.map((word) => make("td", {}, word))));
  const made = make("table", { class: kind }, make("thead", {}, head), make("tbody", {}, ...body));
  return make("figure", {}, make("figcaption", { class: "soft small" }, caption),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made));
}

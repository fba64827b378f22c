// The tree of a model that grew: every label with its probability, and the way to the guess.

import { classNames, make, makeBar } from "./dom.js";

/** Put the tree of a model into `frame` and return the function that shows a prediction, null for none. */
export function makeTree(frame, model) {
  const bars = model.tree.map((label) => makeBar(label.name.split("/").at(-1)));
  bars.forEach((bar, place) => bar.line.style.setProperty("--depth", depthOf(model, place)));
  const childrenOf = (parent) => model.tree.flatMap((label, place) => (label.parent === parent ? [place] : []));
  const below = (place) => [place, ...childrenOf(place).flatMap(below)];
  const lines = childrenOf(-1).flatMap(below).map((place) => bars[place].line);
  frame.replaceChildren(make("ol", { class: "bars tree" }, ...lines));
  return (prediction) => {
    const way = new Map((prediction?.path ?? []).map((step) => [step.label, step.probability]));
    model.tree.forEach(({ name }, place) => {
      const share = way.get(name) ?? sharesOf(model, below(place), prediction);
      prediction ? bars[place].move(share) : bars[place].move(0, "");
      bars[place].line.classList.toggle("best", way.has(name));
    });
  };
}

function depthOf(model, place) {
  const { parent } = model.tree[place];
  return parent < 0 ? 0 : 1 + depthOf(model, parent);
}

/** The probability of all classes among some labels; 0 without a prediction. */
function sharesOf(model, places, prediction) {
  const names = new Set(places.map((place) => model.tree[place].name));
  const shares = prediction?.class_probabilities ?? [];
  return classNames(model).reduce((sum, name, index) => sum + (names.has(name) ? shares[index] ?? 0 : 0), 0);
}

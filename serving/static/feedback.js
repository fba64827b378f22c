// "This is wrong": a person names the right subtype, where the service takes feedback.

import { byId, make } from "./dom.js";
import { requestFeedback } from "./requests.js";

/** Return `show(found)`, which offers to correct an answer; null for none. */
export function makeFeedback(model) {
  const form = byId("feedback"), choice = byId("right"), note = byId("feedback-note");
  let shown = null;
  const show = (found) => {
    shown = found;
    byId("wrong").hidden = !model.feedback || !found;
    byId("wrong").open = Boolean(found?.said);
    note.textContent = found?.said ?? "";
    if (found) choice.replaceChildren(...choicesOf(model, found.prediction.guess.label));
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const found = shown;
    try {
      const { label } = await requestFeedback(found.id, choice.value);
      found.said = `Thank you. The service has recorded that this is ${label}.`;
    } catch (error) {
      found.said = error.message;
    }
    if (shown === found) note.textContent = found.said;
  });
  return show;
}

/** All subtypes but the guess, under their coarse labels; the first choice is none. */
function choicesOf({ coarse_labels: labels, subtypes }, guess) {
  const groups = labels.map((label) => {
    const names = subtypes.filter((subtype) => subtype.coarse_label === label && subtype.name !== guess);
    return make("optgroup", { label }, ...names.map(({ name }) => make("option", {}, name)));
  });
  return [make("option", { value: "" }, "Choose"), ...groups.filter((group) => group.children.length)];
}

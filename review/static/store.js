// What the page knows: the facts, which never change, the state as the server last told it, and what is selected.

const POLL_MILLISECONDS = 4000;

export const store = { facts: null, state: null, images: new Set(), subtypes: new Set() };
const listeners = [];

/** Call a function whenever the state or the selection changes, with "state" or "selection". */
export const onChange = (listener) => listeners.push(listener);

const tell = (what) => listeners.forEach((listener) => listener(what));

/** Ask the server; throws an error with a sentence where it refuses or is gone. */
async function ask(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Start 'clustnet review' again and open the address that it prints; nothing is lost.");
  }
  if (answer.status === 204 || answer.status === 202) return null;
  if (!answer.ok) throw Object.assign(new Error(await answer.text()), { status: answer.status });
  return answer.json();
}

/** Load everything, and then look every few seconds for what others did. */
export async function start(fault) {
  store.facts = await ask("facts");
  take(await ask("state"));
  setInterval(() => refresh().catch(fault), POLL_MILLISECONDS);
}

async function refresh() {
  if (document.hidden || waiting.length) return;
  const state = await ask(`state?after=${store.state.serial}`);
  if (state && !waiting.length) take(state);
}

function take(state) {
  store.state = state;
  state.byId = new Map(state.subtypes.map((subtype, place) => [subtype.id, { ...subtype, place }]));
  for (const id of store.subtypes) if (!state.byId.has(id)) store.subtypes.delete(id);
  tell("state");
}

let last = Promise.resolve(); // the action that was sent last; the next one waits for its answer
let waiting = []; // what is sent or waits, as text

/** Send actions to the server, one after the other; the page shows them only when the server has kept them. */
async function send(path, body) {
  const text = JSON.stringify([path, body]);
  if (waiting.includes(text)) return false; // a double click is one action
  waiting.push(text);
  document.body.classList.add("busy");
  const sent = last.then(() => sendNow(path, body)).finally(() => {
    waiting = waiting.filter((other) => other !== text);
    document.body.classList.toggle("busy", waiting.length > 0);
  });
  last = sent.catch(() => {}); // one that is refused does not hold up the next
  return sent;
}

async function sendNow(path, body) {
  try {
    take(await ask(path, { expected: store.state.serial, ...body }));
    return true;
  } catch (error) {
    if (error.status === 409) take(await ask("state"));
    throw error;
  }
}

export const act = (...actions) => send("do", { actions });
export const split = (subtype, parts) => send("split", { subtype, parts });
export const loadMap = () => ask("map");

export const titleOf = (subtype) => subtype.name || subtype.id;
export const subtypeOf = (place) => store.state.subtypes[store.state.of[place]];
export const fileOf = (place) => store.facts.files[place];

/** The mark of one kind ("label", "outlier", "duplicate") that an image has, or nothing. */
export const markOf = (place, kind) => (store.state.marks[place] ?? []).find((mark) => mark.endsWith(kind));

const LEAVING_OUT = { wrong_label: "not of this label", outlier: "outlier", duplicate: "duplicate" };

/** Why an image is left out, in words; empty where it is not. */
export const leftOut = (place) =>
  (store.state.marks[place] ?? []).map((mark) => LEAVING_OUT[mark]).filter(Boolean).join(", ");

/** Select images alone, or subtypes alone. */
export function selectImages(places) {
  store.images = new Set(places);
  store.subtypes.clear();
  tell("selection");
}

export function toggleImage(place) {
  store.subtypes.clear();
  if (!store.images.delete(place)) store.images.add(place);
  tell("selection");
}

export function toggleSubtype(id) {
  store.images.clear();
  if (!store.subtypes.delete(id)) store.subtypes.add(id);
  tell("selection");
}

export function clearSelection() {
  store.images.clear();
  store.subtypes.clear();
  tell("selection");
}

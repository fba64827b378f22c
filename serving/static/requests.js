// Requests to the service; each failure becomes a sentence.

import { reportKeyNeeded, keyHeaders } from "./key.js";

const PATIENCE = 35000; // milliseconds, a little more than the service's own
const CHOICE = location.search; // ?model=NAME&version=V, as the service reads it; empty for the first model
const GONE = "The service does not answer; is it still running?";

/** Send a request and return the body, its milliseconds and its id; throw an Error whose message is a sentence. */
export async function request(path, { headers, read = "text", ...options } = {}) {
  const start = performance.now();
  let response, body;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE), headers: { ...headers, ...keyHeaders() }, ...options });
    body = await response[response.ok ? read : "text"]();
  } catch {
    throw new Error(GONE);
  }
  if (response.status === 401 || response.status === 403) reportKeyNeeded();
  if (!response.ok) throw new Error(sentence(response.status, body));
  return { body, milliseconds: performance.now() - start, id: response.headers.get("X-Request-Id") };
}

/** Request the card of the model that the page's address names, or of the service's first. */
export const requestModel = async () => JSON.parse((await request(`model.json${CHOICE}`)).body);

/** Request the list of models. */
export const requestModels = async () => JSON.parse((await request("v2/repository/index", { method: "POST" })).body);

/** Request the prediction for an image file, and its prepared pixels. */
export async function requestFile(file) {
  const form = new FormData();
  form.append("image", file, "image");
  const { body, ...others } = await request(`predict_image${CHOICE}`, { method: "POST", body: form });
  return { ...JSON.parse(body), ...others };
}

/** Request the prediction for pixels that are prepared already. */
export async function requestPixels(pixels) {
  const { body, ...others } = await request(`predict${CHOICE}`, json({ images: [pixels] }));
  return { prediction: JSON.parse(body).predictions[0], prepared: pixels, ...others };
}

/** Request a typical image of a subtype, as a file. */
export const requestExample = async (subtype, number) =>
  (await request(`examples/${subtype}/${number}.jpg${CHOICE}`, { read: "blob" })).body;

/** Report the true subtype of the image of an earlier request. */
export const requestFeedback = async (id, label) =>
  JSON.parse((await request("feedback", json({ request_id: id, label }))).body);

const json = (content) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(content),
});

/** Return a function that runs one request at a time; of those that come meanwhile only the newest is sent and shown. */
export function newestOnly(show, fail) {
  let waiting = null, busy = false;
  async function work() {
    busy = true;
    while (waiting) {
      const send = waiting;
      waiting = null;
      try {
        const answer = await send();
        if (!waiting) show(answer);
      } catch (error) {
        if (!waiting) fail(error.message);
      }
    }
    busy = false;
  }
  return (send) => {
    waiting = send;
    if (!busy) work();
  };
}

/** Return a function that calls back once, a while after the first of many calls. */
export function debounced(call, milliseconds) {
  let timer = null;
  const run = () => {
    timer = null;
    call();
  };
  return () => {
    timer ??= setTimeout(run, milliseconds);
  };
}

function sentence(status, body) {
  try {
    return JSON.parse(body).error || unknown(status);
  } catch {
    return unknown(status);
  }
}

const unknown = (status) => `The service answered with the status ${status}; its log says why.`;

// The API key: asked for where the service needs one, kept as long as the tab, sent with each question.

const KEPT = "clustnet-api-key";

/** Return the headers that show the key, none without one. */
export function keyHeaders() {
  const key = sessionStorage.getItem(KEPT);
  return key ? { "X-API-Key": key } : {};
}

/** Tell the page that the service asks for a key, or for another one. */
export const askForKey = () => dispatchEvent(new Event("keyneeded"));

/** Show `form` when a key is needed; `given()` is called once a person has entered one. */
export function takeKey(form, field, given) {
  addEventListener("keyneeded", () => {
    if (!form.hidden) return;
    form.hidden = false;
    field.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault(); // the key goes into a header, never into an address
    sessionStorage.setItem(KEPT, field.value);
    field.value = "";
    form.hidden = true;
    given();
  });
}

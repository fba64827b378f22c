// The API key: requested where the service needs one, kept as long as the tab, sent with each request.

const KEPT = "clustnet-api-key";

/** Return the headers with the key, none without one. */
export function keyHeaders() {
  const key = sessionStorage.getItem(KEPT);
  return key ? { "X-API-Key": key } : {};
}

/** Report to the page that the service needs a key, or another one. */
export const reportKeyNeeded = () => dispatchEvent(new Event("keyneeded"));

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

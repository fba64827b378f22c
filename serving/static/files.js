// Image files: chosen, dropped or pasted.

/** Call `take(files)` with the files that a person gives. */
export function takeFiles(button, input, take) {
  const some = (files) => files?.length && take([...files]);
  const drag = (over) => document.body.classList.toggle("dragging", over);
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    some(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => some(event.clipboardData?.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drag(true);
  });
  document.addEventListener("dragleave", () => drag(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drag(false);
    some(event.dataTransfer?.files);
  });
}

// Image files: chosen, dropped or pasted.

/** Call `take(file)` for each image file that a person gives. */
export function takeFiles(button, input, take) {
  const first = (files) => files?.length && take(files[0]);
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    first(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => first(event.clipboardData?.files));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    first(event.dataTransfer?.files);
  });
}

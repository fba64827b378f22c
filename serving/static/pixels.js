// A model's pixels as image data, and image data on a canvas.

/** Grey pixels [height][width] of a drawing as black ink on a transparent ground, which the style sheet inverts for dark. */
export const inkOf = (pixels) => imageOf(pixels, (value) => [0, 0, 0, value]);

/** Pixels [height][width] of a photograph, or [height][width][3] in colour. */
export const pictureOf = (pixels) =>
  imageOf(pixels, (value) => (Array.isArray(value) ? [...value, 255] : [value, value, value, 255]));

function imageOf(pixels, colourOf) {
  return new ImageData(new Uint8ClampedArray(pixels.flat().flatMap(colourOf)), pixels[0].length);
}

/** Show image data on a canvas of their size. */
export function showImage(canvas, image) {
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Return a canvas with a decoded picture, its longer side at most `side` pixels. */
export function shrunkTo(side, picture, canvas) {
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  canvas.width = Math.max(1, Math.round(scale * picture.width));
  canvas.height = Math.max(1, Math.round(scale * picture.height));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

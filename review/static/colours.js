// Colours of subtypes, as far from one another as so many can be, and neighbours in the list most of all.

const GOLDEN_ANGLE = 137.508;

/** Colours for some subtypes, for a light or a dark page. */
export function colours(count) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return Array.from({ length: count }, (_, number) => {
    const lightness = (dark ? 72 : 52) + (number % 3) * 8 - 8;
    return `oklch(${lightness}% 0.15 ${(25 + number * GOLDEN_ANGLE) % 360})`;
  });
}

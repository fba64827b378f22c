// Prometheus' text format, as far as the live view needs it.

const SAMPLE = /^([a-zA-Z_]\w*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Parse the text into samples {name, labels, value}. */
export function parseMetrics(text) {
  return text.split("\n").map((line) => SAMPLE.exec(line)).filter(Boolean).map(([, name, labels, value]) => ({
    name,
    labels: Object.fromEntries([...(labels ?? "").matchAll(LABEL)].map(([, key, word]) => [key, word])),
    value: Number(value),
  }));
}

/** Add up the samples of one name, of those that `keep(labels)`. */
export function sum(samples, name, keep = () => true) {
  const kept = samples.filter((sample) => sample.name === name && keep(sample.labels));
  return kept.reduce((total, sample) => total + sample.value, 0);
}

/** The largest sample of one name, of those that `keep(labels)`; 0 without any. */
export function largest(samples, name, keep) {
  return Math.max(0, ...samples.filter((sample) => sample.name === name && keep(sample.labels)).map(({ value }) => value));
}

/** What the live view counts since the service's start: of this model what it predicted, and all requests. */
export function countersOf(samples, { name, experts }) {
  const ofModel = (metric, keep = () => true) => sum(samples, metric, (labels) => labels.model === name && keep(labels));
  const counted = ({ path }) => path !== "other"; // this page's own look at the metrics is "other"
  const refused = samples.filter(({ name, value }) => name === "clustnet_refused_requests_total" && value > 0);
  return {
    requests: sum(samples, "clustnet_requests_total", counted),
    images: sum(samples, "clustnet_images_per_request_sum"),
    timed: sum(samples, "clustnet_request_seconds_count", counted), // without those refused while they were read
    seconds: sum(samples, "clustnet_request_seconds_sum", counted),
    predicted: ofModel("clustnet_predictions_by_expert_total"),
    abstained: ofModel("clustnet_abstentions_total"),
    refused: Object.fromEntries(refused.map(({ labels, value }) => [labels.reason, value])),
    load: Array.from({ length: experts }, (_, index) =>
      ofModel("clustnet_predictions_by_expert_total", ({ expert }) => expert === String(index))),
  };
}

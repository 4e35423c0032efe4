// The samples in public/samples, which web/samples.py makes.
export interface Sample { name: string; label: string; title: string }

const MOST_OF_A_CLASS = 6;
const CLOTHES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
const several = (label: string, count: number, title: string): Sample[] =>
  Array.from({ length: count }, (_, index) => ({ name: `${label.replace(" ", "-")}-${index}`, label, title }));

const OF_CLASSES: Sample[] = [
  ...[..."0123456789"].flatMap((label) => several(label, label === "3" || label === "5" ? MOST_OF_A_CLASS : 2, `a ${label} of MNIST`)),
  ...CLOTHES.flatMap((label) => several(label, 2, `${label} of Fashion-MNIST`)),
];
/** A drawing of what no model here has seen. */
const CAT: Sample = { name: "cat", label: "cat", title: "a drawn cat" };

/** Samples of the classes that a model knows, the more of each the fewer there are, and one of something else. */
export function samplesFor(labels: string[]): Sample[] {
  const ofAClass = labels.length > 4 ? 2 : MOST_OF_A_CLASS;
  return [...labels.flatMap((label) => OF_CLASSES.filter((sample) => sample.label === label).slice(0, ofAClass)), CAT];
}

// The samples in public/samples, which web/samples.py makes.
export interface Sample { name: string; label: string; index: number; title: string }

const digit = (label: string, count: number): Sample[] =>
  Array.from({ length: count }, (_, index) => ({ name: `${label}-${index}`, label, index, title: `a ${label} of MNIST` }));

export const SAMPLES: Sample[] = [
  ...[..."0123456789"].flatMap((label) => digit(label, label === "3" || label === "5" ? 6 : 2)),
  { name: "cat", label: "cat", index: 0, title: "a drawn cat" },
];

// The attacks of the service (docs/api.md), in the order in which one would try them.
export const ATTACKS = [
  { name: "pgd", about: "projected gradient steps" },
  { name: "fgsm", about: "one gradient step" },
  { name: "apgd", about: "gradient steps that adapt" },
  { name: "fab", about: "smallest change, by gradients" },
  { name: "deepfool", about: "smallest change, quick" },
  { name: "square", about: "random squares, no gradient" },
  { name: "boundary", about: "along the boundary, labels only" },
  { name: "hopskipjump", about: "labels only" },
  { name: "auto", about: "AutoAttack, all in turn" },
] as const;

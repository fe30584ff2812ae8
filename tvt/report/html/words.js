/* What is said in more than one place. */

const PERSONAS = {
  donor: { title: "Donors", about: "Training on them helps other tasks more than training on most tasks does." },
  pirate: { title: "Pirates", about: "Training on them harms other tasks more than training on most tasks does." },
  sponge: { title: "Sponges", about: "They gain from training on other tasks more than most tasks do." },
  sieve: { title: "Sieves", about: "They lose from training on other tasks more than most tasks do." },
};

const CLIQUES = {
  positive: "help each other",
  negative: "harm each other",
  positive_every_seed: "help each other in every run",
  negative_every_seed: "harm each other in every run",
};

/** Stands before a figure that rests on cells that were not measured. */
const ESTIMATE = "\u2248";

/** What a study's figures are called. */
function metricName(study) {
  return study.metric === "pgf" ? "PGF" : "gain";
}

/** What a cell's figure means, in one word. */
function verb(value) {
  if (value === null) return "not measured";
  return Math.abs(value) < 1e-12 ? "no change" : value > 0 ? "helps" : "harms";
}

/** The name of a run for people: seed_0 becomes "seed 0". */
function runName(run) {
  return run.replaceAll("_", " ");
}

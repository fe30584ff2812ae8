/* Where the figures come from, what is missing and why, and what the report cannot say. */

function provenanceSection() {
  const body = el("div", {});
  const update = () => fill(body, provenanceParts(shown()));
  onChange("study", update);
  update();
  return section("provenance", "Where this comes from", body);
}

function provenanceParts(study) {
  const of = study.provenance;
  const facts = [
    ["Study", study.name],
    ["Read from", of.reference],
    ["Base model", study.model || "not stated"],
    ["Parameters", study.parameters === null ? "not stated" : `${plainNumber(study.parameters, study.parameters < 0.1 ? 4 : 1)} billion`],
    ["Runs", study.runs.map(runName).join(", ")],
    ["Training budget", of.budget === null ? "not stated" : `${of.budget.toLocaleString("en")} examples a run`],
    ["Measured", `${many(study.noise.cells, "cell")}${study.noise.missing ? `, ${study.noise.missing} missing` : ", none missing"}`],
    ["Digest of the figures", of.digest],
    ["Report made by", `tvt ${data.version}`],
    ...(of.versions.length ? [["Runs made with", of.versions.join(", ")]] : []),
  ];
  return [
    of.counts === "inferred" ? el("p", { class: "notice" }, "The counts of right answers behind this study are inferred from published figures, not published themselves.") : null,
    el("dl", { class: "facts wide" }, facts.map(([word, text]) => [el("dt", { text: word }), el("dd", {}, el("bdi", { text }))])),
    of.text ? el("p", { class: "quote", dir: "auto", text: of.text }) : null,
    of.recipe ? tableBehind(() => dataTable("Recipe", ["field", "value"], Object.entries(of.recipe).map(([field, value]) => [field, value])), "the recipe of its runs") : null,
    failures(of),
    limits(study),
  ];
}

function failures(of) {
  const rows = of.failures.map((failure) => [
    failure.target ? el("span", {}, "scored on ", named(failure.target)) : el("span", {}, "trained on ", named(failure.source), ", ", el("bdi", { text: runName(failure.run) })),
    failure.target ? many(failure.cells, "cell") : "the whole run",
    el("span", { dir: "auto", text: failure.reason }),
  ]);
  const problems = of.problems.length ? el("ul", { class: "notes" }, of.problems.map((text) => el("li", { dir: "auto", text }))) : null;
  return [
    el("h3", { text: "What failed or is missing" }),
    rows.length ? dataTable("What is missing", ["what", "how much", "why"], rows) : el("p", {}, "Nothing: every source was scored on every target in every run."),
    problems,
  ];
}

function limits(study) {
  const told = [
    "Cause beyond this setting: another model, budget, prompt or set of questions may transfer otherwise. Between the published sizes of one model family the pattern hardly carries over.",
    "Which part of a gain is learning the format of the answers, and which is learning the task.",
    "What a mixture really does, before it is trained: predictions come from runs on single sources, and how gain grows with a share is an assumption unless the explorer says that it was fitted.",
    study.pgf.p === null ? "Whether a single transfer is more than chance: the noise of this study is not known." : "That a transfer which is not beyond the noise is zero: it may only be too small for so few questions and runs.",
    study.runs.length === 1 ? "How much another random seed would change: there is one run." : null,
  ];
  return [el("h3", { text: "What this report cannot say" }), el("ul", { class: "notes" }, told.filter(Boolean).map((text) => el("li", { text })))];
}

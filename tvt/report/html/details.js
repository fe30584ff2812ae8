/* What is known of one cell of the matrix. */

/** Why a cell is missing: the reasons of its runs, each once. */
function reasonsOf(study, i, j) {
  const found = study.runs.map((_, k) => study.pgf.reasons[`${k}|${i}|${j}`]).filter(Boolean);
  return [...new Set(found)];
}

/** What a selection takes a missing cell for; null where it was measured or cannot be estimated. */
function estimateOf(study, i, j) {
  return study.pgf.mean[i][j] === null ? study.pgf.estimates[`${i}|${j}`] || null : null;
}

/** An estimate in a few words, with the mark that no measured figure has. */
function estimateText(study, i, j) {
  const [value, low, high] = estimateOf(study, i, j);
  return `${ESTIMATE}${signed(value)} (${percent(study.pgf.estimateConfidence, 0)}: ${signed(low)} to ${signed(high)})`;
}

function estimateBox(study, i, j) {
  if (!estimateOf(study, i, j)) return null;
  return el(
    "div",
    { class: "estimate" },
    el("p", {}, el("b", { text: estimateText(study, i, j) }), ", an estimate"),
    el("p", { class: "hint", text: "From what the source does to other targets, and what other sources do to this one. Only mixtures go by it; every other figure on this page leaves the cell out." }),
  );
}

/** Signs of a cell over the runs, in words. */
function stability(study, i, j) {
  const values = study.runs.map((_, k) => study.pgf.runs[k][i][j]).filter((v) => v !== null);
  const [up, down] = [values.filter((v) => v > 1e-12).length, values.filter((v) => v < -1e-12).length];
  if (values.length < 2) return "one run: whether the sign would hold in another is not known";
  if (up && down) return `the sign flips: above 0 in ${many(up, "run")}, below in ${down}`;
  if (!up && !down) return `no change in any of ${many(values.length, "run")}`;
  const flat = values.length - up - down;
  return `${up ? "above" : "below"} 0 in ${up + down} of ${many(values.length, "run")}${flat ? `, no change in ${flat}` : ""}`;
}

const average = (values) => {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
};

/** The panel's content for the cell of source i and target j. */
function cellDetails(study, i, j) {
  const { pgf } = study;
  const [source, target] = [study.tasks[study.sources[i]], study.tasks[study.targets[j]]];
  const value = pgf.mean[i][j];
  const own = study.sources[i] === study.targets[j];
  const title = el("h3", {}, named(source.label), el("span", { class: "arrow", "aria-label": "to" }, " → "), named(target.label));
  if (value === null) {
    return [title, el("p", { class: "big", text: "not measured" }), el("ul", {}, reasonsOf(study, i, j).filter((text) => text !== "not measured").map((text) => el("li", { dir: "auto", text }))), estimateBox(study, i, j)];
  }
  const kind = value > 0 ? "help" : "harm";
  const stands = pgf.stands && pgf.stands[i][j];
  return [
    title,
    el("p", { class: `big ${kind}` }, signed(value, 3), el("small", {}, ` ${metricName(study)}, ${study.runs.length > 1 ? "mean of the runs" : "one run"}`)),
    el("p", {}, told(study, i, j), own ? " This is training on the task itself." : ""),
    el(
      "dl",
      { class: "facts" },
      fact("Error from runs", pgf.seSeed[i][j] === null ? "not known" : `± ${plainNumber(pgf.seSeed[i][j], 3)}`),
      fact("Error from questions", pgf.seItem[i][j] === null ? "not known" : `± ${plainNumber(pgf.seItem[i][j], 3)}`),
      fact("Sign", stability(study, i, j)),
      fact("Beyond the noise", !pgf.p || pgf.p[i][j] === null ? "not known" : `${stands ? "yes" : "no"} (${pEquals(pgf.p[i][j])} by itself)`),
    ),
    ...runTable(study, i, j),
    partial(study, i, j),
  ];
}

function fact(word, text) {
  return [el("dt", { text: word }), el("dd", { text })];
}

/** Accuracies before and after as a sentence. */
function told(study, i, j) {
  const { pgf } = study;
  const known = study.runs.map((_, k) => k).filter((k) => pgf.after[k][i][j] !== null && pgf.base[k][j] !== null);
  if (!known.length) return "The accuracies behind it are not known.";
  const base = average(known.map((k) => pgf.base[k][j]));
  const after = average(known.map((k) => pgf.after[k][i][j]));
  const total = pgf.questions[j];
  const counts = total === null ? "" : ` (${countText(base * total)} to ${countText(after * total)} of ${total} questions)`;
  const ceiling = study.tasks[study.targets[j]].ceiling;
  const gap = ceiling < 1 ? ` The ceiling is ${percent(ceiling, 0)}.` : "";
  return `Accuracy went from ${percent(base)} to ${percent(after)}${counts}.${gap}`;
}

function runTable(study, i, j) {
  const { pgf } = study;
  const total = pgf.questions[j];
  const right = (share) => (share === null ? DASH : total === null ? percent(share) : countText(share * total));
  const rows = study.runs.map((run, k) => [
    el("bdi", { text: runName(run) }),
    right(pgf.base[k][j]),
    right(pgf.after[k][i][j]),
    signed(pgf.runs[k][i][j], 3),
    plainNumber(pgf.runSeItem[k][i][j]),
  ]);
  const table = dataTable("Single runs", ["run", "before", "after", metricName(study), "±"], rows);
  const unit = total === null ? "" : `Right answers of ${total}; `;
  return [table, el("p", { class: "hint", text: `${unit}± is the error from questions.` })];
}

/** Runs that lack the cell though others have it. */
function partial(study, i, j) {
  const lacking = study.runs.map((run, k) => [run, study.pgf.reasons[`${k}|${i}|${j}`]]).filter(([, reason]) => reason);
  if (!lacking.length) return null;
  return el("p", { class: "hint", dir: "auto" }, `Left out: ${lacking.map(([run, reason]) => `${runName(run)} (${reason})`).join("; ")}.`);
}

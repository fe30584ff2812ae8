/* The first screen: what was found, in sentences; and what the words mean. */

function headlineSection() {
  const title = measured.length === 1 ? el("h1", {}, "Task transfer in ", named(shown().name)) : el("h1", {}, `Task transfer in ${measured.length} studies`);
  const lead = el("p", { class: "lead" }, "How finetuning a vision-language model on one task changes it on others: who helps whom, who harms whom, and how sure that is.");
  const over = data.sentences.length ? el("div", { class: "over" }, data.sentences.map((text) => el("p", {}, sentence(text, data.studies.flatMap((study) => study.tasks))))) : null;
  const body = el("div", {});
  const update = () => fill(body, studyHeadline(shown()));
  onChange("study", update);
  update();
  const notes = data.notes.length ? el("ul", { class: "notes" }, data.notes.map((text) => el("li", { dir: "auto", text }))) : null;
  return el("section", { id: "headline", "aria-label": "Headline" }, title, lead, over, body, notes && el("div", {}, el("h3", { text: "What limits these answers" }), notes), definitions());
}

/** The study's sentences and its key numbers. */
function studyHeadline(study) {
  const numbers = [
    [String(study.sources.length), study.sources.length === 1 ? "source task" : "source tasks"],
    [String(study.targets.length), study.targets.length === 1 ? "target task" : "target tasks"],
    [String(study.runs.length), study.runs.length === 1 ? "run" : "runs"],
    ...signs(study),
    ...(study.noise.reliability === null ? [] : [[plainNumber(study.noise.reliability), "agreement between runs (reliability; 1 is perfect)"]]),
    ...(study.noise.itemShare === null ? [] : [[percent(study.noise.itemShare, 0), "of the error comes from few questions, the rest from runs"]]),
  ];
  return el(
    "div",
    { class: "summary" },
    data.studies.length > 1 ? el("h2", {}, named(study.name)) : null,
    doubts(study),
    el("p", { class: "finding" }, sentence(study.headline, study.tasks)),
    el("p", { class: "finding" }, standingSentence(study)),
    el("dl", { class: "numbers" }, numbers.map(([value, about]) => el("div", {}, el("dt", { text: about }), el("dd", { text: value })))),
  );
}

/** What makes the scores doubtful, before any finding that rests on them; the worst as a notice of its own. */
function doubts(study) {
  if (!study.warnings.length) return null;
  const loud = study.warnings.filter((warned) => warned.loud);
  const others = study.warnings.filter((warned) => !warned.loud);
  return el(
    "div",
    { class: "doubts" },
    el("h3", { text: "Doubtful scores" }),
    loud.map((warned) => el("p", { class: "notice", dir: "auto", text: warned.text })),
    others.length ? el("ul", { class: "notes" }, others.map((warned) => el("li", { dir: "auto", text: warned.text }))) : null,
  );
}

function signs(study) {
  const off = study.pgf.mean.flatMap((row, i) => row.filter((v, j) => v !== null && study.sources[i] !== study.targets[j]));
  if (!off.length) return [];
  const share = (sign) => percent(off.filter((v) => sign * v > 1e-12).length / off.length, 0);
  return [
    [share(1), "of transfers between tasks help"],
    [share(-1), "harm"],
  ];
}

/** How many transfers stand out of the noise. */
function standingSentence(study) {
  const of = study.standing;
  if (!of) return "How sure: the noise is not known (too few runs, or no counts of questions), so no transfer can be told from chance.";
  const own = of.ownTested ? ` Of ${many(of.ownTested, "task")} trained on themselves, ${of.own} gained beyond it.` : "";
  if (!of.tested) return `How sure: no transfer between tasks could be tested.${own}`;
  return `How sure: of ${many(of.tested, "transfer")} between tasks, ${of.helps} help and ${of.harms} harm beyond the noise of runs and questions (5% level, corrected for their number).${own} The others may be chance.`;
}

/** The cell that a worked example is made of: the clearest help whose accuracies are known. */
function exampleCell(study) {
  let best = null;
  study.pgf.mean.forEach((row, i) =>
    row.forEach((value, j) => {
      const known = value !== null && study.pgf.after[0][i][j] !== null && study.pgf.base[0][j] !== null;
      if (known && study.sources[i] !== study.targets[j] && (!best || value > best.value)) best = { value, i, j };
    }),
  );
  return best;
}

function workedExample(study) {
  const cell = exampleCell(study);
  if (!cell || study.metric !== "pgf") {
    return el("p", {}, "Example: a model that goes from 40% to 55% right has closed a quarter of the way to 100%: PGF (55 − 40) / (100 − 40) = +0.25.");
  }
  const [source, target] = [study.tasks[study.sources[cell.i]], study.tasks[study.targets[cell.j]]];
  const [base, after] = [study.pgf.base[0][cell.j], study.pgf.after[0][cell.i][cell.j]];
  const ceiling = target.ceiling;
  const [a, b, c] = [after, base, ceiling].map((v) => plainNumber(100 * v, 1));
  return el(
    "p",
    {},
    "Example from this report: before, the model had ", named(target.label), ` right in ${b}% of the questions; after finetuning on `, named(source.label),
    ` (${runName(study.runs[0])}) in ${a}%. To reach ${plainNumber(100 * ceiling, 0)}% it lacked ${plainNumber(100 * (ceiling - base), 1)} points and got ${plainNumber(100 * (after - base), 1)} of them: PGF = (${a} − ${b}) / (${plainNumber(100 * ceiling, 0)} − ${b}) = ${signed(study.pgf.runs[0][cell.i][cell.j])}.`,
  );
}

/** The words, for who has not read the paper. */
function definitions() {
  const example = el("div", {});
  const update = () => fill(example, workedExample(shown()));
  onChange("study", update);
  update();
  const words = [
    ["Source and target", "A source is a task that the model is finetuned on; a target is a task that it is then scored on. Training on a task and scoring on the same one is set apart: it is no transfer."],
    ["PGF, the Perfection Gap Factor", "The part of the gap to a perfect score that finetuning closes. 1 is perfect, 0 is no change. Below 0 is harm, and harm can be far below −1: who was nearly perfect has more to lose than to gain."],
    ["Run", "The same finetuning once more with another random seed. Runs that differ say how much is chance."],
    ["Standard error", "How far a figure might be off. It comes from two places, shown apart: the spread between runs, and the finite number of questions."],
    ["Transferability and malleability", "What a source does to all targets together, and what all sources do to a target: the mean of its helpful (or harmful) transfers, damped where only few are."],
    ["Clique", "A set of tasks in which every task helps (or harms) every other, both ways."],
    ...Object.values(PERSONAS).map((of) => [of.title, of.about]),
    ["Mixture", "Shares of the training budget by source. How gain grows with a share is an assumption unless runs at several shares were made; the explorer says which."],
  ];
  return el(
    "details",
    { class: "fold", id: "words" },
    el("summary", {}, "What the words mean, with an example"),
    example,
    el("dl", { class: "words" }, words.map(([word, about]) => [el("dt", { text: word }), el("dd", { text: about })])),
  );
}

/* What a task does to the others and what they do to it; and the tasks that stand out in it. */

function personasSection() {
  const body = el("div", {});
  const update = () => fill(body, sides(shown()), genericPart(shown()), groupParts(shown()));
  onChange("study", update);
  update();
  return section(
    "tasks",
    "Givers and takers",
    el("p", { class: "about" }, "Transferability is what a source does to the other tasks, malleability what the other tasks do to a target. Help and harm stand apart, since a task may do both.", data.withSelf ? " A task's transfer to itself counts here." : " A task's transfer to itself is left out."),
    body,
    personaParts("Personas", data.personas),
    data.specificPersonas ? personaParts("Personas beyond any finetuning", data.specificPersonas) : null,
  );
}

function sides(study) {
  const ofSide = (title, positions, of, about) => {
    const rows = positions
      .map((task, at) => ({ task, at, net: (of.positive[at] || 0) + (of.negative[at] || 0), known: of.positive[at] !== null }))
      .sort((a, b) => b.known - a.known || b.net - a.net)
      .map(({ task, at, known }) => sideRow(study.tasks[task], of, at, known));
    const text = `Whiskers: two standard errors, from runs and questions together. ${about}`;
    const cells = rows.map((row) => [named(row.label), row.figures[0], row.figures[1], row.figures[2], row.figures[3]]);
    return framed(
      title,
      dotPlot(rows, { label: `${title} of ${rows.length} tasks`, title: "help right, harm left" }),
      text,
      tableBehind(() => dataTable(title, ["task", "help", "±", "harm", "±"], cells), title.toLowerCase()),
    );
  };
  return el(
    "div",
    { class: "pair" },
    ofSide("Transferability: what it gives", study.sources, study.transferability, "Best givers first."),
    ofSide("Malleability: what it takes", study.targets, study.malleability, "Those that gain most first."),
  );
}

/** What any finetuning does to each target, by placebo runs or by the mean over the other sources. */
function genericPart(study) {
  const { generic, error, sentences } = study.split;
  if (study.of || !generic.some((value) => value !== null)) return null;
  const rows = study.targets
    .map((task, at) => ({ task, value: generic[at], error: error[at] }))
    .filter((row) => row.value !== null)
    .sort((a, b) => b.value - a.value)
    .map((row) => {
      const bound = row.error === null ? [null, null] : [row.value - 2 * row.error, row.value + 2 * row.error];
      const series = [{ value: row.value, low: bound[0], high: bound[1], kind: row.value < 0 ? "harm" : "help" }];
      return { label: study.tasks[row.task].label, series, text: signed(row.value), figures: [signed(row.value, 3), plainNumber(row.error, 3)] };
    });
  const cells = rows.map((row) => [named(row.label), ...row.figures]);
  return framed(
    "What any finetuning does to a target",
    dotPlot(rows, { label: `Generic part of ${rows.length} targets`, title: "help right, harm left" }),
    `Whiskers: two standard errors. ${sentences.join(" ")}`,
    tableBehind(() => dataTable("What any finetuning does to a target", ["target", "gain", "±"], cells), "generic parts"),
  );
}

function sideRow(task, of, at, known) {
  const series = ["positive", "negative"].map((sign) => {
    const [value, error] = [of[sign][at], of[`${sign}Error`][at]];
    const bound = error === null || value === null ? [null, null] : [value - 2 * error, value + 2 * error];
    return { value, low: bound[0], high: bound[1], kind: sign === "positive" ? "help" : "harm" };
  });
  return {
    label: task.label,
    series,
    text: known ? `${signed(of.positive[at])} / ${signed(of.negative[at])}` : "not measured",
    figures: [signed(of.positive[at], 3), plainNumber(of.positiveError[at], 3), signed(of.negative[at], 3), plainNumber(of.negativeError[at], 3)],
  };
}

/** The four personas over all studies: single values as specks, their median as a dot. */
function personaParts(title, personas) {
  const some = Object.values(personas).some((tests) => tests.some((test) => test.values.length));
  if (!some) return null;
  const runs = measured.reduce((sum, study) => sum + study.runs.length, 0);
  return el(
    "div",
    {},
    el("h3", { text: title }),
    el("p", { class: "about" }, `Does a task stand out from the others, over ${many(measured.length, "study").replace("studys", "studies")} and ${many(runs, "run")}? Each speck is one run: the task's figure less the other tasks' mean. Tasks whose one-sided Wilcoxon test passes at ${data.alpha} are marked; with so many tests about one in a hundred would pass by chance.`.replace("one in a hundred", `${percent(data.alpha, 0)} of them`)),
    el("div", { class: "pair" }, Object.entries(PERSONAS).map(([kind, of]) => personaPlot(kind, of, personas[kind]))),
  );
}

function personaPlot(kind, of, tests) {
  const rows = tests.map((test) => ({
    label: test.label,
    series: [{ value: test.median, cloud: test.values, kind: kind === "donor" || kind === "sponge" ? "help" : "harm" }],
    text: `p ${pText(test.p)}`,
    strong: test.passes,
  }));
  const few = rows.slice(0, 13);
  return framed(
    `${of.title}: ${tests.some((test) => test.passes) ? "" : "none passes"}`.replace(/: $/, ""),
    dotPlot(few, { label: `Persona tests, ${of.title.toLowerCase()}`, title: "more than others: right" }),
    `${of.about}${tests.length > few.length ? ` The ${few.length} clearest of ${tests.length} are drawn.` : ""}`,
    tableBehind(
      () => dataTable(of.title, ["task", "median", "p", "passes"], tests.map((test) => [named(test.label), signed(test.median, 3), pText(test.p), test.passes ? "yes" : "no"])),
      of.title.toLowerCase(),
    ),
  );
}

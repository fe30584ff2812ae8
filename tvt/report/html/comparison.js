/* After training: the selected mixture against its baselines, and the promise against what came. */

const KIND_NAMES = { selected: "selected", uniform: "uniform", random: "random", proportional: "proportional", best_single: "best single", direct: "the target's own data", placebo: "placebo" };

function comparisonSection() {
  if (!data.studies.some((study) => study.comparisons.length)) return null;
  const body = el("div", {});
  const update = () => {
    const study = shown();
    fill(body, study.comparisons.length ? comparisonPicker(study) : el("p", { class: "hint" }, "This study has no comparison."));
  };
  onChange("study", update);
  update();
  return section(
    "comparison",
    "Did its predicted gains come true?",
    el("p", { class: "about" }, "The selected mixture was trained beside simpler ones, on the same budget and seeds, and all were scored on the same questions."),
    body,
  );
}

function comparisonPicker(study) {
  const parts = el("div", {});
  const draw = (at) => fill(parts, comparisonParts(study, study.comparisons[at]));
  draw(0);
  const options = study.comparisons.map((of, at) => ({ value: String(at), text: of.name }));
  return [options.length > 1 ? el("div", { class: "controls" }, picker("Comparison", options, "0", (at) => draw(Number(at)), "comparison")) : null, parts];
}

function comparisonParts(study, of) {
  const labels = new Map(study.tasks.map((task) => [task.name, task.label]));
  const label = (target) => (target === null ? "mean over what was asked for" : labels.get(target) || target);
  const box = el("div", {});
  const targets = [null, ...of.targets];
  const draw = (target) => fill(box, el("div", { class: "pair" }, gainsPlot(study, of, target, label), differencePlot(study, of, target, label)));
  draw(null);
  return [
    el("div", { class: "verdict" }, of.sentences.map((text) => el("p", {}, sentence(text, study.tasks)))),
    el("div", { class: "controls" }, picker("Measured on", targets.map((target, at) => ({ value: String(at), text: label(target) })), "0", (at) => draw(targets[Number(at)]), "measured")),
    box,
    promisePlot(of, label),
    el("ul", { class: "notes" }, [...of.notes, ...of.missing.map((run) => `${run.entry}, seed ${run.seed}: ${run.reason}`)].map((text) => el("li", { dir: "auto", text }))),
  ];
}

/** The estimate that was tested, with its interval. */
function estimate(contrast) {
  return contrast.pgf || contrast.accuracy;
}

function gainsPlot(study, of, target, label) {
  const about = new Map(of.entries.map((entry) => [entry.label, entry]));
  const found = of.gains.filter((contrast) => contrast.target === target);
  const rows = found.map((contrast) => {
    const value = estimate(contrast);
    return {
      label: contrast.entry,
      series: value ? [{ value: value.value, low: value.low, high: value.high, kind: about.get(contrast.entry).kind === "selected" ? "chosen" : "quiet" }] : [],
      text: value ? signed(value.value) : "not measured",
      strong: about.get(contrast.entry).kind === "selected",
    };
  });
  const table = found.map((contrast) => {
    const value = estimate(contrast);
    return [named(contrast.entry), about.get(contrast.entry).about || KIND_NAMES[about.get(contrast.entry).kind], signed(value && value.value, 3), value ? `${signed(value.low, 3)} to ${signed(value.high, 3)}` : DASH, pText(contrast.p_corrected), contrast.verdict];
  });
  return framed(
    ["Gain over the base model: ", el("bdi", { text: label(target) })],
    dotPlot(rows, { label: "Gains over the base model", title: metricName(study) }),
    "Whiskers: 95% interval.",
    tableBehind(() => dataTable("Gains over the base model", ["mixture", "what it is", "gain", "95% interval", "p corrected", "verdict"], table), "gains"),
  );
}

function differencePlot(study, of, target, label) {
  const found = of.differences.filter((contrast) => contrast.target === target);
  if (!found.length) return framed(["Selected less baseline: ", el("bdi", { text: label(target) })], el("p", { class: "hint" }, "The selection was not made for this target; differences are tested on those that it was made for."), null, null);
  const rows = found.map((contrast) => {
    const value = estimate(contrast);
    const kind = contrast.verdict === "better" ? "help" : contrast.verdict === "worse" ? "harm" : "quiet";
    return { label: contrast.against, series: value ? [{ value: value.value, low: value.low, high: value.high, kind }] : [], text: contrast.verdict === "no difference shown" ? "not shown" : contrast.verdict };
  });
  const table = found.map((contrast) => {
    const value = estimate(contrast);
    return [named(contrast.against), signed(value && value.value, 3), value ? `${signed(value.low, 3)} to ${signed(value.high, 3)}` : DASH, pText(contrast.p_corrected), contrast.verdict];
  });
  return framed(
    ["Selected less baseline: ", el("bdi", { text: label(target) })],
    dotPlot(rows, { label: "Selected less each baseline", title: "selected better: right" }),
    'Whiskers: 95% interval, not corrected; the verdict is, for the number of baselines; "not shown" is no proof that there is no difference.',
    tableBehind(() => dataTable("Selected less baseline", ["baseline", "difference", "95% interval", "p corrected", "verdict"], table), "differences"),
  );
}

/** Predicted against realised, with the line on which a kept promise lies. */
function promisePlot(of, label) {
  const { points } = of.promise;
  if (!points.length) return el("p", { class: "hint" }, "There is no predicted gain to hold against a result yet.");
  const chart = responsive((width) => {
    const side = span(points.flatMap((point) => [point.predicted, point.realised, point.realised - point.error, point.realised + point.error]));
    const { drawing, px, py } = axes(width, Math.min(440, Math.max(280, width * 0.6)), { ...side, title: "predicted gain" }, { ...side, title: "realised gain" }, "Predicted against realised gains");
    drawing.append(svg("line", { class: "diagonal", x1: px(side.low), y1: py(side.low), x2: px(side.high), y2: py(side.high) }));
    for (const point of [...points].sort((a, b) => (a.kind === "selected") - (b.kind === "selected"))) {
      const kind = point.kind === "selected" ? "chosen" : "quiet";
      drawing.append(
        svg("line", { class: `reach ${kind}`, x1: px(point.predicted), x2: px(point.predicted), y1: py(point.realised - point.error), y2: py(point.realised + point.error) }),
        svg("circle", { class: `point ${kind}`, cx: px(point.predicted), cy: py(point.realised), r: kind === "chosen" ? 5.5 : 4 }, svg("title", { text: `${point.label} on ${label(point.target)}: predicted ${point.estimated.length ? ESTIMATE : ""}${signed(point.predicted)}, realised ${signed(point.realised)}` })),
      );
    }
    return drawing;
  });
  const rows = points.map((point) => [el("span", {}, named(point.label), " on ", named(label(point.target))), `${point.estimated.length ? ESTIMATE : ""}${signed(point.predicted, 3)}`, `${signed(point.low, 3)} to ${signed(point.high, 3)}`, signed(point.realised, 3), plainNumber(point.error, 3), point.inside ? "yes" : "no"]);
  const resting = points.some((point) => point.estimated.length) ? ` ${ESTIMATE} rests on cells that were not measured but estimated.` : "";
  return [
    framed("Predicted against realised", chart, ["On the dashed line the gain is the predicted one; above it, it is larger. ", promiseText(of.promise), resting], null),
    legend(key("point chosen", "selected mixture"), key("point quiet", "baselines"), "lines: one standard error"),
    tableBehind(() => dataTable("Predicted against realised", ["mixture and target", "predicted", "interval", "realised", "±", "inside"], rows), "predicted and realised"),
  ];
}

/** "overrated by 0.04", or underrated. */
function optimism(value) {
  return `${value < 0 ? "underrated" : "overrated"} by ${plainNumber(Math.abs(value))}`;
}

function promiseText(of) {
  const parts = [];
  if (of.rank !== null) parts.push(`Rank correlation ${signed(of.rank)} over ${many(of.points.length, "point")}.`);
  if (of.covered !== null) parts.push(`${percent(of.covered, 0)} of the results lie in their predicted interval (${percent(of.confidence, 0)} would be honest).`);
  if (of.optimism_selected !== null) parts.push(`On average the selected mixture's gain was ${optimism(of.optimism_selected)}${of.optimism_others === null ? "" : `, those of the others ${optimism(of.optimism_others)}`}.`);
  return [...parts, ...of.notes].join(" ");
}

/* The mixture explorer: a walk along mixtures that were selected in advance. Nothing is solved here. */

const CARE = {
  risk: {
    title: "uncertainty",
    about: "how many standard errors of the gain are given up for safety",
    ends: ["most gain", "most certain"],
    setting: (value) => `${plainNumber(value, 2)} standard errors given up`,
    axis: "standard error of the predicted gain",
    place: (point) => point.error,
    caption: "Each dot is a mixture: its predicted gain on what was asked for, against how uncertain that is.",
  },
  harm: {
    title: "harm",
    about: "the least gain that every target must be predicted to keep",
    ends: ["most gain", "least harm"],
    setting: (value) => `no target predicted below ${signed(value, 4)}`,
    axis: "worst predicted gain of any target",
    place: (point) => worst(point)[1],
    caption: "Each dot is a mixture: its predicted gain on what was asked for, against the worst predicted gain of any target.",
  },
};

function explorerSection() {
  if (!data.studies.some((study) => study.explorer)) return null;
  const body = el("div", {});
  const update = () => fill(body, shown().explorer ? explorerParts(shown()) : el("p", { class: "hint" }, "No mixture was selected in advance for this study; the last section says why."));
  onChange("study", update);
  update();
  return section(
    "mixtures",
    "Choose a mixture",
    el("p", { class: "about" }, "What should the model be trained on to get better at a target? Each stop of the slider is a mixture that was optimised in advance; the command below gives exactly that one. These are predictions from runs on single sources: whether a mixture keeps its promise takes training it."),
    body,
  );
}

function explorerParts(study) {
  const { requests } = study.explorer;
  const byName = new Map(study.tasks.map((task) => [task.name, task]));
  const view = { request: 0, kind: "harm", at: 0 };
  const [kinds, parts] = [el("div", { class: "slot" }), el("div", {})];
  const title = (request) => (request.target === null ? "all targets, on average" : byName.get(request.target).label);
  const draw = () => {
    const request = requests[view.request];
    const known = Object.keys(CARE).filter((kind) => request.frontiers[kind].points);
    if (known.length && !known.includes(view.kind)) view.kind = known[0];
    fill(kinds, switcher("Careful about", Object.keys(CARE).map((kind) => ({ value: kind, text: CARE[kind].title })), view.kind, (kind) => { view.kind = kind; view.at = 0; drawFrontier(); }));
    drawFrontier();
  };
  const drawFrontier = () => {
    const request = requests[view.request];
    const found = request.frontiers[view.kind];
    fill(parts, found.points ? frontierView(study, request, view, namedPoints(study, found.points), byName) : el("p", { class: "notice", dir: "auto" }, `Not to be had: ${found.reason}`));
  };
  const left = study.explorer.leftOut.length ? el("p", { class: "hint", dir: "auto" }, `No explorer of their own: ${study.explorer.leftOut.join(", ")}; make the report with --target for others.`) : null;
  draw();
  return [
    el(
      "div",
      { class: "controls" },
      picker("Get better at", requests.map((request, at) => ({ value: String(at), text: title(request) })), "0", (at) => { view.request = Number(at); view.at = 0; draw(); }, "target"),
      kinds,
    ),
    parts,
    el("p", { class: "hint", dir: "auto" }, `Budget ${study.explorer.budget.toLocaleString("en")} examples; a single target's own training data is left out. Intervals are at ${percent(study.explorer.confidence, 0)}. How gain grows with a share: ${study.explorer.kappa}.`),
    left,
  ];
}

/** The points of a frontier with their predicted gains by target. */
function namedPoints(study, points) {
  const { targets } = study.explorer;
  return points.map((point) => ({ ...point, predicted: Object.fromEntries(targets.map((name, at) => [name, point.predicted[at]])) }));
}

/** Slider and all that follows it. */
function frontierView(study, request, view, points, byName) {
  const care = CARE[view.kind];
  const out = el("div", {});
  const setting = el("output", { class: "told", "aria-live": "polite" });
  const slider = el("input", { type: "range", min: 0, max: points.length - 1, step: 1, value: view.at, disabled: points.length < 2, "aria-label": `From ${care.ends[0]} to ${care.ends[1]}` });
  const chart = frontierChart(points, view);
  const update = () => {
    view.at = Number(slider.value);
    setting.textContent = care.setting(points[view.at].setting);
    slider.setAttribute("aria-valuetext", setting.textContent);
    chart.redraw();
    fill(out, pointView(study, request, points[view.at], byName));
  };
  slider.addEventListener("input", update);
  update();
  const served = (point) => (request.target === null ? Object.keys(point.estimated).length > 0 : restsOn(point, request.target) !== "");
  const rows = points.map((point) => [care.setting(point.setting), `${served(point) ? ESTIMATE : ""}${signed(point.gain, 3)}`, `${restsOn(point, worst(point)[0])}${signed(worst(point)[1], 3)}`, mixtureText(point, byName)]);
  return [
    el(
      "div",
      { class: "slide" },
      el("div", { class: "slide-row" }, el("span", { text: care.ends[0] }), slider, el("span", { text: care.ends[1] })),
      el("p", { class: "slide-told" }, setting, el("span", { class: "hint" }, ` (${care.about})`)),
    ),
    out,
    framed("What care costs", chart, care.caption, null),
    tableBehind(() => dataTable("Mixtures along the slider", ["setting", "gain", "worst target", "mixture"], rows), "all mixtures along the slider"),
  ];
}

/** The target that fares worst and its predicted gain. */
function worst(point) {
  return Object.entries(point.predicted).map(([name, [gain]]) => [name, gain]).reduce((a, b) => (b[1] < a[1] ? b : a));
}

function mixtureText(point, byName) {
  return Object.entries(point.weights).sort((a, b) => b[1] - a[1]).map(([name, weight]) => `${percent(weight, 0)} ${cut(byName.get(name).short, 6)}`).join(", ");
}

function frontierChart(points, view) {
  return responsive((width) => {
    const ys = points.map((point) => point.gain);
    const care = CARE[view.kind];
    const xs = points.map(care.place);
    const { drawing, px, py } = axes(width, 240, { ...span(xs, false), title: care.axis }, { ...span(ys, false), title: "predicted gain" }, `Predicted gain against the ${care.axis}`);
    drawing.append(svg("polyline", { class: "trend quiet", points: points.map((_, at) => `${px(xs[at])},${py(ys[at])}`).join(" ") }));
    points.forEach((_, at) => drawing.append(svg("circle", { class: at === view.at ? "point chosen" : "point quiet", cx: px(xs[at]), cy: py(ys[at]), r: at === view.at ? 7 : 4 })));
    return drawing;
  });
}

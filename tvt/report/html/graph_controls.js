/* The graph with what chooses its edges, and its table. */

function graphSection() {
  const body = el("div", {});
  const update = () => fill(body, shown().tasks.length > 1 ? graphParts(shown()) : el("p", { class: "hint" }, "With a single task there is no transfer between tasks to draw."));
  onChange("study", update);
  update();
  return section(
    "graph",
    "The transfer graph",
    el("p", { class: "about" }, "An arrow leads from the task that was trained on to the task that it changes; the wider, the stronger. Drag a task, or focus it and use the arrow keys."),
    body,
  );
}

function graphParts(study) {
  const edges = edgesOf(study);
  if (!edges.length) return el("p", { class: "hint" }, "No transfer between tasks was measured.");
  const start = startThreshold(edges, study.tasks.length);
  const count = el("output", { class: "told", "aria-live": "polite" });
  const view = { threshold: start, sign: "both", sure: false, clique: null, near: null };
  const strongest = Math.abs(edges[0].value);
  const slider = el("input", { type: "range", min: 0, max: strongest.toFixed(3), step: 0.005, value: start.toFixed(3), "aria-label": "Least strength of a transfer that is drawn" });
  view.told = (visible) => {
    count.textContent = `${visible.length} of ${many(edges.length, "transfer")}, at least ${plainNumber(view.threshold, 2)} strong`;
  };
  const graph = new Graph(study, view);
  requestAnimationFrame(() => graph.draw()); // labels can be measured once they are on the page
  slider.addEventListener("input", () => {
    view.threshold = Number(slider.value);
    graph.draw();
  });
  const controls = el(
    "div",
    { class: "controls" },
    el("label", { class: "field wide" }, el("span", { class: "field-name", text: "Strength" }), slider, count),
    switcher("Show", [{ value: "both", text: "both" }, { value: "help", text: "help" }, { value: "harm", text: "harm" }], "both", (sign) => { view.sign = sign; graph.draw(); }),
    cliquePicker(study, view, graph),
    study.pgf.stands ? sureBox(view, graph) : null,
    el("button", { type: "button", class: "plain", on: { click: () => graph.reset() } }, "Reset places"),
  );
  return [
    controls,
    el("div", { class: "graph-box" }, graph.drawing),
    legend(key("line help", "helps"), key("line harm", "harms"), edges.some((edge) => edge.flips) ? key("line dashed", "dashed: sign flips between runs") : null),
    tableBehind(() => edgesTable(study, edges), "all transfers between tasks, strongest first"),
  ];
}

function cliquePicker(study, view, graph) {
  if (!study.cliques.length) return null;
  const options = study.cliques.map((of, at) => ({ value: String(at), text: `${of.tasks.length} that ${CLIQUES[of.kind]}: ${of.tasks.map((task) => cut(study.tasks[task].short, 6)).join(", ")}` }));
  return picker("Clique", [{ value: "", text: "none" }, ...options], "", (at) => {
    view.clique = at === "" ? null : Number(at);
    graph.draw();
  }, "clique");
}

function sureBox(view, graph) {
  const box = el("input", { type: "checkbox", on: { change: () => { view.sure = box.checked; graph.draw(); } } });
  return el("label", { class: "check" }, box, "only beyond the noise");
}

function edgesTable(study, edges) {
  const rows = edges.map((edge) => [
    el("span", {}, named(study.tasks[edge.from].label), " → ", named(study.tasks[edge.to].label)),
    signed(edge.value, 3),
    edge.flips ? "flips" : "holds",
    study.pgf.stands ? (edge.stands ? "yes" : "no") : DASH,
  ]);
  return dataTable("Transfers between tasks, strongest first", ["from → to", metricName(study), "sign", "beyond the noise"], rows);
}

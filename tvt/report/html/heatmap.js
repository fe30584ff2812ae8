/* The matrix: a table whose cells are coloured, walked with the arrow keys. */

const ORDERS = {
  cluster: "by likeness",
  study: "as in the study",
  name: "by name",
  transferability: "by transfer",
  level: "by level",
};

function heatmapSection() {
  const view = { order: "cluster", run: "mean", at: null };
  const [controls, grid, panel, rest] = ["div", "div", "div", "div"].map((tag) => el(tag, {}));
  controls.className = "controls";
  grid.className = "scroll heat-scroll";
  panel.className = "panel";
  panel.id = "cell-details";
  const draw = () => {
    const study = shown();
    fill(grid, heatmapTable(study, view, (i, j) => fill(panel, cellDetails(study, i, j))));
  };
  const update = () => {
    const study = shown();
    view.run = "mean";
    if (!study.orders[view.order]) view.order = "cluster";
    const runs = [{ value: "mean", text: "mean of the runs" }, ...study.runs.map((run, k) => ({ value: String(k), text: runName(run) }))];
    fill(
      controls,
      picker("Order", Object.keys(study.orders).map((order) => ({ value: order, text: ORDERS[order] })), view.order, (order) => { view.order = order; draw(); }, "order"),
      study.runs.length > 1 ? picker("Show", runs, "mean", (run) => { view.run = run; draw(); }, "runs") : null,
    );
    fill(panel, cellDetails(study, ...strongestCell(study)));
    fill(rest, heatmapLegend(study), tableBehind(() => cellsTable(study), "every transfer with its errors"));
    draw();
  };
  onChange("study", update);
  onChange("theme", draw);
  update();
  return section(
    "matrix",
    "Who helps whom",
    el("p", { class: "about" }, "Each row is a task that the model was finetuned on, each column one that it was scored on. Figures are PGF in hundredths: +12 means that 12% of the gap to a perfect score was closed."),
    controls,
    el("p", { class: "hint screen" }, "Point at a cell, or walk through the matrix with Tab and the arrow keys, to see what is behind it."),
    el("div", { class: "heat" }, grid, panel),
    rest,
  );
}

/** Where the largest transfer between tasks is; the first cell where there is none. */
function strongestCell(study) {
  const edge = edgesOf(study)[0];
  return edge ? [study.sources.indexOf(edge.from), study.targets.indexOf(edge.to)] : [0, 0];
}

/** The figure of a cell in what is shown: the mean, or a run's. */
function cellValue(study, view, i, j) {
  return view.run === "mean" ? study.pgf.mean[i][j] : study.pgf.runs[Number(view.run)][i][j];
}

function heatmapTable(study, view, show) {
  const { rows, columns } = study.orders[view.order];
  const side = Math.max(rows.length, columns.length);
  const size = side <= 16 ? "large" : side <= 30 ? "medium" : "small";
  const colour = diverging(study.pgf.limit);
  const cells = new Map();
  const table = el("table", { class: `heatmap ${size}`, role: "grid", "aria-label": `${metricName(study)} of ${rows.length} sources on ${columns.length} targets` });
  const labels = columns.map((j) => {
    const task = study.tasks[study.targets[j]];
    return el("th", { scope: "col", title: task.name, "aria-label": task.label }, el("bdi", { text: cut(task.short, 6) }));
  });
  table.append(el("thead", {}, el("tr", {}, el("td", { class: "corner" }, el("span", {}, "trained on ↓"), el("span", {}, "scored on →")), labels)));
  const body = el("tbody", {});
  rows.forEach((i, y) => {
    const task = study.tasks[study.sources[i]];
    const head = el("th", { scope: "row", title: task.name }, named(task.label, "long"), el("bdi", { class: "short", text: cut(task.short, 6) }));
    body.append(el("tr", {}, head, columns.map((j, x) => heatmapCell({ study, view, i, j, x, y, colour, size, cells, show }))));
  });
  table.append(body);
  table.addEventListener("keydown", (event) => walk(event, cells, columns.length, rows.length));
  const first = cells.get("0|0");
  if (first) first.tabIndex = 0;
  return table;
}

function heatmapCell({ study, view, i, j, x, y, colour, size, cells, show }) {
  const value = cellValue(study, view, i, j);
  const [source, target] = [study.tasks[study.sources[i]], study.tasks[study.targets[j]]];
  const classes = ["cell"];
  if (study.sources[i] === study.targets[j]) classes.push("self");
  if (value === null) classes.push("missing");
  else if (study.pgf.unstable[i][j] && view.run === "mean") classes.push("flips");
  if (study.pgf.stands && study.pgf.stands[i][j]) classes.push("stands");
  const text = value === null ? "" : plainNumber(100 * value, 0);
  const cell = el("td", {
    class: classes.join(" "),
    role: "gridcell",
    tabindex: "-1",
    "data-at": `${x}|${y}`,
    "aria-label": `${source.label} on ${target.label}: ${value === null ? `not measured${estimateOf(study, i, j) ? `, estimated as ${estimateText(study, i, j)}` : ""}` : `${signed(value)}, ${verb(value)}`}`,
    text: size === "small" ? "" : text,
  });
  if (value !== null) {
    const { ground, ink } = colour(value);
    cell.style.backgroundColor = ground;
    cell.style.color = ink;
  }
  cell.addEventListener("mouseenter", () => show(i, j));
  cell.addEventListener("focus", () => {
    for (const other of cells.values()) if (other.tabIndex === 0) other.tabIndex = -1;
    cell.tabIndex = 0;
    show(i, j);
  });
  cell.addEventListener("click", () => cell.focus());
  cells.set(`${x}|${y}`, cell);
  return cell;
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Arrow keys move by one cell; Home and End to the ends of the row. */
function walk(event, cells, width, height) {
  const at = event.target.dataset.at;
  if (!at) return;
  let [x, y] = at.split("|").map(Number);
  if (STEPS[event.key]) {
    x += STEPS[event.key][0];
    y += STEPS[event.key][1];
  } else if (event.key === "Home") x = 0;
  else if (event.key === "End") x = width - 1;
  else return;
  event.preventDefault();
  const next = cells.get(`${Math.min(width - 1, Math.max(0, x))}|${Math.min(height - 1, Math.max(0, y))}`);
  if (next) next.focus();
}

function heatmapLegend(study) {
  const limit = plainNumber(100 * study.pgf.limit, 0);
  const self = study.sources.some((at) => study.targets.includes(at));
  return legend(
    el("span", { class: "key scale" }, `harm \u2212${limit}`, el("span", { class: "ramp", "aria-hidden": "true" }), `+${limit} help`),
    self ? key("outlined", "trained on itself") : null,
    study.noise.flips ? key("corner-dot", "sign flips between runs") : null,
    study.pgf.stands && Math.max(study.sources.length, study.targets.length) <= 30 ? key("bold", "bold: beyond the noise") : null,
    study.noise.missing ? key("hatched", "not measured") : null,
  );
}

/** Every cell as a row. */
function cellsTable(study) {
  const { pgf } = study;
  const rows = study.sources.flatMap((s, i) =>
    study.targets.map((t, j) => [
      el("span", {}, named(study.tasks[s].label), " → ", named(study.tasks[t].label)),
      signed(pgf.mean[i][j], 3),
      plainNumber(pgf.seSeed[i][j], 3),
      plainNumber(pgf.seItem[i][j], 3),
      percent(average(study.runs.map((_, k) => pgf.base[k][j]))),
      percent(average(study.runs.map((_, k) => pgf.after[k][i][j]))),
      pgf.mean[i][j] === null ? [...reasonsOf(study, i, j), ...(estimateOf(study, i, j) ? [estimateText(study, i, j)] : [])].join("; ") : pgf.unstable[i][j] ? "flips" : "holds",
    ]),
  );
  return dataTable("Every transfer", ["from → to", metricName(study), "± runs", "± questions", "before", "after", "sign"], rows);
}

/* Transfer between groups of tasks: perceptual levels and granularities, where the tasks have them. */

const GROUPINGS = { level: "perceptual level", granularity: "granularity" };

function groupParts(study) {
  const found = Object.entries(study.groups);
  if (!found.length) return null;
  return [
    el("h3", { text: "Groups of tasks" }),
    el("p", { class: "about" }, "Mean transfer from the tasks of one group to those of another, a task's transfer to itself left out. Whiskers: 95% interval from the runs alone; the few questions add more."),
    el("div", { class: "pair" }, found.map(([by, of]) => groupPlot(study, by, of))),
  ];
}

function groupPlot(study, by, of) {
  const cells = Object.entries(of.mean).flatMap(([from, row]) => Object.entries(row).map(([to, cell]) => ({ from, to, ...cell })));
  const names = (group) => of.members[group].map((name) => study.tasks.find((task) => task.name === name).label);
  const rows = cells.map((cell) => ({
    label: `${cell.from} → ${cell.to}`,
    series: [{ value: cell.mean, low: cell.low, high: cell.high, kind: cell.mean < 0 ? "harm" : "help" }],
    text: signed(cell.mean),
  }));
  const members = Object.keys(of.members).map((group) => `${group}: ${names(group).join(", ")}`);
  const left = of.ungrouped.length ? ` Without one: ${of.ungrouped.length} of ${study.tasks.length} tasks.` : "";
  return framed(
    `By ${GROUPINGS[by] || by}`,
    dotPlot(rows, { label: `Transfer between groups by ${by}`, title: metricName(study) }),
    el("span", { dir: "auto" }, `${members.join("; ")}.${left}`),
    tableBehind(
      () => dataTable(`Transfer between groups by ${by}`, ["from → to", "mean", "95% interval", "± questions", "cells"], cells.map((cell) => [`${cell.from} → ${cell.to}`, signed(cell.mean, 3), `${signed(cell.low, 3)} to ${signed(cell.high, 3)}`, plainNumber(cell.se_items, 3), String(cell.cells)])),
      `groups by ${GROUPINGS[by] || by}`,
    ),
  );
}

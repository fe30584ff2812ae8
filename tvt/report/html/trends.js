/* How transfer goes with the model's size, and with the dose. */

function trendsSection() {
  const body = el("div", {});
  const update = () => fill(body, [data.trend.length ? scaleTrend() : null, shown().doses ? doseTrend(shown()) : null]);
  const some = data.trend.length > 0 || data.studies.some((study) => study.doses);
  if (!some) return null;
  onChange("study", update);
  update();
  return section("trends", "Trends", body);
}

/** Lines with intervals over some places: series of {name, kind, points: [{x, value, low, high}]}. */
function trendChart(series, places, titles, label) {
  return responsive((width) => {
    const values = series.flatMap((of) => of.points.flatMap((point) => [point.value, point.low, point.high]));
    const xs = places.map((place) => place.value);
    const spread = titles.log ? { low: Math.min(...xs) / 1.4, high: Math.max(...xs) * 1.4 } : { low: Math.min(...xs) - titles.margin, high: Math.max(...xs) + titles.margin };
    const { drawing, px, py } = axes(width, 320, { ...spread, title: titles.x, at: places, log: titles.log }, { ...span(values), title: titles.y }, label);
    for (const of of series) {
      const known = of.points.filter((point) => point.value !== null);
      if (titles.line) drawing.append(svg("polyline", { class: `trend ${of.kind}`, points: known.map((point) => `${px(point.x)},${py(point.value)}`).join(" ") }));
      for (const point of known) {
        if (point.low !== null) drawing.append(svg("line", { class: `reach ${of.kind}`, x1: px(point.x), x2: px(point.x), y1: py(point.low), y2: py(point.high) }));
        drawing.append(svg("circle", { class: `point ${of.kind}`, cx: px(point.x), cy: py(point.value), r: 4.5 }, svg("title", { text: `${of.name}: ${signed(point.value, 3)}` })));
      }
    }
    return drawing;
  });
}

function scaleTrend() {
  const sized = data.trend.every((point) => point.parameters !== null) && new Set(data.trend.map((p) => p.parameters)).size === data.trend.length / 2;
  const studies = data.trend.filter((point) => point.sign === "positive");
  const places = studies.map((point, at) => (sized ? { value: point.parameters, text: `${point.parameters}B` } : { value: at, text: isolated(point.study, 14) }));
  const chart = (side, title) => {
    const of = (point) => (side === "transferability" ? point : point.malleability);
    const series = ["positive", "negative"].map((sign) => ({
      name: sign,
      kind: sign === "positive" ? "help" : "harm",
      points: data.trend.filter((point) => point.sign === sign).map((point, at) => ({ x: places[at].value, value: of(point).mean, low: of(point).low, high: of(point).high })),
    }));
    const titles = { x: sized ? "parameters of the model" : "study", y: title, log: sized, margin: 0.5, line: sized };
    return framed(null, trendChart(series, places, titles, `${title} by ${titles.x}`), null, null);
  };
  const rows = data.trend.map((point) => [
    el("span", {}, named(point.study), ` (${point.sign})`),
    signed(point.mean, 3), `${signed(point.low, 3)} to ${signed(point.high, 3)}`,
    signed(point.malleability.mean, 3), `${signed(point.malleability.low, 3)} to ${signed(point.malleability.high, 3)}`,
  ]);
  return [
    el("h3", { text: sized ? "With the model's size" : "From study to study" }),
    el("div", { class: "pair" }, chart("transferability", "mean transferability"), chart("malleability", "mean malleability")),
    legend(key("point help", "help"), key("point harm", "harm"), "lines: 95% interval from the runs"),
    tableBehind(() => dataTable("Trend", ["study", "transferability", "95% interval", "malleability", "95% interval"], rows), "trend"),
    data.agreement.length ? tableBehind(() => agreementTable(), "do the studies' matrices agree?") : null,
  ];
}

function agreementTable() {
  return dataTable("Rank correlation of the transfers between tasks", ["studies", "Spearman", "cells"], data.agreement.map((of) => [el("span", {}, listed(of.studies.map((name) => named(name)))), signed(of.spearman), String(of.cells)]));
}

function doseTrend(study) {
  const places = study.doses.map((point) => ({ value: point.dose, text: percent(point.dose, 0) }));
  const series = ["positive", "negative"].map((sign) => ({
    name: sign,
    kind: sign === "positive" ? "help" : "harm",
    points: study.doses.map((point) => ({ x: point.dose, value: point[sign].mean, low: point[sign].low, high: point[sign].high })),
  }));
  const rows = study.doses.map((point) => [percent(point.dose, 0), signed(point.positive.mean, 3), signed(point.negative.mean, 3), signed(point.pattern.mean), String(point.runs), String(point.cells)]);
  return [
    el("h3", { text: "With the dose" }),
    trendChart(series, places, { x: "part of the training budget", y: "mean transferability", log: false, margin: 0.06, line: true }, "Mean transferability by dose"),
    el("p", { class: "about" }, "Lines: 95% interval from the runs. Pattern, in the table, is the rank correlation of the transfers at a dose with those at the full budget."),
    tableBehind(() => dataTable("Doses", ["dose", "help", "harm", "pattern", "runs", "cells"], rows), "doses"),
  ];
}

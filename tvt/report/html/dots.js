/* Dot plots with whiskers, as HTML: one row per name, so that they wrap, print and can be read at any width. */

/**
 * A dot plot.
 *
 * `rows`: {label, series: [{value, low, high, kind, cloud?}], text, strong?, group?}; `kind` is a CSS class (help, harm, ...),
 * `cloud` single values drawn small, `text` what stands at the right. `options`: {low, high, title, label}.
 */
function dotPlot(rows, options) {
  const all = rows.flatMap((row) => row.series.flatMap((of) => [of.value, of.low, of.high, ...(of.cloud || [])]));
  const reach = options.low === undefined ? span(all) : { low: options.low, high: options.high };
  const place = (value) => `${(100 * (Math.min(reach.high, Math.max(reach.low, value)) - reach.low)) / (reach.high - reach.low)}%`;
  const marks = ticks(reach.low, reach.high, innerWidth < 640 ? 2 : 4);
  const track = (row) =>
    el(
      "div",
      { class: "track" },
      marks.values.map((value) => el("i", { class: Math.abs(value) < 1e-12 ? "rule zero" : "rule", style: { left: place(value) } })),
      row.series.map((of) => dot(of, place)),
    );
  return el(
    "div",
    { class: `dots ${options.extra || ""}`, role: "img", "aria-label": options.label },
    rows.map((row) =>
      el(
        "div",
        { class: row.strong ? "dot-row strong" : "dot-row" },
        el("div", { class: "dot-name" }, typeof row.label === "string" ? named(row.label) : row.label),
        track(row),
        el("div", { class: "dot-text" }, row.text || ""),
      ),
    ),
    el(
      "div",
      { class: "dot-row dot-axis" },
      el("div", { class: "dot-name", text: options.title || "" }),
      el(
        "div",
        { class: "track" },
        marks.values.map((value) => el("span", { class: "tick", style: { left: place(value) }, text: plainNumber(value, marks.digits) })),
      ),
      el("div", { class: "dot-text" }),
    ),
  );
}

function dot(of, place) {
  if (of.value === null || of.value === undefined) return null;
  const whisker =
    of.low === null || of.low === undefined
      ? null
      : el("i", { class: `whisker ${of.kind}`, style: { left: place(of.low), right: `calc(100% - ${place(of.high)})` } });
  const cloud = (of.cloud || []).map((value) => el("i", { class: `speck ${of.kind}`, style: { left: place(value) } }));
  return [whisker, cloud, el("i", { class: `dot ${of.kind}`, style: { left: place(of.value) } })];
}

/** Bars from 0, one a row: {label, value, text}; `most` is the length of a whole bar. */
function bars(rows, most, label) {
  return el(
    "div",
    { class: "bars", role: "img", "aria-label": label },
    rows.map((row) =>
      el(
        "div",
        { class: "bar-row" },
        el("div", { class: "dot-name" }, named(row.label)),
        el("div", { class: "track" }, el("i", { class: "bar-fill", style: { width: `${(100 * row.value) / most}%` } })),
        el("div", { class: "dot-text" }, row.text),
      ),
    ),
  );
}

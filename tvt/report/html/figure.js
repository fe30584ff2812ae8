/* Frames for pictures, and SVG charts that are drawn anew for the width they have. */

/** A section of the report. */
function section(id, title, ...children) {
  const heading = el("h2", { id: `${id}-title`, text: title });
  return el("section", { id, "aria-labelledby": `${id}-title` }, heading, ...children);
}

/** A picture with what it shows and its table. */
function framed(title, picture, caption, table) {
  return el(
    "figure",
    {},
    title ? el("h3", {}, title) : null,
    picture,
    caption ? el("figcaption", {}, caption) : null,
    table || null,
  );
}

/** A box whose content `draw(width)` makes, anew whenever its width changes. */
function responsive(draw, extra) {
  const box = el("div", { class: `chart ${extra || ""}`.trim() });
  let drawn = 0;
  const update = () => {
    const width = Math.floor(box.clientWidth);
    if (width && width !== drawn) {
      drawn = width;
      fill(box, draw(width));
    }
  };
  new ResizeObserver(update).observe(box);
  box.redraw = () => {
    drawn = 0;
    update();
  };
  return box;
}

/** A mark for a legend: `kind` is a CSS class. */
function key(kind, text) {
  return el("span", { class: "key" }, el("span", { class: `mark ${kind}`, "aria-hidden": "true" }), text);
}

function legend(...keys) {
  return el("p", { class: "legend" }, keys);
}

/**
 * Axes of an SVG chart. `x` and `y` are {low, high, title, at?: list of {value, text}, log?}. Returns the frame, and functions
 * from a value to its place.
 */
function axes(width, height, x, y, label) {
  const box = { left: 70, right: 16, top: 14, bottom: 44 };
  const scale = (axis, from, to) => {
    const move = axis.log ? Math.log : (value) => value;
    const [low, high] = [move(axis.low), move(axis.high)];
    return (value) => from + ((move(value) - low) / (high - low || 1)) * (to - from);
  };
  const px = scale(x, box.left, width - box.right);
  const py = scale(y, height - box.bottom, box.top);
  const drawing = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  const marks = (axis, about) => axis.at || (({ values, digits }) => values.map((v) => ({ value: v, text: plainNumber(v, digits) })))(ticks(axis.low, axis.high, about));
  for (const { value, text } of marks(y, 5)) {
    drawing.append(
      svg("line", { class: Math.abs(value) < 1e-12 ? "zero" : "grid", x1: box.left, x2: width - box.right, y1: py(value), y2: py(value) }),
      svg("text", { class: "tick", x: box.left - 8, y: py(value) + 4, "text-anchor": "end", text }),
    );
  }
  for (const { value, text } of marks(x, Math.max(2, Math.min(6, width / 90)))) {
    drawing.append(
      svg("line", { class: Math.abs(value) < 1e-12 && !x.log ? "zero" : "grid", x1: px(value), x2: px(value), y1: box.top, y2: height - box.bottom }),
      svg("text", { class: "tick", x: px(value), y: height - box.bottom + 18, "text-anchor": "middle", text }),
    );
  }
  drawing.append(
    svg("text", { class: "axis", x: (box.left + width - box.right) / 2, y: height - 6, "text-anchor": "middle", text: x.title }),
    svg("text", { class: "axis", x: 0, y: 0, transform: `translate(12 ${(box.top + height - box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle", text: y.title }),
  );
  return { drawing, px, py };
}

/** The span of some values with a margin, 0 in it where `zero` says so; null is left out. */
function span(values, zero = true) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (zero) known.push(0);
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (!known.length) [low, high] = [0, 1];
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  return { low: low - (low < 0 || !zero ? margin : 0), high: high + (high > 0 || !zero ? margin : 0) };
}

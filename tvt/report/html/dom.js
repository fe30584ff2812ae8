/* Making elements, and writing names and numbers. Data gets into the page as text alone, never as HTML. */

const SVG = "http://www.w3.org/2000/svg";
const DASH = "–";

/** Put attributes and children on a node. `on` holds listeners, `text` the text; null and false are left out. */
function dress(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (key === "text") {
      node.textContent = value;
    } else if (key === "style") {
      for (const [property, setting] of Object.entries(value)) node.style.setProperty(property, setting);
    } else {
      node.setAttribute(key, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element; children are nodes or plain text. */
function el(tag, attributes, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function svg(tag, attributes, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

/** Replace what a node holds. */
function fill(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A name of a task (or of anything else that people named): isolated, so that its direction stays its own. */
function named(text, extra) {
  return el("bdi", { class: `name ${extra || ""}`.trim(), title: text, text });
}

/** Text cut at so many characters as people see them. */
function cut(text, most) {
  const letters = Array.from(text);
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join("")}…`;
}

/** Text for SVG, which has no bdi: cut, and isolated by Unicode's own marks. */
function isolated(text, most) {
  return `\u2068${cut(text, most)}\u2069`;
}

/** A sentence with names in it: a name that runs, or might run, from right to left is isolated from the rest. */
function sentence(text, tasks) {
  const odd = tasks.map((task) => task.label).filter((label) => /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc]/.test(label));
  let parts = [typeset(text)];
  for (const label of odd.sort((a, b) => b.length - a.length)) {
    parts = parts.flatMap((part) => (typeof part === "string" ? part.split(label).flatMap((piece, at) => (at ? [el("bdi", { text: label }), piece] : [piece])) : [part]));
  }
  return parts;
}

/** A number with a proper minus, or a dash where it is not known. */
function plainNumber(value, digits = 2) {
  if (value === null || value === undefined) return DASH;
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? (0).toFixed(digits) : text).replace("-", "\u2212");
}

/** A number with its sign. */
function signed(value, digits = 2) {
  if (value === null || value === undefined) return DASH;
  const text = plainNumber(value, digits);
  return Number(value.toFixed(digits)) > 0 ? `+${text}` : text;
}

/** A sentence that was made for a terminal, with a proper minus and times. */
function typeset(text) {
  return text.replace(/(?<=[\s(])-(?=\d)/g, "\u2212").replace(/(?<=\d \w+) x (?=\d)/g, " × ").replaceAll("<=", "≤");
}

/** A share as a percentage. */
function percent(value, digits = 1) {
  return value === null || value === undefined ? DASH : `${plainNumber(100 * value, digits)}%`;
}

/** A p-value. */
function pText(value) {
  if (value === null || value === undefined) return DASH;
  return value < 0.0001 ? "< 0.0001" : value.toPrecision(2);
}

/** A p-value as an equation. */
function pEquals(value) {
  return value !== null && value < 0.0001 ? "p < 0.0001" : `p = ${pText(value)}`;
}

/** A count that may be a sum of credits. */
function countText(value) {
  if (value === null || value === undefined) return DASH;
  return Math.abs(value - Math.round(value)) < 0.01 ? String(Math.round(value)) : value.toFixed(1);
}

/** "1 run", "4 runs". */
function many(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** "a, b and c" of nodes or texts. */
function listed(items) {
  return items.flatMap((item, at) => (at === 0 ? [item] : [at === items.length - 1 ? " and " : ", ", item]));
}

/** Round figures for an axis that spans low to high. */
function ticks(low, high, about = 5) {
  const raw = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
  return { step, values: found, digits: Math.max(0, Math.min(4, -Math.floor(Math.log10(step) + 1e-9) + (step / power === 2.5 ? 1 : 0))) };
}

/* The table behind a picture. */

/**
 * A table. `head` are column titles (text), `rows` lists of cells (text, number as text, or nodes); the first cell of a row is
 * its header. Columns from the second on stand right where they hold figures.
 */
function dataTable(caption, head, rows) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      { class: "data" },
      el("caption", { class: "unseen", text: caption }),
      el("thead", {}, el("tr", {}, head.map((title) => el("th", { scope: "col" }, title)))),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            {},
            row.map((cell, at) => el(at === 0 ? "th" : "td", at === 0 ? { scope: "row" } : { class: figure(cell) ? "figure" : null }, cell)),
          ),
        ),
      ),
    ),
  );
}

function figure(cell) {
  return typeof cell === "string" && /^[+\u2212<]?\s?[\d.,]+|^–$/.test(cell);
}

/** A fold that makes its table when it is first opened; `make` gives the table. */
function tableBehind(make, what) {
  const inside = el("div", {});
  const fold = el(
    "details",
    {
      class: "behind",
      on: {
        toggle: () => {
          if (fold.open && !inside.childNodes.length) inside.append(make());
        },
      },
    },
    el("summary", {}, `Table: ${what}`),
    inside,
  );
  return fold;
}

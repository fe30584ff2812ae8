/* How alike the sources' adapters are, where that was asked for. */

function adaptersSection() {
  if (!data.studies.some((study) => study.adapters)) return null;
  const body = el("div", {});
  const update = () => fill(body, shown().adapters ? adapterParts(shown().adapters) : el("p", { class: "hint" }, "Not computed for this study."));
  onChange("study", update);
  onChange("theme", update);
  update();
  return section(
    "adapters",
    "Likeness of the adapters",
    el("p", { class: "about" }, "The cosine between what finetuning on two tasks did to the weights, mean over the runs: 1 is the same direction, 0 is unrelated. Runs that start from the same random weights look more alike than the tasks make them; the table shows the cosine between different runs beside it."),
    body,
  );
}

function adapterParts(of) {
  const colour = diverging(1);
  const table = el("table", { class: `heatmap ${of.sources.length <= 16 ? "large" : "medium"}`, "aria-label": "Likeness of adapters" });
  const head = of.sources.map((name) => el("th", { scope: "col", title: name }, el("bdi", { text: cut(name, 4) })));
  table.append(el("thead", {}, el("tr", {}, el("td", { class: "corner" }), head)));
  table.append(
    el(
      "tbody",
      {},
      of.sources.map((one) =>
        el(
          "tr",
          {},
          el("th", { scope: "row", title: one }, named(one.replaceAll("_", " "))),
          of.sources.map((other) => {
            const value = of.similarity[one][other];
            const cell = el("td", { class: value === null ? "cell missing" : "cell", text: value === null ? "" : plainNumber(value) });
            if (value !== null) {
              const { ground, ink } = colour(value);
              cell.style.backgroundColor = ground;
              cell.style.color = ink;
            }
            return cell;
          }),
        ),
      ),
    ),
  );
  const pairs = of.sources.flatMap((one, i) => of.sources.slice(i + 1).map((other) => [el("span", {}, named(one), " and ", named(other)), signed(of.similarity[one][other]), signed(of.between_runs[one][other])]));
  return [el("div", { class: "scroll" }, table), tableBehind(() => dataTable("Pairs", ["pair", "same run", "different runs"], pairs), "all pairs")];
}

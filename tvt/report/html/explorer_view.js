/* One mixture of the explorer: what it is made of, what is promised, and the command that gives it. */

function pointView(study, request, point, byName) {
  const label = (name) => byName.get(name).label;
  const parts = Object.entries(point.weights).sort((a, b) => b[1] - a[1]);
  const most = Math.max(...parts.map(([, weight]) => weight), 0.01);
  const mixture = parts.map(([name, weight]) => ({ label: label(name), value: weight, text: `${percent(weight)} · ${(point.counts[name] || 0).toLocaleString("en")}` }));
  const asked = (name) => request.target === name;
  const gains = Object.entries(point.predicted).sort((a, b) => asked(b[0]) - asked(a[0]) || b[1][0] - a[1][0]);
  const rows = gains.map(([name, [gain, low, high]]) => ({
    label: label(name),
    series: [{ value: gain, low, high, kind: `${gain < 0 ? "harm" : "help"}${restsOn(point, name) ? " estimated" : ""}` }],
    text: `${restsOn(point, name)}${signed(gain)}`,
    strong: asked(name),
  }));
  return [
    point.verdict === "nothing_helps" ? el("p", { class: "notice" }, "No source credibly helps here, or no mixture beats the base model. The honest answer is not to train for this; below is the least bad mixture (--anyway).") : null,
    el("p", { class: "finding" }, promise(request, point, label)),
    el(
      "div",
      { class: "pair" },
      framed(
        "Train on",
        bars(mixture, most, "Weights of the mixture"),
        "Share of the budget, and examples.",
        tableBehind(() => dataTable("Mixture", ["source", "share", "examples"], parts.map(([name, weight]) => [named(label(name)), percent(weight, 2), String(point.counts[name] || 0)])), "mixture"),
      ),
      framed(
        "Predicted gains",
        dotPlot(rows, { label: "Predicted gain of every target", title: metricName(study) }),
        `Whiskers: the predicted interval.${unmeasured(point, label)}`,
        tableBehind(() => dataTable("Predicted gains", ["target", "gain", "low", "high"], gains.map(([name, [gain, ...ends]]) => [named(label(name)), `${restsOn(point, name)}${signed(gain, 3)}`, ...ends.map((v) => signed(v, 3))])), "predicted gains"),
      ),
    ),
    commandBox(point.command),
  ];
}

/** The mark of a target's predicted gain where it rests on cells that were not measured. */
function restsOn(point, name) {
  return Object.hasOwn(point.estimated, name) ? ESTIMATE : "";
}

/** What the mark means here. */
function unmeasured(point, label) {
  const pairs = Object.entries(point.estimated).flatMap(([target, sources]) => sources.map((source) => `${label(source)} on ${label(target)}`));
  if (!pairs.length) return "";
  const more = pairs.length > 4 ? ` and ${pairs.length - 4} more` : "";
  return ` ${ESTIMATE} and hollow: rests on cells that were not measured but estimated (${pairs.slice(0, 4).join(", ")}${more}).`;
}

/** The promise in a sentence: gain, and who pays. */
function promise(request, point, label) {
  const whole = request.target === null ? ["Mean predicted gain over all targets: ", el("b", { text: `${Object.keys(point.estimated).length ? ESTIMATE : ""}${signed(point.gain, 3)}` })] : oneTarget(request.target, point, label);
  const losers = Object.entries(point.predicted).filter(([, [gain]]) => gain < -0.0005).sort((a, b) => a[1][0] - b[1][0]);
  const sure = losers.filter(([, [, , high]]) => high < 0).length;
  if (!losers.length) return [...whole, ". No target is predicted to lose."];
  const shown = losers.slice(0, 4).map(([name, [gain]]) => el("span", {}, named(label(name)), ` (${restsOn(point, name)}${signed(gain)})`));
  const more = losers.length > 4 ? [` and ${losers.length - 4} more`] : [];
  const certain = sure ? `; for ${sure === losers.length ? (sure === 1 ? "it" : "all of them") : sure} the whole interval is below 0` : "";
  return [...whole, `. Predicted to lose: `, ...(more.length ? shown.flatMap((node, at) => (at ? [", ", node] : [node])) : listed(shown)), ...more, `${certain}.`];
}

function oneTarget(target, point, label) {
  const [gain, low, high] = point.predicted[target];
  return ["Predicted gain of ", named(label(target)), ": ", el("b", { text: `${restsOn(point, target)}${signed(gain, 3)}` }), ` (${signed(low, 2)} to ${signed(high, 2)})`];
}

/** The command with a button that copies it. */
function commandBox(command) {
  const code = el("code", { class: "command", tabindex: "0", dir: "ltr", text: command });
  const told = el("span", { class: "copied", role: "status" });
  const copy = async () => {
    let done = false;
    try {
      await navigator.clipboard.writeText(command);
      done = true;
    } catch {
      // No clipboard for this page: the selection and the browser's own copying are left.
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    told.textContent = done ? "copied" : "press Ctrl+C";
  };
  return el("div", { class: "command-box" }, el("h3", { text: "The command that gives this mixture" }), code, el("button", { type: "button", class: "copy", on: { click: copy } }, "Copy"), told);
}

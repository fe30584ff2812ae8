/* Putting the page together. */

function studySwitch() {
  if (data.studies.length < 2) return null;
  const options = data.studies.map((study, at) => ({ value: String(at), text: study.name }));
  return picker("Study", options, "0", (at) => chooseStudy(Number(at)), "study");
}

const parts = [
  ["Findings", headlineSection],
  ["Matrix", heatmapSection],
  ["Graph", graphSection],
  ["Tasks", personasSection],
  ["Trends", trendsSection],
  ["Adapters", adaptersSection],
  ["Mixtures", explorerSection],
  ["Result", comparisonSection],
  ["Origin", provenanceSection],
];

const page = document.getElementById("main");
fill(page);
const links = [];
for (const [word, make] of parts) {
  const made = make();
  if (made) {
    page.append(made);
    links.push(el("a", { href: `#${made.id}` }, word));
  }
}
fill(document.querySelector(".sections"), links);
fill(document.querySelector(".tools"), studySwitch(), themeButton());
fill(document.querySelector("footer"), el("p", {}, `Made by tvt ${data.version}. This file holds everything it shows and loads nothing from any network.`));

/* On paper: light colours, and every text open; tables behind pictures stay as the reader left them. */
let before = null;
addEventListener("beforeprint", () => {
  if (before !== null) return;
  before = { theme: document.documentElement.dataset.theme, folds: [...document.querySelectorAll("details.fold:not([open])")] };
  for (const fold of before.folds) fold.open = true;
  setTheme("light");
});
addEventListener("afterprint", () => {
  if (before === null) return;
  for (const fold of before.folds) fold.open = false;
  setTheme(before.theme || null);
  before = null;
});

document.documentElement.dataset.ready = "yes";

/* What the reader has chosen, and who wants to know. */

const data = JSON.parse(document.getElementById("data").textContent);

const state = { study: 0 };
const listeners = { study: [], theme: [] };

/** Call back whenever a choice changes. */
function onChange(what, listener) {
  listeners[what].push(listener);
}

function tell(what) {
  for (const listener of listeners[what]) listener();
}

/** The study that the sections show. */
function shown() {
  return data.studies[state.study];
}

/** The studies that were measured: the others are what their sources do beyond any finetuning. */
const measured = data.studies.filter((study) => !study.of);

/** Show another study. */
function chooseStudy(at) {
  state.study = at;
  tell("study");
}

/** Whether the page is dark now, by choice or by the system's. */
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Set the theme; null goes back to the system's. */
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  tell("theme");
}

/** The button that changes light and dark. */
function themeButton() {
  const button = el("button", { type: "button", class: "theme", on: { click: () => setTheme(isDark() ? "light" : "dark") } });
  const update = () => {
    const other = isDark() ? "light" : "dark";
    button.textContent = isDark() ? "☀" : "☾";
    button.setAttribute("aria-label", `Switch to ${other} colours`);
    button.title = `Switch to ${other} colours`;
  };
  onChange("theme", update);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => tell("theme"));
  update();
  return button;
}

/** A labelled list to choose from; options are {value, text}. */
function picker(label, options, value, onPick, extra) {
  const select = el(
    "select",
    { on: { change: () => onPick(select.value) } },
    options.map((option) => el("option", { value: option.value, text: cut(option.text, 60), selected: option.value === value })),
  );
  return el("label", { class: `field ${extra || ""}`.trim() }, el("span", { class: "field-name", text: label }), select);
}

/** A group of radio buttons that looks like one switch; options are {value, text}. */
function switcher(label, options, value, onPick) {
  switcher.count = (switcher.count || 0) + 1;
  const group = `switch-${switcher.count}`;
  return el(
    "fieldset",
    { class: "switch" },
    el("legend", { class: "field-name", text: label }),
    el(
      "div",
      { class: "switch-row" },
      options.map((option) =>
        el(
          "label",
          {},
          el("input", {
            type: "radio",
            name: group,
            value: option.value,
            checked: option.value === value,
            on: { change: () => onPick(option.value) },
          }),
          el("span", {}, el("bdi", { text: cut(option.text, 40), title: option.text })),
        ),
      ),
    ),
  );
}

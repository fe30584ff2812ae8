/* The task-transfer graph: a drawing that can be dragged, and walked with the keyboard. */

/** The drawing's own units; on a phone it is narrow and tall, so that its text stays readable. */
function graphSize() {
  return innerWidth < 640 ? { width: 440, height: 560, margin: 45 } : { width: 960, height: 600, margin: 95 };
}

const MOST_EDGES = 60;

/** All transfers between tasks, strongest first. */
function edgesOf(study) {
  const found = study.sources.flatMap((s, i) =>
    study.targets.map((t, j) => ({ from: s, to: t, value: study.pgf.mean[i][j], flips: study.pgf.unstable[i][j] === 1, stands: !!(study.pgf.stands && study.pgf.stands[i][j]) })),
  );
  return found.filter((edge) => edge.from !== edge.to && edge.value !== null && edge.value !== 0).sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
}

/** The threshold that shows a readable number of edges. */
function startThreshold(edges, nodes) {
  const most = Math.min(MOST_EDGES, 2 * nodes);
  return edges.length <= most ? 0 : Math.abs(edges[most - 1].value);
}

/** The graph of a study. `view` says what is shown; `draw()` brings the drawing up to date. */
class Graph {
  constructor(study, view) {
    this.study = study;
    this.view = view;
    this.edges = edgesOf(study);
    this.size = graphSize();
    this.radius = study.tasks.length <= 24 ? 21 : study.tasks.length <= 40 ? 13 : 9;
    this.drawing = svg("svg", { class: "graph", viewBox: `0 0 ${this.size.width} ${this.size.height}`, role: "group", "aria-label": "Graph of transfers between tasks" });
    this.under = svg("g", {});
    this.over = svg("g", {});
    this.drawing.append(this.under, this.over);
    this.reset();
  }

  /** Put every node where it starts. */
  reset() {
    const { width, height, margin } = this.size;
    this.places = this.study.layout.map(([x, y]) => ({ x: margin + x * (width - 2 * margin), y: 45 + y * (height - 105) }));
    this.nodes = this.study.tasks.map((task, at) => this.node(task, at));
    fill(this.over, this.nodes);
    this.draw();
  }

  node(task, at) {
    const few = this.study.tasks.length <= 24;
    const group = svg(
      "g",
      { class: "node", tabindex: "0", role: "img", "aria-label": `${task.label}; arrow keys move it`, "data-node": at },
      svg("title", { text: task.name }),
      svg("circle", { r: this.radius }),
      this.radius > 10 ? svg("text", { class: "inside", y: 4, text: isolated(task.short, 4) }) : svg("text", { class: "beside", y: this.radius + 10, text: isolated(task.short, 5) }),
      few && task.label !== task.short ? svg("text", { class: "outside", y: this.radius + 14, text: isolated(task.label, 26) }) : null,
    );
    const pick = (on) => () => {
      this.view.near = on ? at : null;
      this.draw();
    };
    for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focus", true], ["blur", false]]) group.addEventListener(event, pick(on));
    group.addEventListener("pointerdown", (event) => this.grab(event, group, at));
    group.addEventListener("keydown", (event) => this.step(event, at));
    return group;
  }

  /** Follow the pointer until it is let go. */
  grab(event, group, at) {
    event.preventDefault();
    group.focus();
    group.setPointerCapture(event.pointerId);
    const move = (next) => {
      const point = new DOMPoint(next.clientX, next.clientY).matrixTransform(this.drawing.getScreenCTM().inverse());
      this.move(at, point.x, point.y);
    };
    const end = () => {
      group.removeEventListener("pointermove", move);
      group.removeEventListener("pointerup", end);
      group.removeEventListener("pointercancel", end);
    };
    group.addEventListener("pointermove", move);
    group.addEventListener("pointerup", end);
    group.addEventListener("pointercancel", end);
  }

  step(event, at) {
    if (!STEPS[event.key]) return;
    event.preventDefault();
    const [x, y] = STEPS[event.key];
    this.move(at, this.places[at].x + 14 * x, this.places[at].y + 14 * y);
  }

  move(at, x, y) {
    const inside = (v, most) => Math.min(most - this.radius, Math.max(this.radius, v));
    this.places[at] = { x: inside(x, this.size.width), y: inside(y, this.size.height) };
    this.draw();
  }

  /** The edges that the view lets through. */
  visible() {
    const { view } = this;
    return this.edges.filter(
      (edge) => Math.abs(edge.value) >= view.threshold - 1e-9 && (view.sign === "both" || (view.sign === "help") === edge.value > 0) && (!view.sure || edge.stands),
    );
  }

  draw() {
    const { view } = this;
    const clique = view.clique === null ? null : this.study.cliques[view.clique];
    const members = new Set(clique ? clique.tasks : []);
    const good = clique ? clique.kind.startsWith("positive") : null;
    const inside = (edge) => clique && members.has(edge.from) && members.has(edge.to) && edge.value > 0 === good;
    const shownEdges = clique ? [...new Set([...this.visible(), ...this.edges.filter(inside)])] : this.visible();
    const strongest = Math.abs(this.edges[0]?.value || 1);
    fill(
      this.under,
      shownEdges.toReversed().map((edge) => {
        const far = (clique && !inside(edge)) || (view.near !== null && edge.from !== view.near && edge.to !== view.near);
        return this.arrow(edge, Math.abs(edge.value) / strongest, far);
      }),
    );
    this.nodes.forEach((group, at) => {
      this.anchor(group.querySelector(".outside"), this.places[at].x);
      group.setAttribute("transform", `translate(${this.places[at].x.toFixed(1)} ${this.places[at].y.toFixed(1)})`);
      group.setAttribute("class", `node ${members.has(at) ? (good ? "in-help" : "in-harm") : clique ? "faint" : ""}`);
    });
    view.told?.(this.visible());
  }

  /** Keep a label inside of the drawing: at the edges it grows inwards. */
  anchor(label, x) {
    if (!label) return;
    const half = label.getComputedTextLength() / 2 + 6;
    const side = x < half ? "start" : x > this.size.width - half ? "end" : "middle";
    label.style.textAnchor = side;
    label.setAttribute("x", side === "middle" ? 0 : side === "start" ? -this.radius : this.radius);
  }

  /** A bent arrow, so that the two ways between a pair lie apart. */
  arrow(edge, share, far) {
    const [a, b] = [this.places[edge.from], this.places[edge.to]];
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const distance = Math.hypot(dx, dy) || 1;
    const [ux, uy] = [dx / distance, dy / distance];
    const bend = 0.14 * distance;
    const middle = { x: (a.x + b.x) / 2 - uy * bend, y: (a.y + b.y) / 2 + ux * bend };
    const rim = (node, reach) => {
      const length = Math.hypot(middle.x - node.x, middle.y - node.y) || 1;
      return { x: node.x + ((middle.x - node.x) / length) * reach, y: node.y + ((middle.y - node.y) / length) * reach };
    };
    const width = 0.8 + 4.4 * share;
    const head = 6 + 5 * share;
    const [start, tip, neck] = [rim(a, this.radius + 1), rim(b, this.radius + 2), rim(b, this.radius + 2 + head)];
    const length = Math.hypot(tip.x - neck.x, tip.y - neck.y) || 1;
    const [nx, ny] = [(-(tip.y - neck.y) / length) * head * 0.5, ((tip.x - neck.x) / length) * head * 0.5];
    const [from, to] = [this.study.tasks[edge.from], this.study.tasks[edge.to]];
    const p = (point) => `${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
    return svg(
      "g",
      { class: `edge ${edge.value > 0 ? "help" : "harm"} ${far ? "far" : ""}` },
      svg("title", { text: `${from.label} → ${to.label}: ${signed(edge.value)}${edge.flips ? " (sign flips between runs)" : ""}` }),
      svg("path", { d: `M${p(start)} Q${p(middle)} ${p(neck)}`, "stroke-width": width.toFixed(1), "stroke-dasharray": edge.flips ? "5 4" : null }),
      svg("polygon", { points: `${p(tip)} ${p({ x: neck.x + nx, y: neck.y + ny })} ${p({ x: neck.x - nx, y: neck.y - ny })}` }),
    );
  }
}

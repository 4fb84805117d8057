"use strict";
// The structure that turns, with 3Dmol.js: atoms, the cell, arrows of the displacement, and the mode
// in motion. Without WebGL there is none, and the drawing stays.

function hasWebGL() {
  try {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  } catch {
    return false;
  }
}

class Viewer {
  // scene: atoms {element, r, u, colour, radius}, bonds, edges, magnified.
  constructor(host, scene) {
    this.scene = scene;
    this.part = 1;
    this.phase = null;
    this.arrows = true;
    this.stage = make("div", { class: "stage", tabindex: 0, role: "application",
      "aria-label": "Structure. Arrow keys turn it, plus and minus zoom.",
      keydown: (event) => this.typed(event) });
    host.append(this.stage, this.controls());
    this.view = $3Dmol.createViewer(this.stage, { backgroundAlpha: 0, orthographic: true });
    this.draw();
    this.turn();
    new ResizeObserver(() => this.view.resize()).observe(this.stage);
  }

  get moves() {
    return this.scene.atoms.some((atom) => Math.hypot(...atom.u) > 0);
  }

  controls() {
    const row = make("div", { class: "row" });
    const button = (text, action, more = {}) =>
      make("button", { type: "button", click: action, ...more }, text);
    if (this.moves) {
      this.play = button("Play the mode", () => this.toggle(), { "aria-pressed": "false" });
      row.append(this.play, make("label", { class: "toggle" }, make("input", { type: "checkbox",
        name: "arrows", checked: true, change: (event) => {
          this.arrows = event.target.checked;
          this.draw();
        } }), " arrows"));
    }
    row.append(button("Reset the view", () => this.turn()));
    const note = this.moves ? `Displacements ${this.scene.magnified} times as long as they are. ` : "";
    return make("div", {}, row, make("p", { class: "note" }, `${note}Drag, or use the arrow keys.`));
  }

  // Show this part of the largest displacement.
  amplitude(part) {
    this.part = part;
    if (this.phase === null) this.draw();
  }

  place(atom, along) {
    const far = this.scene.magnified * along;
    return atom.r.map((x, k) => x + far * atom.u[k]);
  }

  draw() {
    const { view, scene } = this, model = [];
    const along = this.phase === null ? 0 : this.part * Math.sin(this.phase);
    const point = ([x, y, z]) => ({ x, y, z });
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    view.removeAllModels();
    view.removeAllShapes();
    scene.atoms.forEach((atom) => model.push({ elem: atom.element, ...point(this.place(atom, along)),
      bonds: [], bondOrder: [] }));
    for (const [i, j] of scene.bonds) {
      model[i].bonds.push(j);
      model[j].bonds.push(i);
      model[i].bondOrder.push(1);
      model[j].bondOrder.push(1);
    }
    const added = view.addModel();
    added.addAtoms(model);
    for (const atom of new Map(scene.atoms.map((one) => [one.element, one])).values()) {
      added.setStyle({ elem: atom.element }, {
        sphere: { radius: atom.radius, color: dark ? atom.dark : atom.colour },
        stick: { radius: 0.07, color: "#808080" } });
    }
    for (const [start, end] of scene.edges) {
      view.addCylinder({ start: point(start), end: point(end), radius: 0.02, color: "#808080" });
    }
    if (this.arrows && this.moves) {
      for (const atom of scene.atoms) {
        const size = Math.hypot(...atom.u), far = this.scene.magnified * this.part * size;
        if (far < 0.05) continue;
        // From the surface of the atom on, so that none is hidden in it.
        const from = atom.r.map((x, k) => x + 0.8 * atom.radius * atom.u[k] / size);
        const to = from.map((x, k) => x + this.scene.magnified * this.part * atom.u[k]);
        view.addArrow({ start: point(from), end: point(to), radius: 0.13, radiusRatio: 2.2,
          mid: Math.max(0.3, 1 - 0.5 / far), color: "#d55e00" });
      }
    }
    view.render();
  }

  // Back to the view of the drawing: the axis along which the atoms go is upwards.
  turn() {
    const total = [0, 1, 2].map((k) => this.scene.atoms.reduce((sum, a) => sum + Math.abs(a.u[k]), 0));
    const up = total.some(Boolean) ? total.indexOf(Math.max(...total)) : 2;
    this.view.setView([0, 0, 0, 0, 0, 0, 0, 1]);
    this.view.zoomTo();
    // 3Dmol looks along −z with y upwards; vx and vy are the screen's axes.
    if (up === 2) this.view.rotate(-90, "vx");
    if (up === 0) this.view.rotate(90, "vz");
    this.view.rotate(-17, "vy");
    this.view.rotate(9, "vx");
    // zoomTo fills the width: what is wider than high would be cut.
    this.view.zoom(2.1 / Math.max(1, this.stage.clientWidth / this.stage.clientHeight));
    this.view.render();
  }

  toggle() {
    if (this.phase === null) {
      this.phase = 0;
      const start = performance.now();
      const step = (now) => {
        if (this.phase === null) return;
        this.phase = (now - start) / 1500 * 2 * Math.PI;
        this.draw();
        this.frame = requestAnimationFrame(step);
      };
      this.frame = requestAnimationFrame(step);
    } else {
      cancelAnimationFrame(this.frame);
      this.phase = null;
      this.draw();
    }
    const plays = this.phase !== null;
    this.play.textContent = plays ? "Stop" : "Play the mode";
    this.play.setAttribute("aria-pressed", String(plays));
  }

  typed(event) {
    const turns = { ArrowLeft: [-10, "vy"], ArrowRight: [10, "vy"], ArrowUp: [-10, "vx"],
      ArrowDown: [10, "vx"] };
    const zooms = { "+": 1.2, "=": 1.2, "-": 1 / 1.2 };
    if (turns[event.key]) this.view.rotate(...turns[event.key]);
    else if (zooms[event.key]) this.view.zoom(zooms[event.key]);
    else return;
    event.preventDefault();
  }
}

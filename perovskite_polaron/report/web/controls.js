"use strict";
// The controls beside the chart: amplitude, width, structures, sites, polarisations, download. A
// difference between amplitudes is the sum of the stored ones with the weights that the program
// wrote for each position of the slider.

// <tag attributes>children</tag>; an attribute that is a function is an event.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// A curve convolved with a normalised Gaussian of this full width at half maximum; beyond its ends
// it goes on as it ends.
function broadened(energy, y, fwhm) {
  const step = energy[1] - energy[0], sigma = fwhm / Math.sqrt(8 * Math.LN2) / step;
  if (sigma < 0.05) return y;
  const reach = Math.ceil(4.5 * sigma), kernel = [];
  for (let k = -reach; k <= reach; k++) kernel.push(Math.exp(-0.5 * (k / sigma) ** 2));
  const area = kernel.reduce((sum, w) => sum + w, 0), last = y.length - 1;
  return Float64Array.from(y, (_, i) => {
    let sum = 0;
    for (let k = -reach; k <= reach; k++) {
      sum += kernel[k + reach] * y[Math.min(last, Math.max(0, i + k))];
    }
    return sum / area;
  });
}

// Sum of curves with weights.
function combined(curves, weights) {
  const sum = new Float64Array(curves[0].length);
  curves.forEach((curve, k) => {
    for (let i = 0; i < sum.length; i++) sum[i] += weights[k] * curve[i];
  });
  return sum;
}

function saved(name, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })),
    download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function quoted(text) {
  return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

class Controls {
  constructor(host, data, moved) {
    this.data = data;
    this.moved = moved;
    this.edge = data.edges[0];
    this.width = 0;
    this.plot = make("div", { class: "plot" });
    this.readout = make("p", { class: "readout", "aria-hidden": "true" });
    // What a screen reader says: only when the cursor rests.
    this.spoken = make("output", { class: "unseen", role: "status", "aria-live": "polite" });
    this.panel = make("div", { class: "controls" });
    host.append(this.plot, this.readout, this.spoken, this.panel);
    this.chart = new Chart(this.plot, "Spectra and differences", (energy) => this.read(energy));
    this.choose(this.edge);
  }

  // Show another edge: its own sliders and toggles.
  choose(edge) {
    this.edge = edge;
    this.positions = (edge.sweeps ?? []).map((sweep) => sweep.start);
    this.on = new Map();
    this.panel.replaceChildren(...this.widgets());
    this.show();
  }

  widgets() {
    const { edge } = this, found = [];
    if (this.data.edges.length > 1) {
      const options = this.data.edges.map((one) =>
        make("option", { value: one.key, selected: one === edge }, one.label));
      found.push(make("label", { class: "row" }, "Edge ", make("select", { name: "edge",
        change: (event) => {
          this.choose(this.data.edges.find((one) => one.key === event.target.value));
          this.panel.querySelector("select").focus();
        } }, ...options)));
    }
    (edge.sweeps ?? []).forEach((sweep, i) => found.push(this.slider(sweep, i)));
    if (edge.width) found.push(this.widening());
    found.push(...this.toggles(), this.buttons());
    if (edge.sweeps?.length) {
      const laws = [...new Set(edge.sweeps.map((sweep) => sweep.law))].join("; ");
      found.push(make("p", { class: "note" }, `Between calculated amplitudes (ticks): ${laws}, ` +
        "through the calculated ones; never beyond the largest. " +
        `Calculated with ${edge.width}; the added width is one more Gaussian, of unit area. ` +
        "% of the maximum: that of the ground state, without added width."));
    }
    return found;
  }

  slider(sweep, i) {
    const shown = make("output", {}), atoms = make("span", { class: "note" }), key = `ticks-${this.edge.key}-${i}`;
    const last = sweep.amplitudes.length - 1, most = sweep.displacement[last];
    const said = () => {
      const size = sweep.displacement[this.positions[i]];
      const who = Object.entries(sweep.moves).map(([name, part]) =>
        `${name} ${(part * size).toFixed(3)} Å`).join(", ");
      shown.textContent = `${size.toFixed(3)} Å`;
      atoms.textContent = who;
      slider.setAttribute("aria-valuetext", `${size.toFixed(3)} Å${who ? `: ${who}` : ""}`);
      this.moved(sweep.name, size / most);
    };
    const slider = make("input", { type: "range", min: 0, max: last, value: this.positions[i],
      list: key, name: `amplitude-${i}`, input: (event) => {
        this.positions[i] = Number(event.target.value);
        said();
        this.show();
      } });
    const options = sweep.computed.map((size) =>
      make("option", { value: Math.round(size / most * last) }));
    said();
    return make("label", { class: "row" }, `Largest displacement, ${sweep.name} `, slider, shown,
      atoms, make("datalist", { id: key }, ...options));
  }

  widening() {
    const shown = make("output", {}, `${this.width.toFixed(1)} eV`);
    return make("label", { class: "row" }, "Added width (Gaussian, FWHM) ", make("input", {
      type: "range", min: 0, max: 3, step: 0.1, value: this.width, name: "width",
      input: (event) => {
        this.width = Number(event.target.value);
        shown.textContent = `${this.width.toFixed(1)} eV`;
        this.show();
      } }), shown);
  }

  // Whether a toggle is on; `start` before anybody touched it.
  isOn(kind, name, start = true) {
    return this.on.get(`${kind}/${name}`) ?? start;
  }

  toggles() {
    const { edge } = this, groups = [];
    const group = (title, kind, names, start) => {
      if (names.length < 2 && kind !== "structure") return;
      const boxes = names.map((name) => make("label", { class: "toggle" }, make("input", {
        type: "checkbox", name: `${kind}/${name}`, checked: this.isOn(kind, name, start(name)),
        change: (event) => {
          this.on.set(`${kind}/${name}`, event.target.checked);
          this.show();
        } }), ` ${name}`));
      groups.push(make("fieldset", {}, make("legend", {}, title), ...boxes));
    };
    if (edge.measured) group("Curves", "structure", edge.measured.map((c) => c.name), () => true);
    if (!edge.sweeps) return groups;
    const swept = edge.sweeps.map((sweep) => sweep.name);
    group("Structures", "structure", [...swept, ...edge.others.map((one) => one.name)],
      (name) => this.startsOn(name));
    const parts = edge.sweeps.flatMap((sweep) => sweep.parts);
    const all = (key) => [...new Set(parts.map((part) => part[key]).filter(Boolean))];
    group("Sites in the difference", "site", all("site"), () => true);
    group("Polarisations in the difference", "polarisation", all("polarisation"), () => true);
    return groups;
  }

  // The sweeps, or without one every structure.
  startsOn(name) {
    return !this.edge.sweeps.length || this.edge.sweeps.some((sweep) => sweep.name === name);
  }

  buttons() {
    const button = (text, action) => make("button", { type: "button", click: action }, text);
    return make("div", { class: "row" },
      button("Zoom in", () => this.chart.scale(0.5)), button("Zoom out", () => this.chart.scale(2)),
      button("Whole range", () => this.chart.zoom(...this.chart.whole)),
      button("Download curves (CSV)", () => saved(`${this.edge.key}.csv`, this.csv())));
  }

  // The difference of one sweep at its slider, of the chosen sites and polarisations, or of all.
  difference(sweep, i, all = false) {
    const weights = sweep.weights[this.positions[i]];
    const chosen = sweep.parts.filter((part) => all || (this.isOn("site", part.site) &&
      this.isOn("polarisation", part.polarisation)));
    const sum = new Float64Array(this.edge.energy.length);
    for (const part of chosen) {
      combined(part.curves, weights).forEach((y, k) => { sum[k] += y; });
    }
    return sum;
  }

  isWhole(sweep) {
    return sweep.parts.every((part) => this.isOn("site", part.site) &&
      this.isOn("polarisation", part.polarisation));
  }

  // Every curve with its name, shown or not: reference, spectra, differences.
  curves(every = false) {
    const { edge } = this, wide = (y) => broadened(edge.energy, y, this.width);
    const base = edge.reference.curve, spectra = [], differences = [];
    const add = (name, whole, part, style, label) => {
      const spectrum = Float64Array.from(base, (y, k) => y + whole[k] / 100);
      spectra.push({ name, energy: edge.energy, y: wide(spectrum), style });
      differences.push({ name: label, energy: edge.energy, y: wide(part), style });
    };
    edge.sweeps.forEach((sweep, i) => {
      if (!every && !this.isOn("structure", sweep.name, this.startsOn(sweep.name))) return;
      const name = `${sweep.name} ${sweep.displacement[this.positions[i]].toFixed(3)} Å`;
      const part = this.isWhole(sweep) ? "" : " (chosen parts)";
      add(name, this.difference(sweep, i, true), this.difference(sweep, i), `c${1 + i % 6}`,
        `${name} − ${edge.reference.name}${part}`);
    });
    edge.others.forEach((one, i) => {
      if (!every && !this.isOn("structure", one.name, this.startsOn(one.name))) return;
      add(one.name, one.difference, one.difference, `c${1 + (edge.sweeps.length + i) % 6}`,
        `${one.name} − ${edge.reference.name}`);
    });
    spectra.unshift({ name: edge.reference.name, energy: edge.energy, y: wide(base), style: "c0" });
    return { spectra, differences };
  }

  show() {
    const { edge } = this;
    if (edge.measured) {
      const shown = edge.measured.map((one, i) => ({ name: one.name, energy: one.energy,
        y: one.curve, style: `c${i % 7}` }));
      this.chart.show([{ label: edge.label, marks: [],
        curves: shown.filter((one) => this.isOn("structure", one.name)) }], edge.range, edge.axis);
      this.legend(shown);
      return;
    }
    const { spectra, differences } = this.curves();
    const marks = edge.features.map((one) => ({ x: one.energy, soft: !one.structural,
      text: one.sign > 0 ? "+" : "−" }));
    const panels = [{ label: "absorption", curves: spectra, marks: [], small: true },
      { label: "difference (% of max.)", curves: differences, marks }];
    if (edge.transient) {
      const { name, energy, signal, error } = edge.transient;
      const most = Math.max(...signal.map(Math.abs)) || 1;
      panels.push({ label: "transient", small: true, marks: [], curves: [{ name, energy,
        y: signal.map((y) => y / most), error: error?.map((e) => e / most), style: "c0",
        points: true }] });
    }
    this.chart.show(panels, edge.range, edge.axis);
    this.legend([...spectra, ...(edge.transient
      ? [{ name: `${edge.transient.name} (measured, largest = 1)`, style: "c0 points" }] : [])]);
  }

  legend(curves) {
    const rows = curves.map((one) => make("li", {}, make("span", { class: `key ${one.style}` }),
      one.name));
    const list = make("ul", { class: "legend" }, ...rows);
    if (this.edge.features?.length) {
      list.append(make("li", { class: "note" },
        "+ / −: where the published transient gains or loses; grey: carriers make it"));
    }
    this.list?.remove();
    this.list = list;
    this.plot.before(list);
  }

  read(energy) {
    let said = "";
    if (energy !== null) {
      const [first, second, third] = this.chart.panels;
      const words = (panel, decimals, unit) => (panel?.curves ?? []).map((curve) => {
        const y = valueAt(curve.energy, curve.y, energy);
        return y === null ? null : `${curve.name} ${signed(y, decimals)}${unit}`;
      }).filter(Boolean);
      said = `${energy.toFixed(1)} eV: ` + [...words(first, 4, ""), ...words(second, 3, " %"),
        ...words(third, 3, "")].join("; ");
    }
    this.readout.textContent = said || "Point at the chart, or focus it and use the arrow keys, " +
      "to read values; drag to zoom.";
    clearTimeout(this.rest);
    this.rest = setTimeout(() => { this.spoken.textContent = said; }, 400);
  }

  // Every curve as it is now, and every part at this amplitude and width.
  csv() {
    const { edge } = this;
    if (edge.measured) {
      const lines = ["curve,energy_eV,signal"];
      for (const one of edge.measured) {
        one.energy.forEach((x, k) => lines.push(`${quoted(one.name)},${x},${one.curve[k]}`));
      }
      return lines.join("\n") + "\n";
    }
    const { spectra, differences } = this.curves(true);
    const columns = [["energy_eV", edge.energy],
      ...spectra.map((one) => [`${one.name} (reference maximum = 1)`, one.y]),
      ...differences.map((one) => [`${one.name} (% of maximum)`, one.y])];
    edge.sweeps.forEach((sweep, i) => {
      for (const part of sweep.parts.filter((one) => one.site)) {
        const y = combined(part.curves, sweep.weights[this.positions[i]]);
        columns.push([`${sweep.name} ${part.site} ${part.polarisation} (% of maximum)`,
          broadened(edge.energy, y, this.width)]);
      }
    });
    const head = columns.map(([name]) =>
      quoted(this.width ? name + (name === "energy_eV" ? "" : `, +${this.width} eV FWHM`) : name));
    const rows = Array.from(edge.energy, (_, k) =>
      columns.map(([, y]) => Number(y[k].toFixed(7))).join(","));
    return [head.join(","), ...rows].join("\n") + "\n";
  }
}

"use strict";
// Puts the chart and the structure into the page; without this script its figures stay as they are.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plot = document.getElementById("live-chart"), stage = document.getElementById("live-structure");
  let viewer = null, part = 1;
  if (plot && data.edges.length) {
    new Controls(plot, data, (sweep, moved) => {
      if (sweep !== data.structure?.sweep) return;
      part = moved;
      viewer?.amplitude(part);
    });
    plot.closest(".pair").classList.add("is-live");
  }
  // Opened when the rest of the page can be used: its library comes last.
  const open = () => {
    if (!stage || !data.structure || !hasWebGL()) return;
    stage.closest(".pair").classList.add("is-live");
    viewer = new Viewer(stage, data.structure);
    viewer.amplitude(part);
    stage.viewer = viewer;  // for scripts that drive the page
  };
  addEventListener("load", () => setTimeout(open, 0));
  // Paper shows what is folded.
  const folds = [...document.querySelectorAll("details")];
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = folds.filter((fold) => !fold.open);
    closed.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((fold) => { fold.open = false; }));
})();

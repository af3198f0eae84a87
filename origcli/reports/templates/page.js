"use strict";
const dialog = document.getElementById("zoom");
const tiles = [...document.querySelectorAll("button[data-zoom]")];
let shown = 0;
function copy(from, to) {
  to.closest("figure").hidden = !from;
  if (from) Object.assign(to, { src: from.src, className: from.className, alt: from.alt });
}
function show(index) {
  shown = (index + tiles.length) % tiles.length;
  const [query, drawing] = dialog.querySelectorAll("img");
  copy(document.querySelector("[data-query] img"), query);
  copy(tiles[shown].querySelector("img"), drawing);
  dialog.querySelectorAll("figcaption")[1].textContent = tiles[shown].dataset.zoom;
}
tiles.forEach((tile, index) => tile.addEventListener("click", () => { show(index); dialog.showModal(); }));
dialog.addEventListener("click", (event) => {
  const step = event.target.dataset.step;
  if (step) show(shown + Number(step));
  else if (event.target === dialog || "close" in event.target.dataset) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") show(shown - 1);
  if (event.key === "ArrowRight") show(shown + 1);
});
dialog.addEventListener("close", () => tiles[shown].focus());
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));

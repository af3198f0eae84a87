"use strict";
const dialog = document.getElementById("zoom");
const tiles = [...document.querySelectorAll("button[data-zoom]")];
let shown = 0;
function show(index) {
  shown = (index + tiles.length) % tiles.length;
  const [query, drawing] = dialog.querySelectorAll("img");
  for (const [target, source] of [[query, tiles[0]], [drawing, tiles[shown]]]) {
    const image = source.querySelector("img");
    target.src = image.src;
    target.className = image.className;
    target.alt = image.alt;
  }
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

"use strict";
const table = document.getElementById("table");
const body = table.tBodies[0];
const rows = [...body.rows];
const heads = [...table.querySelectorAll("th[data-key]")];
const fields = { q: "search", verdict: "verdict", group: "group" };
const inputs = Object.fromEntries(
  Object.entries(fields).map(([key, id]) => [key, document.getElementById(id)]).filter(([, input]) => input));
const texts = new Set(["name", "verdict"]);
const collator = new Intl.Collator(undefined, { numeric: true });

function sort(key, descending) {
  const sign = descending ? -1 : 1;
  const compare = texts.has(key)
    ? (a, b) => sign * collator.compare(a.dataset[key], b.dataset[key])
    : (a, b) => {
      // Rows without a number stay last either way.
      const [x, y] = [a.dataset[key], b.dataset[key]];
      return x === "" || y === "" ? (x === "") - (y === "") : sign * (x - y);
    };
  body.append(...rows.slice().sort(compare));
  for (const head of heads)
    head.setAttribute("aria-sort", head.dataset.key !== key ? "none" : descending ? "descending" : "ascending");
}

function filter() {
  const words = inputs.q.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const text = `${row.dataset.name} ${row.dataset.group}`.toLowerCase();
    const fits = words.every((word) => text.includes(word))
      && (!inputs.verdict.value || row.dataset.verdict === inputs.verdict.value)
      && (!inputs.group || !inputs.group.value || row.dataset.group === inputs.group.value);
    row.hidden = !fits;
    count += fits;
  }
  document.getElementById("count").textContent =
    count === rows.length ? `${count} images` : `${count} of ${rows.length} images`;
}

// The view lives in the address, so that it can be linked to and survives a reload.
function remember() {
  const state = new URLSearchParams();
  for (const [key, input] of Object.entries(inputs)) if (input.value) state.set(key, input.value);
  const head = heads.find((one) => one.getAttribute("aria-sort") !== "none");
  if (head) state.set("sort", (head.getAttribute("aria-sort") === "descending" ? "-" : "") + head.dataset.key);
  history.replaceState(null, "", `#${state}`);
}

function restore() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const [key, input] of Object.entries(inputs)) input.value = state.get(key) ?? "";
  const key = (state.get("sort") ?? "").replace(/^-/, "");
  if (heads.some((head) => head.dataset.key === key)) sort(key, state.get("sort").startsWith("-"));
  filter();
}

for (const head of heads)
  head.querySelector("button").addEventListener("click", () => {
    sort(head.dataset.key, head.getAttribute("aria-sort") === "ascending");
    remember();
  });
for (const input of Object.values(inputs))
  input.addEventListener("input", () => { filter(); remember(); });
document.querySelector("form.tools").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", restore);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
restore();
